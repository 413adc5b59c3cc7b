//! JSON of others: only what every parser reads alike.
//!
//! The bytes of a manifest are kept as they are, and others will read them. If its text can be read in two ways, then
//! what was verified here is not what runs there. So refused are keys that are there twice; keys that stand for a
//! known field where case does not count, as in Go; texts that are no Unicode; and what lies more than 127 deep. All
//! of it costs one pass without recursion beyond that, and memory for the keys of what is open.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most values that a document of others may have, as [for `index.json`](crate::limits::Most::values).
const MAX_VALUES: usize = 500_000;
const TOO_MANY: &str = "it has too many values";

/// The fields that parsers look for.
const FIELDS: &[&str] = &[
    "annotations",
    "artifactType",
    "blobs",
    "config",
    "data",
    "digest",
    "imageLayoutVersion",
    "layers",
    "manifests",
    "mediaType",
    "platform",
    "schemaVersion",
    "size",
    "subject",
    "urls",
];

/// A list; `null` is how some tools write an empty one.
pub(crate) fn list<'de, D: Deserializer<'de>, L: Default + Deserialize<'de>>(deserializer: D) -> Result<L, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether it has more values than it may: of an error that serde takes from outside, the text is all there is.
pub(crate) fn has_too_many(error: &serde_json::Error) -> bool {
    error.to_string().starts_with(TOO_MANY)
}

/// Reads a document of others.
pub(crate) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> serde_json::Result<T> {
    read_up_to(MAX_VALUES, bytes)
}

/// The same of at most `most` values.
pub(crate) fn read_up_to<'de, T: Deserialize<'de>>(most: usize, bytes: &'de [u8]) -> serde_json::Result<T> {
    look(most, FIELDS, bytes)?;
    serde_json::from_slice(bytes)
}

/// The same of another kind of document, whose fields are `fields`.
pub(crate) fn read_with<T: DeserializeOwned>(fields: &'static [&'static str], bytes: &[u8]) -> serde_json::Result<T> {
    look(MAX_VALUES, fields, bytes)?;
    serde_json::from_slice(bytes)
}

fn look(most: usize, fields: &'static [&'static str], bytes: &[u8]) -> serde_json::Result<()> {
    let mut left = most;
    let mut text = serde_json::Deserializer::from_slice(bytes);
    Value { left: &mut left, fields, is_free: false }.deserialize(&mut text)?;
    text.end()
}

/// A value that is looked at, and not kept.
struct Value<'v> {
    left: &'v mut usize,
    fields: &'static [&'static str],
    /// Its keys are no fields: annotations.
    is_free: bool,
}

impl Value<'_> {
    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom(TOO_MANY))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Value { left: self.left, fields: self.fields, is_free: false })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = Keys::default();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if let Some(field) =
                self.fields.iter().find(|field| !self.is_free && key != **field && is_like(&key, field))
            {
                return Err(de::Error::custom(format_args!("{key:?} is {field:?} to some parsers, and not to others")));
            }
            let is_free = key == "annotations";
            if let Err(key) = keys.add(key) {
                return Err(de::Error::custom(format_args!("{key:?} is there twice")));
            }
            map.next_value_seed(Value { left: self.left, fields: self.fields, is_free })?;
        }
        Ok(())
    }
}

/// A key, as it stands in the text where it stands there as it is.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Key<'k>(#[serde(borrow)] pub(crate) Cow<'k, str>);

/// The keys of an object. Most have few, which are found faster without a table.
#[derive(Default)]
struct Keys<'k> {
    few: Vec<Cow<'k, str>>,
    many: HashSet<Cow<'k, str>>,
}

impl<'k> Keys<'k> {
    const FEW: usize = 16;

    /// Adds a key, or gives it back if it is there.
    fn add(&mut self, key: Cow<'k, str>) -> Result<(), Cow<'k, str>> {
        if self.few.contains(&key) || self.many.contains(&key) {
            return Err(key);
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        Ok(())
    }
}

/// The same but for case, by Unicode's folding of single characters.
fn is_like(key: &str, field: &str) -> bool {
    if key.is_ascii() {
        return key.eq_ignore_ascii_case(field);
    }
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(field.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(text: &str) -> bool {
        read::<serde_json::Value>(text.as_bytes()).is_ok()
    }

    #[test]
    fn what_parsers_read_alike_is_read() {
        let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
        for text in
            ["{}", r#"{"a":[{"x":1},{"x":1}],"b":{"a":null}}"#, r#"{"annotations":{"a":"","A":"","Layers":""}}"#]
        {
            assert!(is_read(text), "{text}");
        }
        assert!(is_read(&deep));
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        let texts = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":[{"y":{"a":1,"a":2}}]}"#,
            r#"{"annotations":{"a":"","a":""}}"#,
            r#"{"Layers":[]}"#,
            r#"{"x":{"diGest":""}}"#,
            "{\"layer\u{17f}\":[]}",
            r#"{"x":"\ud800"}"#,
            r#"{"x":1e999}"#,
            r"{} {}",
            &deep,
        ];
        for text in texts {
            assert!(!is_read(text), "{text}");
        }
        assert!(!is_read(&format!("[{}0]", "0,".repeat(MAX_VALUES))));
    }
}
