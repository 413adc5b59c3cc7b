use oci_store_base::Link;
use oci_store_oci::media_type::{ARTIFACT, DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use oci_store_oci::{Descriptor, Role, children};
use serde_json::{Value, json};

use crate::images::{Images, LAYER, digest, with};

fn one(text: &str) -> Value {
    json!({ "mediaType": LAYER, "digest": digest(text.as_bytes()).to_string(), "size": text.len() })
}

/// What `value`, named as `media_type`, points at, by role and digest; or nothing, if it is refused.
fn read(media_type: &str, value: &Value) -> Option<Vec<(Role, String, Link)>> {
    let bytes = value.to_string().into_bytes();
    let descriptor = Descriptor::new(media_type, digest(&bytes), bytes.len() as u64);
    let children = children(&descriptor, &bytes).ok()?;
    Some(children.into_iter().map(|c| (c.role, c.descriptor.digest.to_string(), c.link)).collect())
}

#[test]
fn children_of_each_kind() {
    let of = |text: &str| digest(text.as_bytes()).to_string();
    let manifest = json!({ "config": one("c"), "layers": [one("a"), one("b")], "subject": one("s") });
    let wanted = vec![
        (Role::Config, of("c"), Link::Needs),
        (Role::Layer, of("a"), Link::Needs),
        (Role::Layer, of("b"), Link::Needs),
        (Role::Subject, of("s"), Link::Follows),
    ];
    assert_eq!(read(MANIFEST, &manifest), Some(wanted.clone()));
    assert_eq!(read(DOCKER_MANIFEST, &manifest), Some(wanted));
    let index = json!({ "manifests": [one("a"), one("b")], "subject": one("s") });
    let wanted = vec![
        (Role::Manifest, of("a"), Link::Needs),
        (Role::Manifest, of("b"), Link::Needs),
        (Role::Subject, of("s"), Link::Follows),
    ];
    assert_eq!(read(INDEX, &index), Some(wanted.clone()));
    assert_eq!(read(DOCKER_LIST, &index), Some(wanted));
    let artifact = json!({ "mediaType": ARTIFACT, "blobs": [one("a")], "subject": one("s") });
    let wanted = vec![(Role::Blob, of("a"), Link::Needs), (Role::Subject, of("s"), Link::Follows)];
    assert_eq!(read(ARTIFACT, &artifact), Some(wanted));
    // Whatever it holds, another type is a leaf.
    for leaf in [LAYER, "application/json", "", "application/vnd.oci.image.index.v2+json"] {
        assert_eq!(read(leaf, &index), Some(Vec::new()), "{leaf}");
    }
}

#[test]
fn empty_lists() {
    // `null` is how Go writes an empty list: what `umoci init` makes, and `umoci rm` of the last.
    for empty in [json!([]), Value::Null] {
        assert_eq!(read(INDEX, &json!({ "manifests": empty })).map(|c| c.len()), Some(0));
        assert_eq!(read(MANIFEST, &json!({ "config": one("c"), "layers": empty })).map(|c| c.len()), Some(1));
    }
    assert_eq!(read(ARTIFACT, &json!({})), Some(Vec::new()));
    assert_eq!(read(INDEX, &json!({ "schemaVersion": 2 })), None);
    assert_eq!(read(MANIFEST, &json!({ "layers": [] })), None);
    assert_eq!(read(MANIFEST, &json!({ "config": one("c") })), None);
}

#[test]
fn one_thing_that_could_be_read_as_two_is_refused() {
    let both = json!({ "manifests": [one("a")], "config": one("c"), "layers": [one("b")] });
    for media_type in [INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, ARTIFACT] {
        assert_eq!(read(media_type, &both), None, "{media_type}");
    }
    let calls_itself = json!({ "mediaType": INDEX, "config": one("c"), "layers": [] });
    assert_eq!(read(MANIFEST, &calls_itself), None);
    assert_eq!(read(INDEX, &json!({ "mediaType": MANIFEST, "manifests": [] })), None);
    for bad in ["", "{", "[]", "null", "\"x\"", "{\"layers\":[],\"layers\":[]}", "\u{0}"] {
        let descriptor = Descriptor::new(MANIFEST, digest(bad.as_bytes()), bad.len() as u64);
        assert!(children(&descriptor, bad.as_bytes()).is_err(), "{bad:?}");
    }
    for bad in [json!({}), json!([1]), json!({ "a": 1 }), json!("x"), json!([[]])] {
        assert_eq!(read(MANIFEST, &json!({ "config": one("c"), "layers": bad })), None, "{bad}");
    }
}

#[test]
fn what_may_be_elsewhere_is_used_and_not_needed() {
    let mut images = Images::default();
    let layer = images.layer("x");
    let urls = with(layer.clone(), "urls", json!(["https://example.com/x"]));
    let mut foreign = layer.clone();
    foreign.media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned();
    let mut restricted = layer.clone();
    restricted.media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd".to_owned();
    let no_urls = with(layer.clone(), "urls", json!([]));
    let layers = [layer, urls, foreign, restricted, no_urls];
    let found = read(MANIFEST, &json!({ "config": one("c"), "layers": layers })).unwrap();
    let links: Vec<Link> = found.into_iter().skip(1).map(|(_, _, link)| link).collect();
    assert_eq!(links, [Link::Needs, Link::Uses, Link::Uses, Link::Uses, Link::Needs]);
}

#[test]
fn descriptors() {
    let good = |size: &str| format!(r#"{{"mediaType":"t","digest":"{}","size":{size}}}"#, digest(b"x"));
    for size in ["0", "1", "9223372036854775807"] {
        assert!(serde_json::from_str::<Descriptor>(&good(size)).is_ok(), "{size}");
    }
    for size in ["-1", "1.5", "1e3", "\"12\"", "null", "9223372036854775808", "18446744073709551616", "[]", "true"] {
        assert!(serde_json::from_str::<Descriptor>(&good(size)).is_err(), "{size}");
    }
    for digest in ["", "sha256:", "sha256:../../etc/passwd", "sha256:ABCDEF", "sha256", "../x:y"] {
        let text = format!(r#"{{"mediaType":"t","digest":"{digest}","size":1}}"#);
        assert!(serde_json::from_str::<Descriptor>(&text).is_err(), "{digest}");
    }
    assert!(serde_json::from_str::<Descriptor>(&good("1").replace("{", r#"{"size":2,"#)).is_err(), "two sizes");
    // What is not known here survives.
    let value = json!({
        "mediaType": "t", "digest": digest(b"x").to_string(), "size": 1, "data": "eA==", "urls": [], "new": { "a": [1.5, null] },
        "annotations": { "x": "y" }, "platform": { "os": "linux", "architecture": "riscv64", "os.features": ["z"] },
    });
    let mut descriptor: Descriptor = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&descriptor).unwrap(), value);
    descriptor.set_annotation("n", Some("v"));
    descriptor.set_annotation("n", None);
    assert_eq!(serde_json::to_value(&descriptor).unwrap(), value);
}
