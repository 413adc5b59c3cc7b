//! What is about a blob.

use oci_store_cas::Digest;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Error, Result};

/// What of a manifest its descriptor in a list of referrers says as well.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    config: Option<Config>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

/// What in `source` is about the blob `subject`, of one `artifact_type` or of all: descriptors with the type and the
/// annotations of each, from its manifest (distribution-spec, *Listing Referrers*), by digest.
///
/// # Errors
/// That one of them can't be read.
pub fn referrers(source: &dyn ImageSource, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
    let mut referrers = Vec::new();
    for mut referrer in source.referrers(subject)? {
        if let Some(bytes) = read_document(source, &referrer)? {
            let manifest: Manifest =
                crate::json::read(&bytes).map_err(|error| Error::document(&referrer.digest, error))?;
            let own = manifest.artifact_type.filter(|own| !own.is_empty());
            let kind = own.or(manifest.config.map(|config| config.media_type));
            if let Some(kind) = kind {
                referrer.other.insert("artifactType".to_owned(), Value::from(kind));
            }
            if let Some(annotations) = manifest.annotations {
                referrer.clear_annotations();
                for (key, value) in &annotations {
                    referrer.set_annotation(key, value.as_str());
                }
            }
        }
        if artifact_type.is_none_or(|wanted| referrer.artifact_type() == Some(wanted)) {
            referrers.push(referrer);
        }
    }
    referrers.sort_by(|a, b| a.digest.cmp(&b.digest));
    Ok(referrers)
}
