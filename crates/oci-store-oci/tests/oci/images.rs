//! Images made up for tests: a source in memory, which can also be written as a layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use oci_store_cas::{Algorithm, Digest, Hasher};
use oci_store_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use oci_store_oci::{Content, Descriptor, Entry, ImageSource, Layout, REF_NAME, Result};
use serde_json::{Value, json};

pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Blobs, and what is listed of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Images {
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) entries: Vec<Descriptor>,
}

pub(crate) fn digest_with(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm).unwrap();
    hasher.update(bytes);
    hasher.finish()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    digest_with(Algorithm::Sha256, bytes)
}

/// With one more field.
pub(crate) fn with(mut descriptor: Descriptor, field: &str, value: Value) -> Descriptor {
    descriptor.other.insert(field.to_owned(), value);
    descriptor
}

impl Images {
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = digest(bytes);
        self.blobs.insert(digest.clone(), bytes.to_vec());
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    pub(crate) fn layer(&mut self, text: &str) -> Descriptor {
        self.blob(LAYER, text.as_bytes())
    }

    pub(crate) fn document(&mut self, media_type: &str, value: &Value) -> Descriptor {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// A manifest with a config that says `text`.
    pub(crate) fn manifest(&mut self, text: &str, layers: &[Descriptor]) -> Descriptor {
        let config = self.blob(CONFIG, json!({ "about": text }).to_string().as_bytes());
        self.document(
            MANIFEST,
            &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }),
        )
    }

    /// A manifest with one layer, both of which say `text`.
    pub(crate) fn simple(&mut self, text: &str) -> Descriptor {
        let layer = self.layer(text);
        self.manifest(text, &[layer])
    }

    pub(crate) fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
        self.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    }

    /// Something about `subject`, with a layer of its own.
    pub(crate) fn about(&mut self, subject: &Descriptor, text: &str) -> Descriptor {
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let layers = [self.layer(text)];
        let value = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "test/signature",
            "config": config, "layers": layers, "subject": subject,
        });
        self.document(MANIFEST, &value)
    }

    /// Lists an image under a name.
    pub(crate) fn name(&mut self, name: &str, image: &Descriptor) -> Descriptor {
        let mut entry = image.clone();
        entry.set_annotation(REF_NAME, Some(name));
        self.entries.push(entry);
        image.clone()
    }

    /// Lists something without a name.
    pub(crate) fn list(&mut self, image: &Descriptor) -> Descriptor {
        self.entries.push(image.clone());
        image.clone()
    }

    /// Writes a layout of version 1.
    pub(crate) fn write(&self, folder: &Path) -> Layout {
        self.write_blobs(folder);
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": self.entries });
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        Layout::open(folder).unwrap()
    }

    pub(crate) fn write_blobs(&self, folder: &Path) {
        for (digest, bytes) in &self.blobs {
            let path = folder.join("blobs").join(digest.algorithm());
            fs::create_dir_all(&path).unwrap();
            let path = path.join(digest.encoded());
            if !path.exists() {
                fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Every blob that `root` reaches, subjects aside: read with nothing but a JSON parser. Absent ones are in
    /// it, too.
    pub(crate) fn reach(&self, root: &Descriptor) -> BTreeSet<Digest> {
        let mut reached = BTreeSet::new();
        let mut stack = vec![root.clone()];
        while let Some(next) = stack.pop() {
            if reached.insert(next.digest.clone())
                && let Some(bytes) = self.blobs.get(&next.digest)
            {
                stack.extend(parts(&next.media_type, bytes));
            }
        }
        reached
    }

    /// What a document is about.
    pub(crate) fn subject_of(&self, digest: &Digest) -> Option<Digest> {
        // Most have none, and parsing takes time.
        let text = std::str::from_utf8(self.blobs.get(digest)?).ok().filter(|text| text.contains("\"subject\""))?;
        let value: Value = serde_json::from_str(text).ok()?;
        value.get("subject")?.get("digest")?.as_str()?.parse().ok()
    }
}

/// What a blob of a type consists of, by the names of JSON fields alone.
pub(crate) fn parts(media_type: &str, bytes: &[u8]) -> Vec<Descriptor> {
    let fields: &[&str] = match media_type {
        INDEX | DOCKER_LIST => &["manifests"],
        MANIFEST | DOCKER_MANIFEST => &["config", "layers"],
        _ => return Vec::new(),
    };
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let mut parts = Vec::new();
    for field in fields {
        match &value[*field] {
            Value::Array(list) => parts.extend(list.iter().cloned()),
            one => parts.push(one.clone()),
        }
    }
    parts.into_iter().map(|part| serde_json::from_value(part).unwrap()).collect()
}

struct Bytes(Cursor<Vec<u8>>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Content for Bytes {}

impl ImageSource for Images {
    fn origin(&self) -> String {
        "memory".to_owned()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let entry = |d: &Descriptor| Entry { name: d.ref_name().map(str::to_owned), descriptor: d.clone() };
        Ok(self.entries.iter().map(entry).collect())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        let bytes = self.blobs.get(&descriptor.digest).cloned();
        Ok(bytes.map(|bytes| Box::new(Bytes(Cursor::new(bytes))) as Box<dyn Content>))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let about = self.blobs.iter().filter(|(digest, _)| self.subject_of(digest).as_ref() == Some(subject));
        Ok(about.map(|(digest, bytes)| Descriptor::new(MANIFEST, digest.clone(), bytes.len() as u64)).collect())
    }
}
