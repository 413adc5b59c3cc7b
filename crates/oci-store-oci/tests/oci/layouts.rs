//! Layouts as sources, good and bad ones; bad input leaves everything as it was.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use oci_store_oci::media_type::MANIFEST;
use oci_store_oci::{Descriptor, Error, ImageSource, Layout, Limit, Limits};
use serde_json::json;

use crate::common::{Bench, assert_sound, benches, failure, import, import_all, path_of, seen};
use crate::images::{CONFIG, Images, LAYER, digest, with};

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    let made = rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0);
    made.unwrap();
}

/// Writes a layout with the images `good` and `bad`, damages it, and imports `bad`.
#[track_caller]
fn refuse(what: &str, make: impl Fn(&mut Images) -> Descriptor, damage: impl Fn(&Path, &Descriptor)) {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let good = images.simple("good");
        images.name("good", &good);
        import(&store, &images, "good").unwrap();
        let bad = make(&mut images);
        images.name("bad", &bad);
        let source = bench.beside("source");
        images.write(&source);
        damage(&source, &bad);
        let before = seen(&store);
        let result = Layout::open(&source).and_then(|layout| import(&store, &layout, "bad"));
        let (_, line) = failure(result);
        assert!(line.contains(source.to_str().unwrap()), "{what}: {line}");
        assert_eq!(seen(&store), before, "{what}");
        assert_sound(&store);
    }
}

fn simple(images: &mut Images) -> Descriptor {
    let layer = images.layer("bad layer");
    images.manifest("bad", &[layer])
}

fn layer_of(source: &Path) -> std::path::PathBuf {
    path_of(source, &digest(b"bad layer"))
}

#[test]
fn damaged_blobs() {
    refuse("no layer", simple, |source, _| fs::remove_file(layer_of(source)).unwrap());
    refuse("other bytes", simple, |source, _| fs::write(layer_of(source), "BAD layer").unwrap());
    refuse("too short", simple, |source, _| fs::write(layer_of(source), "bad").unwrap());
    refuse("too long", simple, |source, _| fs::write(layer_of(source), "bad layer, and more").unwrap());
    refuse("no manifest", simple, |source, bad| fs::remove_file(path_of(source, &bad.digest)).unwrap());
    refuse("manifest cut", simple, |source, bad| {
        let path = path_of(source, &bad.digest);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    });
}

#[test]
fn other_things_in_place_of_files() {
    refuse("a FIFO as layer", simple, |source, _| fifo(&layer_of(source)));
    refuse("a FIFO as manifest", simple, |source, bad| fifo(&path_of(source, &bad.digest)));
    refuse("a FIFO as index.json", simple, |source, _| fifo(&source.join("index.json")));
    refuse("a FIFO as oci-layout", simple, |source, _| fifo(&source.join("oci-layout")));
    refuse("a link as layer", simple, |source, _| {
        fs::rename(layer_of(source), source.join("elsewhere")).unwrap();
        symlink(source.join("elsewhere"), layer_of(source)).unwrap();
    });
    refuse("a link as index.json", simple, |source, _| {
        fs::rename(source.join("index.json"), source.join("elsewhere")).unwrap();
        symlink(source.join("elsewhere"), source.join("index.json")).unwrap();
    });
    refuse("a folder as layer", simple, |source, _| {
        fs::remove_file(layer_of(source)).unwrap();
        fs::create_dir(layer_of(source)).unwrap();
    });
    refuse("no index.json", simple, |source, _| fs::remove_file(source.join("index.json")).unwrap());
}

