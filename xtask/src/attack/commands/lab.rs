//! Where attacked commands find their input, and where they work.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::attack::inputs;
use crate::attack::program::Program;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The program, its input, and a folder for everything.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) program: Program,
    folder: TempDir,
    words: BTreeMap<&'static str, String>,
}

/// A folder in which one attack happens: the store, and the destination of exports.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) folder: PathBuf,
    pub(crate) index: &'static str,
}

impl Case {
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub(crate) fn destination(&self) -> PathBuf {
        self.folder.join("to")
    }
}

impl Lab {
    /// Writes the input. It lies in memory if it can: a kill takes nothing from the page cache, so disks add only time.
    pub(crate) fn new(program: Program) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let prefix = tempfile::Builder::new().prefix("oci-store-attack-").to_owned();
        let folder = if memory.is_dir() { prefix.tempdir_in(memory) } else { prefix.tempdir() }?;
        let input = folder.path().join("input");
        let base = inputs::overlapping(&input.join("base"), "base", 2, 3, 3000)?;
        single(&input.join("one"), "one", &[901], 5000)?;
        let seeds: Vec<u64> = (1000..1020).collect();
        single(&input.join("twenty"), "twenty", &seeds, 2000)?;
        let archive = File::create(input.join("one.tar"))?;
        tar::Builder::new(archive).append_dir_all(".", input.join("one"))?;
        let path = |name: &str| input.join(name).display().to_string();
        let layer = fs::read_to_string(blob(&input.join("base"), &base["base-0"]))?;
        let layer: Value = serde_json::from_str(&layer)?;
        let words = BTreeMap::from([
            ("{base}", path("base")),
            ("{one}", path("one")),
            ("{twenty}", path("twenty")),
            ("{archive}", path("one.tar")),
            ("{layer}", layer["layers"][0]["digest"].as_str().unwrap_or_default().to_owned()),
        ]);
        Ok(Self { program, folder, words })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the sources lie.
    pub(crate) fn input(&self) -> PathBuf {
        self.path().join("input")
    }

    /// The words of a command in a case, not started.
    pub(crate) fn command(&self, case: &Case, line: &str) -> Command {
        let words = line.split_whitespace().map(|word| match word {
            "{to}" => case.destination().display().to_string(),
            "{other}" => if case.index == "lmdb" { "sqlite" } else { "lmdb" }.to_owned(),
            "{same}" => case.index.to_owned(),
            word => self.words.get(word).map_or_else(|| word.to_owned(), Clone::clone),
        });
        self.program.command(&case.store(), words)
    }
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replacen(':', "/", 1))
}

/// A layout of one image; returns its digest.
fn single(folder: &Path, name: &str, layers: &[u64], size: usize) -> Result<String> {
    let mut layout = inputs::Layout::create(folder)?;
    let image = layout.image(name, layers, size)?;
    layout.tag(name, &image);
    Ok(layout.finish()?.remove(name).unwrap_or_default())
}

/// Makes a store of format 0 of one of today's: that had fewer rows, and what it lacks is made from the others.
pub(super) fn make_old(_: &Lab, case: &Case) -> Result<()> {
    let path = case.store().join(".oci-store/config.json");
    let config = fs::read_to_string(&path)?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["format"] = json!(0);
    fs::write(&path, config.to_string()).with_context(|| path.display().to_string())
}

/// Puts a layout that a command may change where exports go.
pub(super) fn source_in_destination(lab: &Lab, case: &Case) -> Result<()> {
    super::copy(&lab.input().join("one"), &case.destination())
}

/// Leaves half of a layer staged, as an import of `one` does whose process dies.
pub(super) fn leave_half(lab: &Lab, case: &Case) -> Result<()> {
    let blobs = lab.input().join("one/blobs/sha256");
    let mut layers = fs::read_dir(&blobs)?.collect::<Result<Vec<_>, _>>()?;
    layers.retain(|blob| blob.metadata().is_ok_and(|meta| meta.len() == 5000));
    let layer = layers.first().context("a layer of 5000 bytes")?;
    let batch = case.store().join(".oci-store/ingest/dead-1-0");
    fs::create_dir_all(&batch)?;
    let name = format!("sha256-{}-1-0.tmp", layer.file_name().to_string_lossy());
    let half = fs::read(layer.path())?.into_iter().take(2500).collect::<Vec<_>>();
    fs::write(batch.join(name), half)?;
    Ok(fs::write(case.store().join(".oci-store/leases/dead-1-0"), "pid=1 import\n")?)
}

/// Writes `index.json` as another tool would.
pub(super) fn write_foreign(_: &Lab, case: &Case) -> Result<()> {
    let path = case.store().join("index.json");
    let mut index: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let mut entry = index["manifests"][0].clone();
    entry["annotations"] = json!({ REF_NAME: "foreign" });
    index["manifests"].as_array_mut().context("no manifests")?.push(entry);
    index.as_object_mut().context("no object")?.remove("annotations");
    fs::write(&path, index.to_string()).with_context(|| path.display().to_string())
}
