//! What there is to measure with: images, the program, other tools, and stores that are filled once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::OURS;
use crate::attack::program::Program;

pub(super) const INDEXES: [&str; 2] = ["lmdb", "sqlite"];

/// An image layout on disk.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) folder: PathBuf,
    /// The names in it.
    pub(super) refs: Vec<String>,
    /// The files of its blobs, and their bytes in all.
    pub(super) blobs: usize,
    pub(super) bytes: u64,
}

impl Layout {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json"))?)?;
        let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name =
            |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
        let (mut blobs, mut bytes) = (0, 0);
        for entry in fs::read_dir(folder.join("blobs/sha256"))? {
            blobs += 1;
            bytes += entry?.metadata()?.len();
        }
        Ok(Self { folder: folder.to_owned(), refs: entries.iter().filter_map(name).collect(), blobs, bytes })
    }

    pub(super) fn blobs_folder(&self) -> PathBuf {
        self.folder.join("blobs/sha256")
    }

    /// Its folder's name.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The name of its first image.
    pub(super) fn image(&self) -> String {
        self.refs.first().cloned().unwrap_or_default()
    }

    /// For the line below a case's name.
    pub(super) fn about(&self) -> String {
        format!("{} blobs, {:.1} MB", self.blobs, self.bytes as f64 / 1e6)
    }
}

/// Everything a case may need.
pub(super) struct Lab {
    pub(super) program: Program,
    pub(super) scratch: PathBuf,
    pub(super) skopeo: Option<Tool>,
    pub(super) umoci: Option<Tool>,
    pub(super) openssl: Option<Tool>,
}

/// Another program, as it is installed.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) path: String,
    /// With its version, for the tables.
    pub(super) name: String,
}

impl Tool {
    /// A tool by the variable that names it (`SKOPEO=/opt/skopeo`), or as it is in the path. None if it does not run.
    pub(super) fn find(name: &str, version: &[&str]) -> Option<Self> {
        let path = std::env::var(name.to_uppercase()).unwrap_or_else(|_| name.to_owned());
        let output = Command::new(&path).args(version).stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
        let number = said.split_whitespace().find(is_version).unwrap_or_default();
        Some(Self { path, name: format!("{name} {number}").trim().to_owned() })
    }
}

impl Lab {
    /// A command on a store.
    pub(super) fn command<'w>(
        &self,
        index: &str,
        store: &Path,
        words: impl IntoIterator<Item = &'w str>,
    ) -> Vec<String> {
        let program = self.program.path().display().to_string();
        let mut command = vec![program, "--index".to_owned(), index.to_owned(), "--store-path".to_owned()];
        command.push(store.display().to_string());
        command.extend(words.into_iter().map(str::to_owned));
        command
    }

    /// A store with all the images of a layout, made once.
    pub(super) fn filled(&self, index: &str, layout: &Layout) -> Result<PathBuf> {
        let store = self.scratch.join(format!("filled-{}-{index}", layout.name()));
        if !store.exists() {
            let import = self.command(index, &store, ["import", "--all", &layout.folder.display().to_string()]);
            must(&import)?;
        }
        Ok(store)
    }

    /// The same with every second ref gone, and what only those reached left to be collected.
    pub(super) fn half_garbage(&self, index: &str, layout: &Layout) -> Result<PathBuf> {
        let filled = self.filled(index, layout)?;
        let store = self.scratch.join(format!("half-{}-{index}", layout.name()));
        if !store.exists() {
            copy(&filled, &store)?;
            let odd = layout.refs.iter().skip(1).step_by(2).map(String::as_str);
            must(&self.command(index, &store, ["rm"].into_iter().chain(odd)))?;
        }
        Ok(store)
    }
}

/// Runs a command that must succeed, unmeasured.
pub(super) fn must(words: &[String]) -> Result<String> {
    let (program, arguments) = words.split_first().context("no command")?;
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().with_context(|| program.clone())?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fills a folder with a copy of another, before the clock runs.
pub(super) fn copied(from: &Path) -> impl Fn(&Path) -> Result<()> + use<> {
    let from = from.to_owned();
    move |folder| copy(&from, &folder.join("store"))
}

/// Copies a folder as it is, holes too.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    must(&words(["cp", "-a", &from.display().to_string(), &to.display().to_string()])).map(drop)
}

/// A command.
pub(super) fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// A command for the shell.
pub(super) fn shell(script: &str) -> Vec<String> {
    words(["sh", "-c", script])
}

/// The name of the store itself as a contender.
pub(super) fn ours(index: &str) -> String {
    format!("{OURS} {index}")
}
