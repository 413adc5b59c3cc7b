use std::fmt;

use oci_spec::image::Platform;
use oci_store_cas::Digest;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::json::Key;

/// The annotation that names an entry of `index.json`.
pub use oci_spec::image::ANNOTATION_REF_NAME as REF_NAME;

/// A descriptor (image-spec, *Content Descriptors*): what names a blob, with its type and size.
///
/// Fields that are not here are kept as they were read, so that nothing is lost when an entry of `index.json` is
/// written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The type of what it names.
    pub media_type: String,
    /// The name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// By key. No map: each entry of an `index.json` has one or two, and there may be very many entries.
    annotations: Vec<(String, String)>,
    /// All other fields: `platform`, `artifactType`, `urls`, …; and `annotations` that are none by the spec.
    pub other: Map<String, Value>,
}

/// In the order of the spec; what is not named there follows in that of the alphabet.
impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("mediaType", &self.media_type)?;
        map.serialize_entry("digest", &self.digest)?;
        map.serialize_entry("size", &self.size)?;
        if !self.annotations.is_empty() && !self.other.contains_key("annotations") {
            map.serialize_entry("annotations", &Annotations(&self.annotations))?;
        }
        for (key, value) in &self.other {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

struct Annotations<'a>(&'a [(String, String)]);

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
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
        let (mut annotations, mut other) = (Vec::new(), Map::new());
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match &*key {
                "mediaType" => once("mediaType", &mut media_type, map.next_value()?)?,
                "digest" => once("digest", &mut digest, map.next_value()?)?,
                "size" => once("size", &mut size, map.next_value::<u64>()?)?,
                "annotations" => match map.next_value()? {
                    Said::Texts(texts) => annotations = texts,
                    Said::Other(value) => drop(other.insert(key.into_owned(), value)),
                },
                _ => drop(other.insert(key.into_owned(), map.next_value()?)),
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
            annotations,
            other,
        })
    }
}

/// What stands where annotations do.
enum Said {
    /// What the spec says: texts by key, each once and in order, and at least one.
    Texts(Vec<(String, String)>),
    Other(Value),
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SaidVisitor)
    }
}

struct SaidVisitor;

impl<'de> Visitor<'de> for SaidVisitor {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    /// Texts are made no map first: its nodes are larger than all the rest of a descriptor.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        let mut texts = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            match value {
                Value::String(value) => texts.push((key, value)),
                other => {
                    let mut all: Map<String, Value> = texts.into_iter().map(|(key, text)| (key, text.into())).collect();
                    all.insert(key, other);
                    while let Some((key, value)) = map.next_entry()? {
                        all.insert(key, value);
                    }
                    return Ok(Said::Other(all.into()));
                }
            }
        }
        if texts.is_empty() {
            return Ok(Said::Other(Map::new().into()));
        }
        texts.sort_by(|(a, _), (b, _)| a.cmp(b));
        // Of a key that is there twice, the last one is meant, as in a map.
        texts.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        Ok(Said::Texts(texts))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Said, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(list)).map(Said::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Said, E> {
        Ok(Said::Other(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Said, E> {
        Ok(Said::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Said, E> {
        Ok(Said::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Said, E> {
        Ok(Said::Other(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Said, E> {
        Ok(Said::Other(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Said, E> {
        Ok(Said::Other(Value::Null))
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
        Self { media_type: media_type.to_owned(), digest, size, annotations: Vec::new(), other: Map::new() }
    }

    /// All annotations, by key.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        match self.other.get("annotations") {
            None => self.annotations().find(|(other, _)| *other == key).map(|(_, value)| value),
            Some(annotations) => annotations.get(key)?.as_str(),
        }
    }

    /// Sets an annotation, or removes it.
    pub fn set_annotation(&mut self, key: &str, value: Option<&str>) {
        match self.other.get_mut("annotations") {
            None => {}
            // Not all of them are texts.
            Some(Value::Object(annotations)) => {
                match value {
                    Some(value) => annotations.insert(key.to_owned(), Value::from(value)),
                    None => annotations.remove(key),
                };
                return;
            }
            Some(_) => drop(self.other.remove("annotations")),
        }
        self.annotations.retain(|(other, _)| other != key);
        if let Some(value) = value {
            let place = self.annotations.partition_point(|(other, _)| other.as_str() < key);
            self.annotations.insert(place, (key.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn clear_annotations(&mut self) {
        self.other.remove("annotations");
        self.annotations.clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for more in [
            "",
            r#","annotations":{"a":"1","b":"2"}"#,
            r#","annotations":{"a":"1"},"artifactType":"x/y","platform":{"os":"linux"},"urls":[]"#,
            r#","annotations":{"a":1,"b":"2"}"#,
            r#","annotations":null"#,
            r#","annotations":{}"#,
            r#","annotations":["a",{"b":1.5}]"#,
        ] {
            let text = format!(r#"{{"mediaType":"m","digest":"{digest}","size":1{more}}}"#);
            let read: Descriptor = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert_eq!(Descriptor::deserialize(serde_json::to_value(&read).unwrap()).unwrap(), read);
        }
    }

    #[test]
    fn annotations_are_set_and_removed() {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let mut descriptor = Descriptor::new("m", digest, 1);
        for (key, value) in [("b", Some("1")), ("a", Some("2")), ("c", Some("3")), ("b", Some("4")), ("c", None)] {
            descriptor.set_annotation(key, value);
            assert_eq!(descriptor.annotation(key), value);
        }
        assert_eq!(descriptor.annotations().collect::<Vec<_>>(), [("a", "2"), ("b", "4")]);
        descriptor.other.insert("annotations".to_owned(), serde_json::json!({ "a": 1, "b": "2" }));
        descriptor.set_annotation("b", Some("3"));
        assert_eq!((descriptor.annotation("b"), &descriptor.other["annotations"]["a"]), (Some("3"), &Value::from(1)));
        descriptor.other.insert("annotations".to_owned(), Value::Null);
        assert_eq!(descriptor.annotation("a"), None);
        descriptor.set_annotation("a", Some("5"));
        assert_eq!(descriptor.annotation("a"), Some("5"));
    }
}
