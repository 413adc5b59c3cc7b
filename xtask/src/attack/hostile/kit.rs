//! What cases are made with: image layouts, written byte by byte where it matters.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::attack::inputs::{Layout, noise};

pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The name of the image in every source, if the case is not about names.
pub(super) const NAME: &str = "strange";

/// A layout that is being written.
pub(super) struct Kit {
    pub(super) folder: PathBuf,
}

impl Kit {
    /// A new layout in `folder`, with one good image.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        Layout::create(folder)?;
        let kit = Self { folder: folder.to_owned() };
        let image = kit.image()?;
        kit.list(&[image])?;
        Ok(kit)
    }

    /// Adds a blob; returns its descriptor.
    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let hex = hex(&Sha256::digest(bytes));
        let path = self.folder.join("blobs/sha256").join(&hex);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
    }

    /// Adds a document as it stands.
    pub(super) fn document(&self, media_type: &str, document: &Value) -> Result<Value> {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// A config.
    pub(super) fn config(&self) -> Result<Value> {
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
        self.document(CONFIG, &config)
    }

    /// A layer of few bytes, of a seed.
    pub(super) fn layer(&self, seed: u64) -> Result<Value> {
        self.blob(LAYER, &noise(seed, 700))
    }

    /// A good image of two layers.
    pub(super) fn image(&self) -> Result<Value> {
        self.image_of(&self.config()?, &[self.layer(1)?, self.layer(2)?])
    }

    /// Another image, of a seed.
    pub(super) fn image_named(&self, seed: u64) -> Result<Value> {
        self.image_of(&self.config()?, &[self.layer(seed)?])
    }

    /// An image of these parts.
    pub(super) fn image_of(&self, config: &Value, layers: &[Value]) -> Result<Value> {
        self.document(MANIFEST, &image(config, layers))
    }

    /// An index of these manifests.
    pub(super) fn index_of(&self, manifests: &[Value]) -> Result<Value> {
        self.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    }

    /// Writes `index.json`, with the last of `entries` under the name.
    pub(super) fn list(&self, entries: &[Value]) -> Result<()> {
        let mut entries = entries.to_vec();
        if let Some(last) = entries.last_mut() {
            last["annotations"]["org.opencontainers.image.ref.name"] = json!(NAME);
        }
        self.list_as_is(&entries)
    }

    /// Writes `index.json` with these entries.
    pub(super) fn list_as_is(&self, entries: &[Value]) -> Result<()> {
        self.index_json(json!({ "schemaVersion": 2, "manifests": entries }).to_string().as_bytes())
    }

    /// Writes `index.json` as it stands.
    pub(super) fn index_json(&self, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.folder.join("index.json"), bytes)?)
    }

    /// Where a descriptor's blob is.
    pub(super) fn path_of(&self, descriptor: &Value) -> PathBuf {
        self.folder.join("blobs").join(digest_of(descriptor).replacen(':', "/", 1))
    }

    /// Changes a blob's bytes, and leaves its name.
    pub(super) fn change(&self, descriptor: &Value, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let path = self.path_of(descriptor);
        let mut bytes = fs::read(&path)?;
        change(&mut bytes);
        Ok(fs::write(path, bytes)?)
    }
}

pub(super) fn image(config: &Value, layers: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
}

pub(super) fn digest_of(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap_or_default()
}

pub(super) fn hex(raw: &[u8]) -> String {
    raw.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A descriptor's text with one field's value written as it stands.
pub(super) fn with_field(descriptor: &Value, field: &str, text: &str) -> String {
    let mut parts = Vec::new();
    for (key, value) in descriptor.as_object().into_iter().flatten() {
        let value = if key == field { text.to_owned() } else { value.to_string() };
        parts.push(format!("{}:{value}", json!(key)));
    }
    format!("{{{}}}", parts.join(","))
}

/// A place where a descriptor can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Entry,
    Config,
    Layer,
    Child,
    Subject,
}

impl Place {
    pub(super) const ALL: [Self; 5] = [Self::Entry, Self::Config, Self::Layer, Self::Child, Self::Subject];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Child => "child",
            Self::Subject => "subject",
        }
    }

    /// A good descriptor for this place.
    pub(super) fn descriptor(self, kit: &Kit) -> Result<Value> {
        match self {
            Self::Entry | Self::Child | Self::Subject => kit.image(),
            Self::Config => kit.config(),
            Self::Layer => kit.layer(3),
        }
    }

    /// Puts a descriptor, as text, into this place of the one image that the layout lists.
    pub(super) fn put(self, kit: &Kit, descriptor: &str) -> Result<()> {
        let config = kit.config()?.to_string();
        let (config, layers, subject) = match self {
            Self::Entry => {
                let annotated = format!(
                    "{},\"annotations\":{{\"org.opencontainers.image.ref.name\":\"{NAME}\"}}}}",
                    descriptor.trim_end_matches('}')
                );
                return kit.index_json(format!("{{\"schemaVersion\":2,\"manifests\":[{annotated}]}}").as_bytes());
            }
            Self::Child => {
                let text = format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{descriptor}]}}");
                return kit.list(&[kit.blob(INDEX, text.as_bytes())?]);
            }
            Self::Config => (descriptor.to_owned(), String::new(), String::new()),
            Self::Layer => (config, descriptor.to_owned(), String::new()),
            Self::Subject => (config, String::new(), format!(",\"subject\":{descriptor}")),
        };
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{config},\"layers\":[{layers}]{subject}}}"
        );
        kit.list(&[kit.blob(MANIFEST, text.as_bytes())?])
    }
}