#[test]
fn bad_documents() {
    let write =
        |text: &'static str| move |source: &Path, _: &Descriptor| fs::write(source.join("index.json"), text).unwrap();
    for text in
        ["", "{", "[]", "{}", r#"{"schemaVersion":1,"manifests":[]}"#, r#"{"schemaVersion":2,"manifests":[{}]}"#]
    {
        refuse("index.json", simple, write(text));
    }
    refuse("version 2", simple, |source, _| {
        fs::write(source.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    });
    refuse("no JSON", |images| images.blob(MANIFEST, b"\x1b[31m"), |_, _| {});
    refuse(
        "both kinds in one",
        |images| {
            let image = images.simple("x");
            let config = images.blob(CONFIG, b"{}");
            images.document(MANIFEST, &json!({ "config": config, "layers": [], "manifests": [image] }))
        },
        |_, _| {},
    );
    refuse(
        "calls itself something else, at length, and in colour",
        |images| {
            let config = images.blob(CONFIG, b"{}");
            let name = "\u{1b}[31m\n".repeat(10_000);
            images.document(MANIFEST, &json!({ "mediaType": name, "config": config, "layers": [] }))
        },
        |_, _| {},
    );
    refuse(
        "a wrong size",
        |images| {
            let mut layer = images.layer("bad layer");
            layer.size += 1;
            images.manifest("bad", &[layer])
        },
        |_, _| {},
    );
    refuse(
        "two sizes of one",
        |images| {
            let layer = images.layer("bad layer");
            let mut other = layer.clone();
            other.size -= 1;
            images.manifest("bad", &[layer, other])
        },
        |_, _| {},
    );
    refuse(
        "an algorithm that nobody knows",
        |images| {
            let layer = Descriptor::new(LAYER, "magic:abc".parse().unwrap(), 3);
            images.manifest("bad", &[layer])
        },
        |source, _| {
            fs::create_dir(source.join("blobs/magic")).unwrap();
            fs::write(source.join("blobs/magic/abc"), "abc").unwrap();
        },
    );
    refuse(
        "a manifest of more than 4 MiB",
        |images| {
            let image = images.simple("x");
            let padding = "x".repeat(4 << 20);
            images.document(oci_store_oci::media_type::INDEX, &json!({ "manifests": [image], "padding": padding }))
        },
        |_, _| {},
    );
    refuse("33 deep", |images| nested(images, 33), |_, _| {});
}

fn nested(images: &mut Images, depth: usize) -> Descriptor {
    let mut image = images.index(&[]);
    for _ in 0..depth {
        image = images.index(&[image]);
    }
    image
}

#[test]
fn documents_at_their_limits() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let deep = nested(&mut images, 32);
        images.name("deep", &deep);
        // 2^40 paths through 41 indexes.
        let mut bomb = images.simple("x");
        for n in 0..30 {
            let again = with(bomb.clone(), "annotations", json!({ "n": n.to_string() }));
            bomb = images.index(&[bomb, again]);
        }
        images.name("bomb", &bomb);
        let layers: Vec<Descriptor> = (0..20_000).map(|n| images.layer(&format!("{}", n % 10))).collect();
        let wide = images.manifest("wide", &layers);
        images.name("wide", &wide);
        let same = images.layer("same");
        let twice = images.manifest("twice", &[same.clone(), same]);
        images.name("twice", &twice);
        let empty = images.layer("");
        let empty = images.manifest("empty", &[empty]);
        images.name("empty", &empty);
        let began = std::time::Instant::now();
        assert_eq!(import_all(&store, &images).unwrap().len(), 5);
        assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
        store.gc(oci_store_oci::Extent::Full, false).unwrap();
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
        assert_eq!(crate::common::files(store.root()).len(), images.blobs.len());
        assert_sound(&store);
    }
}

#[test]
fn the_form_of_2016() {
    let bench = Bench::new("memory");
    let store = bench.open();
    let mut images = Images::default();
    let image = images.simple("old");
    let source = bench.beside("source");
    fs::create_dir_all(source.join("blobs")).unwrap();
    fs::create_dir_all(source.join("refs")).unwrap();
    for (digest, bytes) in &images.blobs {
        fs::write(source.join("blobs").join(digest.to_string().replace(':', "-")), bytes).unwrap();
    }
    fs::write(source.join("refs/v1"), serde_json::to_string(&image).unwrap()).unwrap();
    let layout = Layout::open(&source).unwrap();
    assert_eq!(import(&store, &layout, "v1").unwrap().target, image);
    assert_sound(&store);
    let before = seen(&store);
    fs::write(source.join("refs/bad"), "{}").unwrap();
    failure(import(&store, &layout, "v1"));
    fifo(&source.join("refs/bad"));
    failure(import(&store, &layout, "v1"));
    fs::remove_file(source.join("refs/bad")).unwrap();
    let layer = source.join("blobs").join(digest(b"old").to_string().replace(':', "-"));
    store.remove_ref(&"v1".parse().unwrap()).unwrap();
    crate::common::sweep(&store);
    fifo(&layer);
    failure(import(&store, &layout, "v1"));
    fs::remove_file(&layer).unwrap();
    fs::write(&layer, "old").unwrap();
    import(&store, &layout, "v1").unwrap();
    assert_eq!(crate::common::files(store.root()).len(), 3);
    drop(before);
}

#[test]
fn not_a_layout() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Layout::open(dir.path()), Err(Error::NotALayout { .. })));
    assert!(matches!(Layout::open(dir.path().join("absent")), Err(Error::Io { .. })));
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(Layout::open(dir.path().join("file")).is_err());
    // What some tools leave away, and what `umoci init` writes.
    fs::write(dir.path().join("index.json"), r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
    assert_eq!(Layout::open(dir.path()).unwrap().entries().unwrap(), []);
}

#[test]
fn how_much_an_index_json_may_list_is_what_the_limits_say() {
    let folder = tempfile::tempdir().unwrap();
    let digest = digest(b"many");
    let entry = |n: usize| {
        format!(
            r#"{{"mediaType":"m","digest":"{digest}","size":4,"annotations":{{"org.opencontainers.image.ref.name":"image-{n}"}}}}"#
        )
    };
    // Less than 32 MiB, and more values than that may have.
    let entries = (0..100_000).map(entry).collect::<Vec<_>>().join(",");
    std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(folder.path().join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#))
        .unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let refused = layout.entries().unwrap_err();
    assert!(refused.to_string().contains("too many values"), "{refused}");
    assert!(matches!(refused, Error::OverLimit { limit: Limit::IndexJson, .. }), "{refused:?}");
    let layout = Layout::open(folder.path()).unwrap().with_limits(Limits::OWN);
    assert_eq!(layout.entries().unwrap().len(), 100_000);
}
