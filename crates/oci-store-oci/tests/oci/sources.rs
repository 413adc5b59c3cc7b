//! What sources list, and what of it is picked.

use std::collections::BTreeMap;

use oci_store_oci::media_type::MANIFEST;
use oci_store_oci::{Descriptor, Error, ImageSource, ImportOptions, pick};
use serde_json::json;

use crate::common::{Bench, assert_sound, benches, failure, files, import, import_with};
use crate::images::{Images, with};

#[test]
fn picking() {
    let bench = Bench::new("memory");
    let store = bench.open();
    let mut images = Images::default();
    assert!(matches!(pick(&images, None, None), Err(Error::NoName { .. })));
    let (a, b) = (images.simple("a"), images.simple("b"));
    images.list(&a);
    assert_eq!(pick(&images, None, None).unwrap().descriptor, a);
    images.list(&b);
    assert!(matches!(pick(&images, None, None), Err(Error::NoName { has, .. }) if has.len() == 2));
    let platform =
        |d: &Descriptor, arch: &str| with(d.clone(), "platform", json!({ "os": "linux", "architecture": arch }));
    images.name("v1", &platform(&a, "amd64"));
    images.name("v1", &platform(&b, "arm64"));
    let pick_for = |name: Option<&str>, platform: Option<&str>| {
        pick(&images, name, platform.map(|text| text.parse().unwrap()).as_ref()).map(|entry| entry.descriptor.digest)
    };
    assert_eq!(pick_for(None, None).unwrap(), b.digest, "the only name, and the last of it");
    assert_eq!(pick_for(Some("v1"), Some("linux/amd64")).unwrap(), a.digest);
    assert_eq!(pick_for(Some("v1"), Some("linux/arm64")).unwrap(), b.digest);
    assert!(matches!(pick_for(Some("v1"), Some("linux/riscv64")), Err(Error::NoPlatform { .. })));
    assert!(matches!(pick_for(Some("v2"), None), Err(Error::NotInSource { .. })));
    assert_eq!(pick_for(Some(&a.digest.to_string()), None).unwrap(), a.digest);
    // By digest, of what is only reached; a bad image beside it does no harm.
    let bad = images.blob(MANIFEST, b"{");
    images.list(&bad);
    let layer = crate::images::digest(b"a");
    assert_eq!(pick(&images, Some(&layer.to_string()), None).unwrap().descriptor.digest, layer);
    // An entry that calls itself by another's digest is not that.
    images.name(&b.digest.to_string(), &a);
    let nobodys = crate::images::digest(b"nobody has it").to_string();
    images.name(&nobodys, &a);
    assert_eq!(pick(&images, Some(&b.digest.to_string()), None).unwrap().descriptor.digest, b.digest);
    assert!(matches!(pick(&images, Some(&nobodys), None), Err(Error::NotInSource { .. })));
    images.name("app:b", &a);
    images.name("app:b", &a);
    assert_eq!(pick(&images, Some("app:b"), None).unwrap().descriptor.digest, a.digest, "no digest");
    images.name("\u{1b}[31m\n", &a);
    failure(pick(&images, Some("v2"), None));
    failure(pick(&images, None, None));
    let options = ImportOptions { platform: Some("linux/amd64".parse().unwrap()), ..ImportOptions::default() };
    assert_eq!(import_with(&store, &images, "v1", &options).unwrap().target.digest, a.digest);
}

#[test]
fn what_a_store_shows_as_a_source() {
    for bench in benches() {
        let store = bench.open();
        let other = Bench::new("memory");
        let other = other.open();
        let mut images = Images::default();
        let image = images.simple("a");
        images.name("v1", &image);
        images.about(&image, "signature");
        import(&store, &images, "v1").unwrap();
        let entries: BTreeMap<_, _> =
            store.as_source().entries().unwrap().into_iter().map(|e| (e.name, e.descriptor)).collect();
        assert_eq!(entries, [(Some("v1".to_owned()), image)].into());
        import(&other, &store.as_source(), "v1").unwrap();
        assert_eq!(files(other.root()), files(store.root()));
        assert_sound(&other);
    }
}
