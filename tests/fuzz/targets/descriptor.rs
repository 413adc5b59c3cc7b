//! Descriptors: what is read is written again with nothing lost, and nothing is read from it that can't be so.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_store_oci::{Descriptor, REF_NAME};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(mut descriptor) = serde_json::from_slice::<Descriptor>(data) else { return };
    assert!(descriptor.size <= i64::MAX as u64);
    let written = serde_json::to_value(&descriptor).unwrap();
    assert_eq!(written, serde_json::from_slice::<Value>(data).unwrap(), "a field is lost or changed");
    assert_eq!(serde_json::from_value::<Descriptor>(written).unwrap(), descriptor);
    let _ = (descriptor.platform(), descriptor.artifact_type(), descriptor.is_elsewhere());
    let before = descriptor.annotation("other").map(str::to_owned);
    descriptor.set_annotation(REF_NAME, Some("name"));
    assert_eq!(descriptor.ref_name(), Some("name"));
    descriptor.set_annotation(REF_NAME, None);
    assert_eq!(descriptor.ref_name(), None);
    assert_eq!(descriptor.annotation("other").map(str::to_owned), before);
});
