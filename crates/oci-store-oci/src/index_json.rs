//! `index.json`: the file that lists what an image layout has.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::entries::Entries;
use crate::limits::{Limits, Most};
use crate::source::Entry;
use crate::{Descriptor, Error, Result};

/// `index.json`, and every field of it. Of a store's own file the entries are [`Entries`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "M: Default + Deserialize<'de>"))]
pub(crate) struct IndexJson<M = Vec<Descriptor>> {
    #[serde(rename = "schemaVersion")]
    pub(crate) schema_version: u64,
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default, deserialize_with = "crate::json::list")]
    pub(crate) manifests: M,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
    /// It had entries that are no descriptors, and that are left out here.
    #[serde(skip)]
    pub(crate) is_lossy: bool,
}

impl IndexJson {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        let media_type = Some(crate::media_type::INDEX.to_owned());
        Self { schema_version: 2, media_type, manifests, other: Map::new(), is_lossy: false }
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8], limits: Limits) -> Result<Self> {
        parse_up_to(Most::index_json(limits.index_json), path, bytes)
    }

    /// What it lists, in its own order.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        let entry = |descriptor: Descriptor| Entry { name: descriptor.ref_name().map(str::to_owned), descriptor };
        self.manifests.into_iter().map(entry).collect()
    }
}

impl IndexJson<Entries> {
    /// As [`parse`](IndexJson::parse), of a store's own file: an entry that another tool has written and that is no descriptor is left
    /// out, with a warning, and does not take the others with it.
    pub(crate) fn parse_own(path: &Path, bytes: &[u8]) -> Result<Self> {
        let most = Most::always(u64::MAX);
        parse_up_to(most, path, bytes).or_else(|error| {
            let Ok(mut value) = crate::json::read_up_to::<Value>(most.values(), bytes) else { return Err(error) };
            let Some(entries) = value.get_mut("manifests").and_then(Value::as_array_mut) else { return Err(error) };
            entries.retain(|entry| match Descriptor::deserialize(entry) {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!("{}: an entry is no descriptor, and left out: {error}", path.display());
                    false
                }
            });
            let index = parse_up_to(most, path, value.to_string().as_bytes())?;
            Ok(Self { is_lossy: true, ..index })
        })
    }
}

fn parse_up_to<M: Default + DeserializeOwned>(most: Most, path: &Path, bytes: &[u8]) -> Result<IndexJson<M>> {
    let why = |error| match format!("not an index: {error}") {
        why if crate::json::has_too_many(&error) => most.refused(path.display(), why),
        why => Error::document(path.display(), why),
    };
    let index: IndexJson<M> = crate::json::read_up_to(most.values(), bytes).map_err(why)?;
    if index.schema_version != 2 {
        return Err(Error::document(path.display(), format!("schemaVersion {}, not 2", index.schema_version)));
    }
    Ok(index)
}

/// Reads the version that `oci-layout` says; `path` is for messages.
pub(crate) fn check_version(path: &Path, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let Version { version } = crate::json::read(bytes).map_err(|error| Error::document(path.display(), error))?;
    if version.split('.').next() != Some("1") {
        return Err(Error::document(path.display(), format!("image layout version {version}, not 1")));
    }
    Ok(())
}
