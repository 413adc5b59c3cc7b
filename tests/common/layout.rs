//! Makes image layouts: the few that the tests need, with nothing but hashes and JSON.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout in the making. Each step that adds an entry writes `index.json`.
pub(crate) struct Builder {
    pub(crate) folder: PathBuf,
    entries: Vec<Value>,
}

impl Builder {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let builder = Self { folder, entries: Vec::new() };
        builder.write();
        builder
    }

    /// A layout that begins as a copy of another.
    pub(crate) fn copy_of(other: &Path, folder: PathBuf) -> Self {
        copy(other, &folder);
        let entries = entries(other);
        Self { folder, entries }
    }

    fn write(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.entries });
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
    }

    /// Writes a blob; returns its descriptor.
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(blob_path(&self.folder, &digest), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    pub(crate) fn document(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// An image of layers of these bytes.
    pub(crate) fn image(&self, layers: &[&[u8]]) -> Value {
        let ids: Vec<String> = layers.iter().map(|bytes| digest(bytes)).collect();
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } });
        let config = self.document(CONFIG, &config);
        let layers: Vec<Value> = layers.iter().map(|bytes| self.blob(LAYER, bytes)).collect();
        self.manifest(&config, &layers)
    }

    pub(crate) fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.document(MANIFEST, &manifest)
    }

    pub(crate) fn index(&self, manifests: &[Value]) -> Value {
        self.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    }

    /// Something about `subject`: a signature, say.
    pub(crate) fn referrer(&self, subject: &Value, kind: &str, bytes: &[u8]) -> Value {
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let layers = [self.blob(kind, bytes)];
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
            "config": config, "layers": layers, "subject": subject,
        });
        let mut descriptor = self.document(MANIFEST, &manifest);
        descriptor["artifactType"] = Value::from(kind);
        descriptor
    }

    /// Lists an image in `index.json`.
    pub(crate) fn add(&mut self, mut descriptor: Value, name: Option<&str>) -> &mut Self {
        if let Some(name) = name {
            descriptor["annotations"][REF_NAME] = Value::from(name);
        }
        self.entries.push(descriptor);
        self.write();
        self
    }
}

/// A descriptor, with a platform.
pub(crate) fn on(mut descriptor: Value, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
    descriptor
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) fn digest_of(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

pub(crate) fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replacen(':', "/", 1))
}

/// The entries of a layout's `index.json`.
pub(crate) fn entries(layout: &Path) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

/// The digests of the layers of an image in a layout.
pub(crate) fn layers_of(layout: &Path, manifest: &str) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&fs::read(blob_path(layout, manifest)).unwrap()).unwrap();
    manifest["layers"].as_array().unwrap().iter().map(digest_of).collect()
}

/// Copies a folder; what it has may be written.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::write(to, fs::read(from).unwrap()).unwrap();
        }
    }
}

/// A tar archive in the making, member by member: also one that should not be.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.member(name, tar::EntryType::Regular, "", bytes.len() as u64, bytes)
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.member(name, tar::EntryType::Symlink, target, 0, b"")
    }

    /// Of any kind, with a size that need not be that of the bytes.
    pub(crate) fn member(mut self, name: &str, kind: tar::EntryType, target: &str, size: u64, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// All files of a layout, in this order: those under `blobs/`, or those at the top first.
    pub(crate) fn of(layout: &Path, blobs_first: bool) -> Self {
        let mut names: Vec<String> =
            super::tree::tree(layout).into_keys().filter(|name| !name.ends_with('/')).collect();
        names.sort_by_key(|name| name.starts_with("blobs/") != blobs_first);
        names.iter().fold(Self::default(), |tar, name| tar.file(name, &fs::read(layout.join(name)).unwrap()))
    }

    /// With its end.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.0[..], &[0; 1024]].concat()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Packs a layout as a tar archive, its members in the order of their names, each behind `./`.
pub(crate) fn pack(layout: &Path, archive: &Path) {
    let mut tar = tar::Builder::new(fs::File::create(archive).unwrap());
    tar.follow_symlinks(false);
    tar.mode(tar::HeaderMode::Deterministic);
    add_to(&mut tar, layout, Path::new("."));
    tar.finish().unwrap();
}

fn add_to(tar: &mut tar::Builder<fs::File>, folder: &Path, name: &Path) {
    tar.append_dir(name, folder).unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for below in names {
        let (path, name) = (folder.join(&below), name.join(&below));
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            add_to(tar, &path, &name);
        } else {
            tar.append_path_with_name(&path, &name).unwrap();
        }
    }
}
