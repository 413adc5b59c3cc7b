//! `many`: how a store behaves with a great number of small images.

use std::path::Path;

use anyhow::Result;

use super::contents::{Contents, Numbers};
use super::layout::{Layout, StoredLayer};

const SHARED_LAYERS: u64 = 12;
const SHARED_SIZE: u64 = 192 << 10;
const OWN_LAYERS: u64 = 3;

/// `count` images, each of two of the shared layers and of five blobs of its own (three small layers, its config and
/// its manifest). The first, and then every `every`th, is tagged.
pub(super) fn write(folder: &Path, count: usize, every: usize) -> Result<()> {
    let mut layout = Layout::create(folder)?;
    let shared = (0..SHARED_LAYERS)
        .map(|n| layer(&layout, &format!("shared-{n}"), SHARED_SIZE))
        .collect::<Result<Vec<StoredLayer>>>()?;
    for n in 0..count {
        let mut numbers = Numbers::of(&format!("image-{n}"));
        let first = numbers.between(0, SHARED_LAYERS);
        let second = (first + numbers.between(1, SHARED_LAYERS)) % SHARED_LAYERS;
        let mut layers = vec![shared[first as usize].clone(), shared[second as usize].clone()];
        for own in 0..OWN_LAYERS {
            layers.push(layer(&layout, &format!("image-{n}-{own}"), numbers.between(512, 8 << 10))?);
        }
        let manifest = layout.image("amd64", &layers)?;
        if n % every == 0 {
            layout.tag(&format!("image-{n:05}"), &manifest);
        }
    }
    layout.finish()
}

fn layer(layout: &Layout, name: &str, size: u64) -> Result<StoredLayer> {
    layout.layer(name, |layer| {
        layer.add(&format!("opt/{name}/data"), Contents::noise(name), size)?;
        layer.add(&format!("opt/{name}/notes"), Contents::text(name), size / 4)
    })
}
