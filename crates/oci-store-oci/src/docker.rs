//! What Docker wants to find in an archive beside an image layout: `manifest.json`, which names the blobs of each image.

use std::collections::HashMap;

use oci_spec::distribution::Reference;
use oci_store_cas::Digest;
use serde::Serialize;

use crate::destination::{Plan, Planned};
use crate::document::{Role, children};
use crate::index_json::IndexJson;
use crate::media_type::is_index;
use crate::source::{ImageSource, read_document};
use crate::{Error, Result};

/// What containerd, and Docker over it, call an image by.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The types of configs of images that can be run.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// An image in `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Makes `manifest.json`, and gives the entries of `index.json` the names that containerd looks for.
///
/// # Errors
/// [`Error::Document`] for an image that Docker can't load.
pub(crate) fn manifest_json(plan: &Plan, source: &dyn ImageSource, index: &mut IndexJson) -> Result<Vec<u8>> {
    let mut items: Vec<Item> = Vec::new();
    let mut known: HashMap<&Digest, usize> = HashMap::new();
    for image in &plan.images {
        let (tag, whole) = names(image)?;
        let entry = index.manifests.iter_mut().find(|entry| entry.ref_name() == Some(image.name.as_str()));
        if let Some(entry) = entry {
            entry.set_annotation(CONTAINERD_NAME, Some(&whole));
        }
        match known.get(&image.target.digest).and_then(|at| items.get_mut(*at)) {
            Some(item) => item.repo_tags.push(tag),
            None => {
                known.insert(&image.target.digest, items.len());
                items.push(Item { repo_tags: vec![tag], ..item(plan, source, image)? });
            }
        }
    }
    serde_json::to_vec(&items).map_err(|error| Error::document("manifest.json", error))
}

/// An image's name as Docker writes it, and in full.
fn names(image: &Planned) -> Result<(String, String)> {
    let name = image.name.as_str();
    let wrong = || Error::document(name, "is no NAME:TAG, by which Docker knows an image: give it another name");
    let reference: Reference = name.parse().map_err(|_| wrong())?;
    // A name without a tag has got one. One with a digest is not what an image can be called.
    let tag = reference.tag().filter(|_| reference.digest().is_none()).ok_or_else(wrong)?;
    let has_tag = name.ends_with(&format!(":{tag}"));
    let short = if has_tag { name.to_owned() } else { format!("{name}:{tag}") };
    Ok((short, reference.whole()))
}

fn item(plan: &Plan, source: &dyn ImageSource, image: &Planned) -> Result<Item> {
    let Planned { name, target, .. } = image;
    let wrong = |why: &str| Error::document(name, why);
    if is_index(&target.media_type) {
        return Err(wrong("is an index, and Docker loads one manifest: say which with --platform"));
    }
    let bytes = read_document(source, target)?;
    let bytes = bytes.ok_or_else(|| oci_store_base::Error::BlobNotFound(target.digest.to_string()))?;
    let mut found = Item { config: String::new(), repo_tags: Vec::new(), layers: Vec::new() };
    for child in children(target, &bytes)? {
        let digest = &child.descriptor.digest;
        let path = format!("blobs/{}/{}", digest.algorithm(), digest.encoded());
        match child.role {
            Role::Config if CONFIGS.contains(&child.descriptor.media_type.as_str()) => found.config = path,
            Role::Layer => found.layers.push(path),
            _ => continue,
        }
        if !plan.blobs.contains_key(digest) {
            return Err(wrong(&format!("lacks {digest}, and Docker loads whole images alone")));
        }
    }
    if found.config.is_empty() {
        return Err(wrong("is no image that Docker can load: it has no image config"));
    }
    Ok(found)
}
