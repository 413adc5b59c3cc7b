//! What a case is played on: a source of images, and a store in which there is something to collect. It is made once
//! for each index, and copied for each case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::attack::inputs::Layout;
use crate::attack::program::Program;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The source's images, by the first of their three layers: those whose numbers are near share layers.
const IMAGES: [u64; 7] = [0, 1, 3, 4, 8, 12, 14];

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) index: &'static str,
    /// A layout with all images, `image-N`.
    pub(super) source: PathBuf,
    pub(super) store: PathBuf,
    /// Where an export goes.
    pub(super) out: PathBuf,
    /// The digests of the images, by their names in the source.
    pub(super) images: BTreeMap<String, String>,
    /// A layer of the image that is to be collected, and of no other.
    pub(super) lonely: String,
    /// A layer that `image-1`, which is kept, and `image-3` share.
    pub(super) shared: String,
}

impl Stage {
    /// Makes source and store. In the store are `image-0`, `image-1` and `moving`, which is `image-8`; `image-4` and the
    /// signature about it were there, and are to be collected.
    pub(super) fn set(folder: &Path, program: &Program, index: &'static str) -> Result<Self> {
        let source = folder.join(format!("{index}-source"));
        let mut layout = Layout::create(&source)?;
        for first in IMAGES {
            let name = format!("image-{first}");
            let image = layout.image(&name, &[first, first + 1, first + 2], 3000)?;
            layout.tag(&name, &image);
            if first == 4 {
                layout.list(&signature(&layout, &image)?);
            }
        }
        let layer = |number: u64| -> Result<String> {
            let layer = layout.blob(LAYER, &crate::attack::inputs::noise(number, 3000))?;
            Ok(layer["digest"].as_str().unwrap_or_default().to_owned())
        };
        let (lonely, shared) = (layer(6)?, layer(3)?);
        let images = layout.finish()?;
        let store = folder.join(format!("{index}-store"));
        let text = source.display().to_string();
        program.must(&store, ["--index", index, "import", "--sref", "image-0", &text])?;
        for name in ["image-1", "image-4"] {
            program.must(&store, ["import", "--sref", name, &text])?;
        }
        program.must(&store, ["import", "--sref", "image-8", "--dref", "moving", &text])?;
        // The first gc of a boot is full: the ones to come need not be.
        program.must(&store, ["gc"])?;
        program.must(&store, ["rm", "image-4"])?;
        Ok(Self { index, source, store, out: folder.join("out"), images, lonely, shared })
    }

    /// A copy, in a folder of its own.
    pub(super) fn copy(&self, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let store = folder.join("store");
        let done = Command::new("cp").args(["-a", "--sparse=auto"]).arg(&self.store).arg(&store).status();
        if !done.context("cp does not start")?.success() {
            bail!("{} can't be copied", self.store.display());
        }
        Ok(Self { store, out: folder.join("out"), ..self.clone() })
    }

    /// The refs that the store has.
    pub(super) fn refs(&self) -> BTreeMap<String, String> {
        let named = [("image-0", "image-0"), ("image-1", "image-1"), ("moving", "image-8")];
        named.into_iter().map(|(name, image)| (name.to_owned(), self.digest(image))).collect()
    }

    /// The digest of an image of the source.
    pub(super) fn digest(&self, image: &str) -> String {
        self.images.get(image).cloned().unwrap_or_default()
    }

    /// The file of a blob in the store.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        self.store.join("blobs").join(digest.replacen(':', "/", 1))
    }
}

/// A signature about an image.
fn signature(layout: &Layout<'_>, image: &Value) -> Result<Value> {
    let config = layout.blob(EMPTY, b"{}")?;
    let payload = layout.blob("application/octet-stream", b"signed")?;
    let document = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-signature",
        "config": config, "layers": [payload], "subject": image });
    layout.document(MANIFEST, &document)
}
