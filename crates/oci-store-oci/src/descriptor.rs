use std::fmt;

use oci_spec::image::Platform;
use oci_store_cas::Digest;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The annotation that names an entry of `index.json`.
pub use oci_spec::image::ANNOTATION_REF_NAME as REF_NAME;

/// A descriptor (image-spec, *Content Descriptors*): what names a blob, with its type and size.
///
/// Fields that are not here are kept as they were read, so that nothing is lost when an entry of `index.json` is
/// written again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// The type of what it names.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// The name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// All other fields: `annotations`, `platform`, `artifactType`, `urls`, …
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// By hand: an index has thousands of them, and what is derived for a flattened map reads everything twice.
impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Descriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Descriptor, A::Error> {
        let (mut media_type, mut digest, mut size) = (None, None, None);
        let mut other = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "mediaType" => once("mediaType", &mut media_type, map.next_value()?)?,
                "digest" => once("digest", &mut digest, map.next_value()?)?,
                "size" => once("size", &mut size, map.next_value::<u64>()?)?,
                _ => drop(other.insert(key, map.next_value()?)),
            }
        }
        let size = size.ok_or_else(|| de::Error::missing_field("size"))?;
        // Sizes are int64 by the spec.
        if size > i64::MAX as u64 {
            return Err(de::Error::custom(format_args!("a size of {size} bytes")));
        }
        Ok(Descriptor {
            media_type: media_type.ok_or_else(|| de::Error::missing_field("mediaType"))?,
            digest: digest.ok_or_else(|| de::Error::missing_field("digest"))?,
            size,
            other,
        })
    }
}

fn once<T, E: de::Error>(name: &'static str, field: &mut Option<T>, value: T) -> Result<(), E> {
    match field.replace(value) {
        Some(_) => Err(E::duplicate_field(name)),
        None => Ok(()),
    }
}

impl Descriptor {
    /// A descriptor with nothing but what it must have.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, other: Map::new() }
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.other.get("annotations")?.get(key)?.as_str()
    }

    /// Sets an annotation, or removes it.
    pub fn set_annotation(&mut self, key: &str, value: Option<&str>) {
        let mut annotations = match self.other.remove("annotations") {
            Some(Value::Object(annotations)) => annotations,
            _ => Map::new(),
        };
        match value {
            Some(value) => annotations.insert(key.to_owned(), Value::from(value)),
            None => annotations.remove(key),
        };
        if !annotations.is_empty() {
            self.other.insert("annotations".to_owned(), Value::Object(annotations));
        }
    }

    /// The name that an entry of `index.json` has.
    #[must_use]
    pub fn ref_name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    /// The platform, if there is one that can be read.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        serde_json::from_value(self.other.get("platform")?.clone()).ok()
    }

    /// The type of an artifact.
    #[must_use]
    pub fn artifact_type(&self) -> Option<&str> {
        self.other.get("artifactType")?.as_str()
    }

    /// Whether the blob can be had elsewhere, so that an image is whole without it: it has `urls`, or is of a
    /// non-distributable type.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let has_urls = self.other.get("urls").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty());
        has_urls || crate::media_type::is_non_distributable(&self.media_type)
    }
}
