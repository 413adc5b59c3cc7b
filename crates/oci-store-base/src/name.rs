//! Names of any length in index keys of limited length.

use oci_store_cas::{Algorithm, Hasher};

use crate::{Error, Result};

/// The longest name of a type or a key of data, in bytes.
pub const MAX_NAME: usize = 4096;

/// A type's bytes of its own in a key; with the hash of a longer one it takes at most 32 more.
const KIND: usize = 32;
/// The bytes of a SHA-256.
const HASH: usize = 32;
/// A key's bytes of its own in a key of the index.
const KEY: usize = 256;

/// A name as it stands in an index key: itself if it is shorter than `own` bytes, else its first `own` bytes and
/// the SHA-256 of the whole. Two names never share a form: a short one has less than `own` bytes, a long one
/// exactly `own + 32`. So a NUL behind a short type stands where a long one, which has none in its own bytes,
/// has something else. The order of long names with the same beginning is lost: rows that hold them keep the
/// whole name, and lists sort by it.
fn fit(name: &str, own: usize) -> Vec<u8> {
    let bytes = name.as_bytes();
    let Some(head) = bytes.get(..own) else { return bytes.to_vec() };
    let mut fitted = head.to_vec();
    if let Some(mut hasher) = Hasher::new(Algorithm::Sha256) {
        hasher.update(bytes);
        fitted.extend_from_slice(hasher.finish().raw());
    }
    fitted
}

/// The whole name, where [`fit`] shortens it.
fn spilled(name: &str, own: usize) -> Option<String> {
    (name.len() >= own).then(|| name.to_owned())
}

/// The type of data, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind<'n>(&'n str);

impl<'n> Kind<'n> {
    pub(crate) fn new(name: &'n str) -> Result<Self> {
        check(name, "type of data")?;
        if name.contains('\0') {
            return Err(Error::InvalidName { name: head(name), what: "type of data", why: "it has a NUL in it" });
        }
        Ok(Self(name))
    }

    pub(crate) fn fitted(self) -> Vec<u8> {
        fit(self.0, KIND)
    }

    pub(crate) fn spilled(self) -> Option<String> {
        spilled(self.0, KIND)
    }
}

/// The key of data, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'n>(&'n str);

impl<'n> Key<'n> {
    pub(crate) fn new(name: &'n str) -> Result<Self> {
        check(name, "key of data")?;
        Ok(Self(name))
    }

    pub(crate) fn text(self) -> &'n str {
        self.0
    }

    pub(crate) fn fitted(self) -> Vec<u8> {
        fit(self.0, KEY)
    }

    pub(crate) fn spilled(self) -> Option<String> {
        spilled(self.0, KEY)
    }
}

/// How long the type is with which `row` begins, as it was [fitted](Kind::fitted); behind it stands a NUL.
pub(crate) fn fitted_kind(row: &[u8]) -> Option<usize> {
    let own = row.get(..row.len().min(KIND))?;
    let long = || (row.len() > KIND + HASH).then_some(KIND + HASH);
    own.iter().position(|byte| *byte == 0).or_else(long)
}

/// The part of a name, or of the beginning of one, by which its rows are found in order.
pub(crate) fn key_head(name: &str) -> &[u8] {
    name.as_bytes().get(..KEY).unwrap_or(name.as_bytes())
}

fn check(name: &str, what: &'static str) -> Result<()> {
    let why = match name.len() {
        0 => "it is empty",
        len if len > MAX_NAME => "it has more than 4096 bytes",
        _ => return Ok(()),
    };
    Err(Error::InvalidName { name: head(name), what, why })
}

fn head(name: &str) -> String {
    name.chars().take(60).collect()
}
