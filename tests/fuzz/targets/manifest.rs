//! Manifests and indexes: `children` sees exactly what a plain JSON parser finds in the fields of that media type.
//!
//! The first byte chooses the media type.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_store_cas::{Algorithm, Hasher};
use oci_store_oci::media_type::{ARTIFACT, DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, is_document};
use oci_store_oci::{Descriptor, Role, children};
use serde_json::Value;

const TYPES: [&str; 6] = [MANIFEST, INDEX, ARTIFACT, DOCKER_MANIFEST, DOCKER_LIST, "text/plain"];

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let media_type = TYPES[usize::from(*first) % TYPES.len()];
    let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
    hasher.update(bytes);
    let descriptor = Descriptor::new(media_type, hasher.finish(), bytes.len() as u64);
    let found = match children(&descriptor, bytes) {
        Ok(found) => found,
        Err(error) => {
            let line = error.to_string();
            assert!(line.len() < 3000 && !line.chars().any(char::is_control), "{line:?}");
            return;
        }
    };
    if !is_document(media_type) {
        assert!(found.is_empty());
        return;
    }
    // In fields that point at nothing, a text that is not UTF-8, a large number or great depth do no harm.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let fields: &[(&str, Role)] = match media_type {
        INDEX | DOCKER_LIST => &[("manifests", Role::Manifest)],
        ARTIFACT => &[("config", Role::Config), ("layers", Role::Layer), ("blobs", Role::Blob)],
        _ => &[("config", Role::Config), ("layers", Role::Layer)],
    };
    let mut expected = Vec::new();
    for (field, role) in fields.iter().chain(&[("subject", Role::Subject)]) {
        match &value[*field] {
            Value::Null => {}
            Value::Array(list) if *role != Role::Config && *role != Role::Subject => {
                expected.extend(list.iter().map(|child| (child.clone(), *role)));
            }
            one => expected.push((one.clone(), *role)),
        }
    }
    let found: Vec<(Value, Role)> =
        found.iter().map(|child| (serde_json::to_value(&child.descriptor).unwrap(), child.role)).collect();
    assert_eq!(found, expected);
    assert!(value["manifests"].is_null() || value["layers"].is_null(), "it can be read as either");
    assert!(value["mediaType"].is_null() || value["mediaType"] == media_type);
});
