//! Archives of `docker save`: `manifest.json` lists images, each with the names of the files that are its config and
//! layers. They have no manifest by the image-spec: one is made, always the same of the same. Config and layers stay the
//! bytes that they are.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use oci_store_cas::{Algorithm, Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::document::{Role, children};
use crate::limits::{Limits, Most, size_text};
use crate::media_type::{MANIFEST, is_document};
use crate::source::{Entry, ImageSource, read_document};
use crate::{Descriptor, Error, Result};

use super::codec::Codec;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(super) const NO_MANIFEST: &str = "it has no manifest.json at its top, which docker save makes";

/// Under this, containerd and Docker write the whole name of an image.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// An image, as `manifest.json` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
}

impl Item {
    /// What it is called in messages.
    fn label(&self) -> &str {
        self.repo_tags.iter().flatten().next().unwrap_or(&self.config)
    }

    fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.repo_tags.iter().flatten().map(|tag| familiar(tag).to_owned())
    }
}

/// Reads `manifest.json`; `path` is for messages.
pub(super) fn items(path: &Path, bytes: &[u8]) -> Result<Vec<Item>> {
    crate::json::read_with(&["Config", "RepoTags", "Layers"], bytes)
        .map_err(|error| Error::document(path.display(), format!("not a list of images: {error}")))
}

/// The part of a config that matters here.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

/// The files that an archive has, by the names in `manifest.json`.
pub(super) trait Files {
    /// A config's bytes, if it may have so many; `None` if it is not there.
    fn config(&mut self, name: &str, most: Most) -> Result<Option<Vec<u8>>>;

    /// A layer, whose uncompressed bytes are to be those that `diff_id` names; `None` if it is not there.
    fn layer(&mut self, name: &str, diff_id: &Digest) -> Result<Option<Layer>>;
}

/// A layer as it is in the archive.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) compression: Option<Codec>,
}

impl Layer {
    fn descriptor(&self) -> Descriptor {
        let suffix = match self.compression {
            None => "",
            Some(Codec::Gzip) => "+gzip",
            Some(Codec::Zstd) => "+zstd",
        };
        Descriptor::new(&format!("{LAYER}{suffix}"), self.digest.clone(), self.size)
    }
}

/// What was made of `manifest.json`.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) entries: Vec<Entry>,
    /// The manifests' bytes.
    pub(super) manifests: HashMap<Digest, Vec<u8>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Makes a manifest of each image. `path` is that of `manifest.json`, for messages.
pub(super) fn make(path: &Path, items: &[Item], limits: Limits, files: &mut dyn Files) -> Result<Made> {
    let mut made = Made::default();
    let mut total = 0;
    for item in items {
        let wrong = |why: String| Error::document(path.display(), format!("{}: {why}", item.label()));
        let absent = |name: &str| wrong(format!("{name} is not in the archive"));
        let config =
            files.config(&item.config, Most::manifest(limits.manifest))?.ok_or_else(|| absent(&item.config))?;
        let Config { rootfs } = crate::json::read_with(&["rootfs", "diff_ids"], &config)
            .map_err(|error| wrong(format!("{} is not a config: {error}", item.config)))?;
        let (diff_ids, names) = (rootfs.diff_ids.unwrap_or_default(), item.layers.as_deref().unwrap_or_default());
        if diff_ids.len() != names.len() {
            return Err(wrong(format!("it has {} layers, its config says {}", names.len(), diff_ids.len())));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in names.iter().zip(&diff_ids) {
            layers.push(files.layer(name, diff_id)?.ok_or_else(|| absent(name))?.descriptor());
        }
        let config = Descriptor::new(CONFIG, digest_of(&config)?, config.len() as u64);
        let manifest = Manifest { schema_version: 2, media_type: MANIFEST, config, layers };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| wrong(error.to_string()))?;
        let (digest, size) = (digest_of(&bytes)?, bytes.len() as u64);
        if size > limits.manifest {
            let why = format!("its manifest would have more than {}", size_text(limits.manifest));
            return Err(Most::manifest(limits.manifest).refused(path.display(), format!("{}: {why}", item.label())));
        }
        if made.manifests.insert(digest.clone(), bytes).is_none() {
            total += size;
        }
        if total > limits.index_json {
            let why = format!("the manifests of all images have more than {}", size_text(limits.index_json));
            return Err(Most::index_json(limits.index_json).refused(path.display(), why));
        }
        let descriptor = Descriptor::new(MANIFEST, digest, size);
        let mut names: Vec<Option<String>> = item.names().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        made.entries.extend(names.into_iter().map(|name| Entry { name, descriptor: descriptor.clone() }));
    }
    Ok(made)
}

/// Says that a layer is not the one that its config means.
pub(super) fn other_layer(path: &Path, name: &str, diff_id: &Digest, actual: &Digest) -> Error {
    Error::member(
        path,
        name.as_bytes(),
        format!("the layer's diff_id is {diff_id} by its config, its bytes are {actual}"),
    )
}

pub(super) fn digest_of(bytes: &[u8]) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256).ok_or_else(|| Error::document("sha256", "can't be computed"))?;
    hasher.update(bytes);
    Ok(hasher.finish())
}

/// The names of what a layout lists in an archive of `docker save`, which has both: of the annotation that Docker writes,
/// else of `manifest.json`, else of the layout.
pub(super) fn names(source: &dyn ImageSource, entries: Vec<Entry>, items: &[Item]) -> Vec<Entry> {
    let mut tags: HashMap<Digest, Vec<String>> = HashMap::new();
    for item in items {
        if let Some(digest) = config_digest(&item.config) {
            tags.entry(digest).or_default().extend(item.names());
        }
    }
    let mut named = Vec::new();
    let mut seen = HashSet::new();
    for entry in entries {
        let own = entry.descriptor.annotation(IMAGE_NAME).map(|name| vec![familiar(name).to_owned()]);
        let names = own.or_else(|| tags.get(&config_of(source, &entry.descriptor)?).cloned()).unwrap_or_default();
        if names.is_empty() {
            named.push(entry);
            continue;
        }
        for name in names {
            // One image may be listed for each of its names.
            if seen.insert((name.clone(), entry.descriptor.digest.clone())) {
                named.push(Entry { name: Some(name), descriptor: entry.descriptor.clone() });
            }
        }
    }
    named
}

/// The digest that the name of a config says: `blobs/sha256/HEX`.
fn config_digest(name: &str) -> Option<Digest> {
    let (algorithm, encoded) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{encoded}").parse().ok()
}

/// The config of an image, if it is one that can be read.
fn config_of(source: &dyn ImageSource, descriptor: &Descriptor) -> Option<Digest> {
    if !is_document(&descriptor.media_type) {
        return None;
    }
    let bytes = read_document(source, descriptor).ok()??;
    let mut children = children(descriptor, &bytes).ok()?.into_iter();
    children.find(|child| child.role == Role::Config).map(|child| child.descriptor.digest)
}

/// A name as Docker shows it: `docker.io/library/nginx:latest` is `nginx:latest`.
fn familiar(name: &str) -> &str {
    let below = name.strip_prefix("docker.io/");
    below.map_or(name, |below| below.strip_prefix("library/").unwrap_or(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_shows() {
        let names = [
            ("docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/me/app:1", "me/app:1"),
            ("nginx:latest", "nginx:latest"),
            ("library/nginx:1", "library/nginx:1"),
            ("host:5000/docker.io/x:1", "host:5000/docker.io/x:1"),
        ];
        for (name, shown) in names {
            assert_eq!(familiar(name), shown);
        }
    }
}
