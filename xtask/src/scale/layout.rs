//! An image layout of very many blobs, written as fast as the disk takes files.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::attack::inputs::Layout;

/// Layers that an image adds, and those that it shares with images before it.
const OWN: u64 = 8;
const SHARED: u64 = 21;

/// What was made.
pub(super) struct Made {
    pub(super) blobs: u64,
    pub(super) refs: u64,
    pub(super) edges: u64,
    /// Digests from everywhere in it.
    pub(super) some: Vec<String>,
}

/// Makes the layout of `images` images in `folder`, or completes what is there of it.
pub(super) fn make(folder: &Path, images: u64) -> Result<Made> {
    let mut layout = Layout::create(folder)?;
    let mut some = Vec::new();
    let mut layers: Vec<Value> = Vec::new();
    let mut edges = 0;
    for number in 0..images {
        for own in 0..OWN {
            layers.push(layout.blob("application/vnd.oci.image.layer.v1.tar", &(number * OWN + own).to_le_bytes())?);
        }
        let from = layers.len().saturating_sub((OWN + SHARED) as usize);
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
            "config": { "Labels": { "number": number.to_string() } } });
        let config = layout.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        edges += 1 + (layers.len() - from) as u64;
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers[from..] });
        let manifest = layout.document(media_type, &manifest)?;
        layout.tag(&format!("image-{number}"), &manifest);
        if number % (images / 1000).max(1) == 0 {
            some.extend(manifest["digest"].as_str().map(str::to_owned));
        }
        layers.drain(..from);
    }
    layout.finish()?;
    let blobs = fs::read_dir(folder.join("blobs/sha256"))?.count() as u64;
    Ok(Made { blobs, refs: images, edges, some })
}
