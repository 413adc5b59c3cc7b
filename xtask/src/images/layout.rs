//! An OCI image layout that is being written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::layer::{self, Layer};

pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layer that the layout has.
#[derive(Clone)]
pub(super) struct StoredLayer {
    pub(super) descriptor: Value,
    pub(super) diff_id: String,
}

/// Blobs can be written from several threads; what index.json will say is gathered in one place.
pub(super) struct Layout {
    folder: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    pub(super) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        fs::create_dir_all(folder.join("unfinished"))?;
        fs::write(folder.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
        Ok(Self { folder: folder.to_path_buf(), manifests: Vec::new() })
    }

    /// Stores the bytes, and returns their descriptor.
    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = layer::digest(bytes);
        fs::write(self.path(&digest)?, bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    /// Stores the document; its keys are in alphabetical order.
    pub(super) fn document(&self, media_type: &str, document: &Value) -> Result<Value> {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Stores a layer; `name` is unique in this layout.
    pub(super) fn layer(&self, name: &str, fill: impl FnOnce(&mut Layer) -> Result<()>) -> Result<StoredLayer> {
        let unfinished = self.folder.join("unfinished").join(name);
        let mut layer = Layer::create(&unfinished)?;
        fill(&mut layer)?;
        let written = layer.finish()?;
        fs::rename(unfinished, self.path(&written.digest)?)?;
        let descriptor = json!({ "mediaType": LAYER, "digest": written.digest, "size": written.size });
        Ok(StoredLayer { descriptor, diff_id: written.diff_id })
    }

    /// Stores the config and the manifest of an image for Linux, and returns the manifest's descriptor.
    pub(super) fn image(&self, architecture: &str, layers: &[StoredLayer]) -> Result<Value> {
        let history: Vec<_> = layers
            .iter()
            .map(|layer| json!({ "created": "2026-01-01T00:00:00Z", "created_by": format!("xtask {}", layer.diff_id) }))
            .collect();
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": { "Entrypoint": ["/opt/run"], "Env": ["PATH=/opt"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        let layers: Vec<_> = layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let config = self.document(CONFIG, &config)?;
        self.document(
            MANIFEST,
            &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }),
        )
    }

    /// Names a descriptor in index.json.
    pub(super) fn tag(&mut self, name: &str, descriptor: &Value) {
        let annotations = json!({ "org.opencontainers.image.ref.name": name });
        self.manifests.push(with(descriptor, "annotations", annotations));
    }

    /// Has a descriptor in index.json without a name.
    pub(super) fn unnamed(&mut self, descriptor: &Value) {
        self.manifests.push(descriptor.clone());
    }

    /// index.json is written last: a layout that has it is complete.
    pub(super) fn finish(self) -> Result<()> {
        fs::remove_dir_all(self.folder.join("unfinished"))?;
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests });
        Ok(fs::write(self.folder.join("index.json"), index.to_string())?)
    }

    fn path(&self, digest: &str) -> Result<PathBuf> {
        let (algorithm, hex) = digest.split_once(':').context("a digest without an algorithm")?;
        Ok(self.folder.join("blobs").join(algorithm).join(hex))
    }
}

/// The same object with one more member.
pub(super) fn with(object: &Value, key: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[key] = value;
    object
}
