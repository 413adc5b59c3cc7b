//! The rows of the index, drawn once. `dk` is a digest's [key form](Digest::to_key), at most 122 bytes.
//!
//! ```text
//! key                                       value
//! #  (b | e | (u|s) type 0)                 number       how many rows begin so
//! b  dk                                     BlobRow      the blob is in the store: a row implies its file
//! e  parent-dk                              EdgesRow     what a blob points at, by the types it was read as
//! r  child-dk link role parent-dk           -            the same, from the other side
//! a  dk type                                DataRow      additional data of a blob
//! u  type 0 key                             DataRow      key/value data of users
//! s  type 0 key                             DataRow      records of the store on top: refs, pins, …
//! l  dk (u|s) type 0 key                    -            data that references a blob
//! g  dk                                     -            dirty: a gc has to look whether something keeps it
//! p  dk                                     size         pending: has no row any more, its file is to go
//! m  name                                   number       counters and marks
//! ```
//!
//! `type` and `key` are names as [`name`](crate::name) fits them: types in at most 64 bytes, keys in at most 288.
//! The longest key of all is `l`, with 1 + 122 + 1 + 64 + 1 + 288 = 477 bytes of the 480 that an index takes.
//! Rows are [postcard](https://postcard.jamesmunns.com) structs; where a struct has bytes of any length, they
//! follow it raw. Behind each value stands a checksum over key and value, which [`sealed`](crate::sealed) puts there and
//! takes away; it keeps the rows `#`, too.

use oci_store_cas::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::edges::{Edge, Link};
use crate::name::{Key, Kind, fitted_kind};
use crate::{Error, Result, Space};

/// The number of this schema, as the config records it. A change to any row is a new one, with a migration.
pub const FORMAT: u32 = 2;

/// The first that counts rows.
pub(crate) const COUNTED_SINCE: u32 = 2;

pub(crate) const BLOB: u8 = b'b';
pub(crate) const EDGES: u8 = b'e';
pub(crate) const REVERSE: u8 = b'r';
pub(crate) const BLOB_DATA: u8 = b'a';
pub(crate) const REFERENCE: u8 = b'l';
pub(crate) const DIRTY: u8 = b'g';
pub(crate) const PENDING: u8 = b'p';
pub(crate) const META: u8 = b'm';
/// Before all others: what is put behind the last row of an index goes on filling its last page.
pub(crate) const COUNT: u8 = b'#';

/// A blob's row. Times are seconds since 1970; 0 is never.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlobRow {
    pub(crate) size: u64,
    pub(crate) created: u64,
    pub(crate) used: u64,
    pub(crate) verified: u64,
    /// Its bytes were found to be others than its digest names.
    pub(crate) damaged: bool,
    pub(crate) media_type: String,
}

/// The head of a row of data; the value follows it raw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DataHead {
    pub(crate) version: u64,
    pub(crate) updated: u64,
    /// The whole type, where the key has it shortened.
    pub(crate) kind: Option<String>,
    /// The whole key, where the key of the index has it shortened.
    pub(crate) key: Option<String>,
    /// The key form of the blob it references.
    pub(crate) blob: Option<Vec<u8>>,
}

/// The head of the row of a blob's edges; the edges follow it raw, each `link role child-dk`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EdgesHead {
    /// The media types under which the blob was read.
    pub(crate) read_as: Vec<String>,
}

/// `struct` and raw bytes behind it.
pub(crate) fn encode<T: Serialize>(what: &'static str, head: &T, raw: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = postcard::to_stdvec(head).map_err(|_| Error::Row { what })?;
    bytes.extend_from_slice(raw);
    Ok(bytes)
}

pub(crate) fn decode<'b, T: DeserializeOwned>(what: &'static str, bytes: &'b [u8]) -> Result<(T, &'b [u8])> {
    postcard::take_from_bytes(bytes).map_err(|_| Error::Row { what })
}

pub(crate) fn of_digest(table: u8, digest: &Digest) -> Vec<u8> {
    let mut key = vec![table];
    key.extend_from_slice(&digest.to_key());
    key
}

/// The digest in a key of a table whose keys are a digest and nothing else.
pub(crate) fn digest_of(what: &'static str, key: &[u8]) -> Result<Digest> {
    match key.get(1..).and_then(Digest::split_key) {
        Some((digest, [])) => Ok(digest),
        _ => Err(Error::Row { what }),
    }
}

pub(crate) fn reverse(child: &Digest, link: Link, role: u8, parent: &Digest) -> Vec<u8> {
    let mut key = reverse_prefix(child, Some(link));
    key.push(role);
    key.extend_from_slice(&parent.to_key());
    key
}

pub(crate) fn reverse_prefix(child: &Digest, link: Option<Link>) -> Vec<u8> {
    let mut key = of_digest(REVERSE, child);
    key.extend(link.map(Link::code));
    key
}

/// The edge, and the parent, of a key of the reverse table.
pub(crate) fn split_reverse(key: &[u8]) -> Result<(Digest, Edge)> {
    let split = || {
        let (child, rest) = Digest::split_key(key.get(1..)?)?;
        let (&[link, role], parent) = rest.split_first_chunk()?;
        let (parent, []) = Digest::split_key(parent)? else { return None };
        Some((parent, Edge { child, role, link: Link::from_code(link)? }))
    };
    split().ok_or(Error::Row { what: "reverse edge" })
}

/// The beginning of a row's key that tells with which others it is counted, if it is: its table, or its space and type.
pub(crate) fn counted(key: &[u8]) -> Option<&[u8]> {
    let (table, rest) = key.split_first()?;
    if matches!(*table, BLOB | EDGES) {
        return key.get(..1);
    }
    let is_data = [Space::User, Space::Store].iter().any(|space| space.code() == *table);
    is_data.then(|| key.get(..1 + fitted_kind(rest)? + 1)).flatten()
}

pub(crate) fn data_prefix(space: Space, kind: Kind<'_>) -> Vec<u8> {
    let mut key = vec![space.code()];
    key.extend_from_slice(&kind.fitted());
    key.push(0);
    key
}

pub(crate) fn data(space: Space, kind: Kind<'_>, key: Key<'_>) -> Vec<u8> {
    let mut row = data_prefix(space, kind);
    row.extend_from_slice(&key.fitted());
    row
}

pub(crate) fn reference(blob: &[u8], data_key: &[u8]) -> Vec<u8> {
    let mut key = vec![REFERENCE];
    key.extend_from_slice(blob);
    key.extend_from_slice(data_key);
    key
}

pub(crate) fn blob_data(digest: &Digest, kind: Key<'_>) -> Vec<u8> {
    let mut key = of_digest(BLOB_DATA, digest);
    key.extend_from_slice(&kind.fitted());
    key
}

pub(crate) fn meta(name: &str) -> Vec<u8> {
    let mut key = vec![META];
    key.extend_from_slice(name.as_bytes());
    key
}
