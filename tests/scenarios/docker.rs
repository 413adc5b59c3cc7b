//! `import` of what `docker save` makes: in place, and as a stream.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::layout::{Builder, LAYER, Tar, digest, digest_of, gzip, zstd};
use crate::common::tree::{assert_same, store_tree};
use crate::common::{World, over_each_index};

over_each_index!(
    images_in_the_old_form_are_imported,
    layers_keep_their_bytes,
    in_the_new_form_the_layout_is_taken,
    what_does_not_fit_together_is_refused,
    a_place_says_which_form_it_is,
);

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|bytes| digest(bytes)).collect();
    let labels = json!({ "Labels": { "Size": "1", "config": "2", "Layers": "3" } });
    let rootfs = json!({ "type": "layers", "diff_ids": ids });
    json!({ "architecture": "amd64", "os": "linux", "config": labels, "rootfs": rootfs }).to_string().into_bytes()
}

/// Two images that share their first layer, as versions before 25 save them.
fn old() -> Tar {
    let (base, a, b) = (&b"base layer"[..], &b"layer of a"[..], &b"layer of b"[..]);
    let manifest = json!([
        { "Config": "a.json", "RepoTags": ["docker.io/library/app:a", "me/app:a"], "Layers": ["1/layer.tar", "2/layer.tar"] },
        { "Config": "b.json", "RepoTags": ["app:b"], "Layers": ["3/layer.tar", "4/layer.tar", "4/layer.tar"] },
        { "Config": "b.json", "RepoTags": null, "Layers": ["./3/layer.tar", "4/layer.tar", "b.tar"] },
    ]);
    Tar::default()
        .file("a.json", &config(&[base, a]))
        .link("3/layer.tar", "../1/layer.tar")
        .file("1/VERSION", b"1.0")
        .file("1/json", b"{}")
        .file("1/layer.tar", base)
        .file("2/layer.tar", a)
        .file("b.json", &config(&[base, b, b]))
        .link("4/layer.tar", "../b.tar")
        .file("b.tar", b)
        .file("manifest.json", manifest.to_string().as_bytes())
        .file("repositories", b"{}")
}

fn manifest_of(world: &World, name: &str) -> Value {
    serde_json::from_str(&world.ok(&format!("inspect --raw {name}"))).unwrap()
}

fn images_in_the_old_form_are_imported(world: &World) {
    fs::write(world.path("old.tar"), old().bytes()).unwrap();
    fs::write(world.path("old.tar.gz"), gzip(&old().bytes())).unwrap();
    let error = world.fails(1, "import old.tar");
    assert!(error.contains("app:a, me/app:a, app:b") && error.contains("--sref"), "{error}");
    let mut printed = Vec::new();
    for (n, source) in
        ["old.tar", "old.tar.gz", "docker-archive:old.tar", "docker-archive:old.tar.gz"].iter().enumerate()
    {
        let store = format!("--store-path store-{n} --index {}", world.index);
        printed.push(world.ok(&format!("{store} import --all {source}")));
        world.ok(&format!("{store} check --read-data"));
        // Two configs, two manifests, three layers; nothing of what else there is.
        assert_eq!(crate::common::tree::blobs_of(&world.path(&format!("store-{n}"))).len(), 7, "{source}");
        assert_eq!(world.names(&format!("store-{n}/.oci-store/ingest")), [""; 0]);
    }
    assert!(printed.iter().all(|text| *text == printed[0]), "{printed:?}");
    world.ok("import --dref mine --sref app:b old.tar");
    assert_eq!(world.blob_files().len(), 4);
    assert!(printed[0].contains(&format!("app:b {}\n", world.digest("mine"))));
    let manifest = manifest_of(world, "mine");
    assert_eq!(manifest["config"]["digest"], digest(&config(&[b"base layer", b"layer of b", b"layer of b"])));
    assert_eq!(manifest["layers"][0], json!({ "mediaType": LAYER, "digest": digest(b"base layer"), "size": 10 }));
    world.ok("import docker-archive:old.tar.gz:me/app:a");
    assert_eq!(world.digest("me/app:a"), printed[0].split([' ', '\n']).nth(1).unwrap());
    world.assert_no_leftovers();
}

