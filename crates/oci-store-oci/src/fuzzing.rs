//! Doors for the fuzzer, there in its builds alone (`--cfg fuzzing`).

use std::path::Path;

use oci_store_cas::Digest;

use crate::index_json::IndexJson;
use crate::limits::Limits;
use crate::referrers::Referrers;
use crate::source::{Entry, ImageSource};
use crate::{Descriptor, Error, Result};

/// Reads an `index.json`, as others' or as a store's own; returns its entries, and the file as it would be written.
pub fn index_json(bytes: &[u8], own: bool) -> Result<(Vec<Entry>, Vec<u8>)> {
    let path = Path::new("index.json");
    let index = if own {
        let IndexJson { schema_version, media_type, manifests, other, is_lossy } = IndexJson::parse_own(path, bytes)?;
        let manifests = (0..manifests.len()).map(|place| manifests.get(place)).collect::<Result<_>>()?;
        IndexJson { schema_version, media_type, manifests, other, is_lossy }
    } else {
        IndexJson::parse(path, bytes, Limits::default())?
    };
    let written = serde_json::to_vec(&index).map_err(|error| Error::document("index.json", error))?;
    Ok((index.into_entries(), written))
}

/// What a layout lists that is about `subject`.
pub fn referrers(source: &dyn ImageSource, subject: &Digest) -> Result<Vec<Descriptor>> {
    Referrers::default().of(source, subject)
}
