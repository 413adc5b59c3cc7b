//! Small images to attack with, from seeds: the same arguments give the same bytes. Layers are not compressed, and
//! not even archives, as a store does not look into them; so thousands cost nothing to make.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image layout that is being written.
pub(crate) struct Layout<'l> {
    folder: &'l Path,
    manifests: Vec<Value>,
    refs: BTreeMap<String, String>,
}

impl<'l> Layout<'l> {
    /// Begins a layout in `folder`, which is made.
    pub(crate) fn create(folder: &'l Path) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256")).with_context(|| folder.display().to_string())?;
        fs::write(folder.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
        Ok(Self { folder, manifests: Vec::new(), refs: BTreeMap::new() })
    }

    /// Adds a blob, and returns its descriptor.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.folder.join("blobs/sha256").join(&hex);
        if !path.exists() {
            fs::write(path, bytes)?;
        }
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
    }

    /// Adds an image manifest over layers that each have `size` bytes; layers of the same seed are the same blob.
    pub(crate) fn image(&self, name: &str, layers: &[u64], size: usize) -> Result<Value> {
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
            "config": { "Labels": { "name": name } } });
        let config = self.blob(CONFIG, config.to_string().as_bytes())?;
        let layers = layers.iter().map(|&seed| self.blob(LAYER, &noise(seed, size))).collect::<Result<Vec<_>>>()?;
        self.document(
            MANIFEST,
            &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }),
        )
    }
    /// Adds a document as it stands.
    pub(crate) fn document(&self, media_type: &str, document: &Value) -> Result<Value> {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Lists an image under a name.
    pub(crate) fn tag(&mut self, name: &str, descriptor: &Value) {
        let mut entry = descriptor.clone();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.manifests.push(entry);
        self.refs.insert(name.to_owned(), descriptor["digest"].as_str().unwrap_or_default().to_owned());
    }

    /// Lists an image without a name.
    pub(crate) fn list(&mut self, descriptor: &Value) {
        self.manifests.push(descriptor.clone());
    }

    /// Writes `index.json`; returns the refs, with what they name.
    pub(crate) fn finish(self) -> Result<BTreeMap<String, String>> {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.folder.join("index.json"), index.to_string())?;
        Ok(self.refs)
    }
}

/// A layout of `count` images `PREFIX-0`, `PREFIX-1`, …, each of `layers` layers of `size` bytes. Of these, all but one are
/// shared with the image's neighbours, so that images overlap without being the same. Returns the refs, with what
/// they name.
pub(crate) fn overlapping(
    folder: &Path,
    prefix: &str,
    count: u64,
    layers: u64,
    size: usize,
) -> Result<BTreeMap<String, String>> {
    let mut layout = Layout::create(folder)?;
    let base = u64::from_le_bytes(Sha256::digest(prefix)[..8].try_into().unwrap_or_default()) & 0xffff_ffff_0000;
    for number in 0..count {
        let seeds: Vec<u64> = (number..number + layers).map(|at| base + at).collect();
        let name = format!("{prefix}-{number}");
        let manifest = layout.image(&name, &seeds, size)?;
        layout.tag(&name, &manifest);
    }
    layout.finish()
}

/// Bytes that look random, of a seed (xorshift64*).
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