fn layers_keep_their_bytes(world: &World) {
    let layers: [&[u8]; 3] = [b"plain", b"with gzip", b"with zstd"];
    let (gz, zst) = (gzip(layers[1]), zstd(layers[2]));
    let names = ["plain.tar", "one.tar.gz", "two"];
    let manifest = json!([{ "Config": "sha256:c", "RepoTags": ["app:1"], "Layers": names }]).to_string();
    let tar = |zst: &[u8]| {
        let tar = Tar::default().file("manifest.json", manifest.as_bytes()).file("sha256:c", &config(&layers));
        tar.file("plain.tar", layers[0]).file("one.tar.gz", &gz).file("two", zst)
    };
    fs::write(world.path("image.tar"), tar(&zst).bytes()).unwrap();
    world.ok("import image.tar");
    let manifest = manifest_of(world, "app:1");
    let expected = [("", layers[0]), ("+gzip", &gz), ("+zstd", &zst)];
    for (layer, (suffix, bytes)) in manifest["layers"].as_array().unwrap().iter().zip(expected) {
        assert_eq!(
            *layer,
            json!({ "mediaType": format!("{LAYER}{suffix}"), "digest": digest(bytes), "size": bytes.len() })
        );
    }
    world.ok("check --read-data");
    let before = store_tree(&world.path("store"));
    // What is in it has to be what the config says, and whole.
    fs::write(world.path("other.tar"), tar(&zstd(b"something else")).bytes()).unwrap();
    let error = world.fails(1, "import other.tar");
    assert!(error.contains("two") && error.contains(&digest(layers[2])), "{error}");
    fs::write(world.path("cut.tar"), tar(&zst[..zst.len() - 3]).bytes()).unwrap();
    assert!(world.fails(1, "import cut.tar").contains("two"));
    assert_same(&before, &store_tree(&world.path("store")), "refused");
}

/// A layout as version 25 and later save it, and its image.
fn new(folder: &Path) -> (Tar, Value) {
    let mut layout = Builder::new(folder.to_owned());
    let (one, two) = (layout.image(&[b"one"]), layout.image(&[b"two"]));
    let mut named = one.clone();
    named["annotations"] = json!({
        "io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1",
    });
    layout.add(named, None).add(two.clone(), Some("2"));
    let config_of = |descriptor: &Value| {
        let path = crate::common::layout::blob_path(folder, &digest_of(descriptor));
        let manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        format!("blobs/{}", digest_of(&manifest["config"]).replacen(':', "/", 1))
    };
    let layer = |bytes: &[u8]| format!("blobs/{}", digest(bytes).replacen(':', "/", 1));
    let manifest = json!([
        { "Config": config_of(&one), "RepoTags": ["app:1"], "Layers": [layer(b"one")] },
        { "Config": config_of(&two), "RepoTags": ["app:2", "app:latest"], "Layers": [layer(b"two")] },
    ]);
    (Tar::of(folder, true).file("manifest.json", manifest.to_string().as_bytes()), two)
}

fn in_the_new_form_the_layout_is_taken(world: &World) {
    let (tar, two) = new(&world.path("layout"));
    fs::write(world.path("new.tar"), tar.bytes()).unwrap();
    fs::write(world.path("new.tar.zst"), zstd(&tar.bytes())).unwrap();
    for source in ["new.tar", "new.tar.zst"] {
        let store = format!("--store-path of-{source} --index {}", world.index);
        let printed = world.ok(&format!("{store} import --all {source}"));
        let names: Vec<&str> = printed.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["app:1", "app:2", "app:latest"]);
        assert!(printed.contains(&format!("app:2 {}\n", digest_of(&two))));
        world.ok(&format!("{store} check --read-data"));
        // The layout alone has the names that it has.
        let printed = world.ok(&format!("--store-path alone-{source} import --all oci-archive:{source}"));
        let names: Vec<&str> = printed.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["1", "2"]);
    }
    // Without index.json, the names of files in manifest.json do.
    let bytes = tar.bytes();
    let at = bytes.windows(10).position(|bytes| bytes == b"index.json").unwrap();
    let mut without = bytes.clone();
    let mut header = tar::Header::from_byte_slice(&bytes[at..at + 512]).clone();
    header.set_path("other.json").unwrap();
    header.set_cksum();
    without[at..at + 512].copy_from_slice(header.as_bytes());
    fs::write(world.path("without.tar"), &without).unwrap();
    fs::write(world.path("without.tar.gz"), gzip(&without)).unwrap();
    assert_eq!(world.ok("import --all without.tar"), world.ok("import --all without.tar.gz"));
    assert_eq!(world.refs().len(), 3);
    world.ok("check --read-data");
}

fn what_does_not_fit_together_is_refused(world: &World) {
    let before = store_tree(&world.path("store"));
    let layer = &b"a layer"[..];
    let image = |manifest: Value, config: &[u8]| {
        let tar = Tar::default().file("c.json", config).file("l.tar", layer);
        tar.file("manifest.json", manifest.to_string().as_bytes())
    };
    let item = |layers: &[&str]| json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": layers }]);
    let good = config(&[layer]);
    let twice = br#"{"rootfs":{"diff_ids":[]},"rootfs":{}}"#;
    let cases: Vec<(Tar, &str)> = vec![
        (image(item(&["l.tar"]), &config(&[b"another"])), "sha256:"),
        (image(item(&["l.tar", "l.tar"]), &good), "2 layers"),
        (image(item(&["absent.tar"]), &good), "absent.tar is not in the archive"),
        (image(item(&["../l.tar"]), &good), "is not in the archive"),
        (image(item(&["1/layer.tar"]), &good).link("1/layer.tar", "../2/layer.tar"), "is not in the archive"),
        (image(item(&["l.tar"]), &good).link("1/layer.tar", "../../etc/layer.tar"), "neither a file nor a folder"),
        (image(item(&["l.tar"]), &good).link("l", "l.tar"), "neither a file nor a folder"),
        (image(item(&["l.tar"]), &good).file("l.tar", layer), "twice"),
        (image(item(&["l.tar"]), &good).file("manifest.json", b"[]"), "twice"),
        (image(item(&["l.tar"]), b"no config"), "c.json is not a config"),
        (image(item(&["l.tar"]), twice), "is not a config"),
        (image(json!([{ "Config": "none.json", "Layers": [] }]), &good), "none.json is not in the archive"),
        (image(json!({ "Config": "c.json" }), &good), "not a list of images"),
        (image(json!([{ "Config": "c.json", "config": "d.json", "Layers": ["l.tar"] }]), &good), "\"config\""),
    ];
    for (tar, why) in cases {
        fs::write(world.path("x.tar"), tar.bytes()).unwrap();
        fs::write(world.path("x.tar.gz"), gzip(&tar.bytes())).unwrap();
        for source in ["x.tar", "x.tar.gz"] {
            let error = world.fails(1, &format!("import --dref v1 {source}"));
            assert!(error.contains(why) && error.contains(source), "{why}: {error}");
            assert_same(&before, &store_tree(&world.path("store")), "refused");
        }
    }
    world.assert_no_leftovers();
}

fn a_place_says_which_form_it_is(world: &World) {
    fs::write(world.path("old.tar"), old().bytes()).unwrap();
    crate::common::layout::pack(&world.path("hello"), &world.path("hello.tar"));
    for (file, name) in [("old.tar", "app:b"), ("hello.tar", "v1")] {
        fs::write(world.path(&format!("{file}.gz")), gzip(&world.read(file))).unwrap();
        for file in [file.to_owned(), format!("{file}.gz")] {
            let (good, bad) = match name {
                "v1" => ("oci-archive", "docker-archive"),
                _ => ("docker-archive", "oci-archive"),
            };
            world.ok(&format!("import {good}:{file}:{name}"));
            let error = world.fails(1, &format!("import {bad}:{file}:{name}"));
            assert!(error.contains(&file), "{error}");
        }
    }
}
