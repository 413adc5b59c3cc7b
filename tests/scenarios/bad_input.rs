//! Bad input: one line of error that names what is wrong, and a store that is as it was.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::layout::{Builder, INDEX, LAYER, MANIFEST, blob_path, digest, digest_of, entries, layers_of, pack};
use crate::common::tree::{Tree, assert_same, store_tree, tree};
use crate::common::{World, over_each_index};

over_each_index!(
    a_source_that_is_not_what_it_says_is_refused_and_named,
    one_bad_image_of_several_does_not_keep_the_others_out,
    what_is_no_store_is_left_alone,
    a_store_of_a_newer_format_is_left_alone,
    a_store_of_another_kind_is_left_alone,
    nothing_of_a_source_leads_out_of_it,
);

/// A way to spoil a layout: what is done to it, how the command then ends, and what it names.
struct Bad {
    what: &'static str,
    spoil: fn(&mut Builder) -> String,
    words: &'static str,
    code: i32,
}

const fn bad(what: &'static str, words: &'static str, code: i32, spoil: fn(&mut Builder) -> String) -> Bad {
    Bad { what, spoil, words, code }
}

const IMPORT: &str = "import --sref latest bad";

const TABLE: &[Bad] = &[
    bad("a layer's byte altered", IMPORT, 1, |b| edit(b, &layer(b), |bytes| bytes[20] ^= 0x40)),
    bad("a layer cut off", IMPORT, 1, |b| edit(b, &layer(b), |bytes| bytes.truncate(bytes.len() - 1))),
    bad("a layer with bytes behind it", IMPORT, 1, |b| edit(b, &layer(b), |bytes| bytes.push(0))),
    bad("an empty layer", IMPORT, 1, |b| edit(b, &layer(b), Vec::clear)),
    bad("a missing layer", IMPORT, 1, |b| remove(b, &layer(b))),
    bad("a layer that is a folder", IMPORT, 1, |b| {
        remove(b, &layer(b));
        fs::create_dir(blob_path(&b.folder, &layer(b))).unwrap();
        layer(b)
    }),
    bad("a layer that is a link", IMPORT, 1, |b| {
        let path = blob_path(&b.folder, &layer(b));
        fs::rename(&path, b.folder.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../../elsewhere", path).unwrap();
        layer(b)
    }),
    bad("a config's byte altered", IMPORT, 1, |b| edit(b, &config(b), |bytes| bytes[3] ^= 1)),
    bad("a missing config", IMPORT, 1, |b| remove(b, &config(b))),
    bad("a manifest's byte altered", IMPORT, 1, |b| edit(b, &root(b), |bytes| bytes[3] ^= 1)),
    bad("a missing manifest", IMPORT, 1, |b| remove(b, &root(b))),
    bad("a wrong size of the manifest", IMPORT, 1, |b| {
        let entry = latest(b);
        entry_with(b, json!({ "mediaType": MANIFEST, "digest": entry["digest"], "size": 1 }));
        root(b)
    }),
    bad("a wrong size of a layer", IMPORT, 1, |b| {
        let mut layer = b.blob(LAYER, b"a layer of its own");
        layer["size"] = json!(17);
        manifest_with(b, layer)
    }),
    bad("one blob with two sizes", IMPORT, 1, |b| {
        let layer = b.blob(LAYER, b"a layer of its own");
        let mut other = layer.clone();
        other["size"] = json!(5);
        let config = b.blob("application/vnd.oci.empty.v1+json", b"{}");
        let image = b.manifest(&config, &[layer.clone(), other]);
        entry_with(b, image);
        digest_of(&layer)
    }),
    bad("missing layers whose digests begin alike", IMPORT, 1, |b| {
        let missing =
            |n: u8| json!({ "mediaType": LAYER, "digest": format!("sha256:{}{n}", "a".repeat(63)), "size": i64::MAX });
        let config = b.blob("application/vnd.oci.empty.v1+json", b"{}");
        let image = b.manifest(&config, &[missing(1), missing(2), missing(3)]);
        entry_with(b, image);
        digest_of(&missing(1))
    }),
    bad("a layer as the manifest", IMPORT, 1, |b| {
        let layer = b.blob(MANIFEST, b"\x1f\x8b no manifest");
        entry_with(b, layer.clone());
        digest_of(&layer)
    }),
    bad("a manifest as an index", IMPORT, 1, |b| {
        let mut entry = latest(b);
        entry["mediaType"] = Value::from(INDEX);
        entry_with(b, entry);
        root(b)
    }),
    bad("a manifest of wrong types", IMPORT, 1, |b| {
        document(b, &json!({ "schemaVersion": 2, "config": [], "layers": "none" }))
    }),
    bad("a manifest of no version", IMPORT, 1, |b| document(b, &json!({ "config": {}, "layers": [] }))),
    bad("a manifest with a bad digest", IMPORT, 1, |b| {
        let config = json!({ "mediaType": LAYER, "digest": "sha256:../../../etc/passwd", "size": 1 });
        document(b, &json!({ "schemaVersion": 2, "config": config, "layers": [] }))
    }),
    bad("a manifest with an unknown algorithm", IMPORT, 1, |b| {
        let digest = "md5:d41d8cd98f00b204e9800998ecf8427e";
        fs::create_dir(b.folder.join("blobs/md5")).unwrap();
        fs::write(blob_path(&b.folder, digest), b"").unwrap();
        let config = json!({ "mediaType": LAYER, "digest": digest, "size": 0 });
        document(b, &json!({ "schemaVersion": 2, "config": config, "layers": [] }));
        digest.to_owned()
    }),
    bad("a manifest of more than 4 MiB", IMPORT, 1, |b| {
        document(b, &json!({ "schemaVersion": 2, "config": {}, "layers": [], "filling": " ".repeat(5 << 20) }))
    }),
    bad("indexes too deep in each other", IMPORT, 1, |b| {
        let mut at = b.image(&[b"deep down"]);
        for _ in 0..40 {
            at = b.index(&[at]);
        }
        entry_with(b, at);
        "deep".to_owned()
    }),
    bad("an index.json of no JSON", IMPORT, 1, |b| index_json(b, "refs: none")),
    bad("an index.json cut off", IMPORT, 1, |b| {
        let text = fs::read_to_string(b.folder.join("index.json")).unwrap();
        index_json(b, &text[..text.len() - 10])
    }),
    bad("an index.json of another version", IMPORT, 1, |b| index_json(b, r#"{"schemaVersion":1,"manifests":[]}"#)),
    bad("an index.json with a bad digest", IMPORT, 1, |b| {
        index_json(b, r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:0","size":1}]}"#)
    }),
    bad("an index.json with a size below zero", IMPORT, 1, |b| {
        let text = fs::read_to_string(b.folder.join("index.json")).unwrap();
        index_json(b, &text.replace("\"size\":6", "\"size\":-6"))
    }),
    bad("an index.json that is a folder", IMPORT, 1, |b| {
        fs::remove_file(b.folder.join("index.json")).unwrap();
        fs::create_dir(b.folder.join("index.json")).unwrap();
        "index.json".to_owned()
    }),
    bad("a layout of another version", IMPORT, 1, |b| {
        fs::write(b.folder.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        "oci-layout".to_owned()
    }),
    bad("a name that is not there", "import --sref v9 bad", 4, |_| "v9".to_owned()),
    bad("a digest that is not there", "import --sref sha256:ff --dref x bad", 4, |_| "sha256:ff".to_owned()),
    bad("a bad name in the layout", "import --sref a//b bad", 1, |b| {
        let entry = latest(b);
        b.add(entry, Some("a//b"));
        "a//b".to_owned()
    }),
    bad("a bad name in the command", "import --sref latest --dref a//b bad", 2, |_| "a//b".to_owned()),
    bad("no layout", "import --sref latest bad", 1, |b| {
        fs::remove_file(b.folder.join("index.json")).unwrap();
        "bad".to_owned()
    }),
    bad("no folder", "import --sref latest nowhere", 1, |_| "nowhere".to_owned()),
    bad("a file", "import --sref latest bad/oci-layout", 1, |_| "bad/oci-layout".to_owned()),
];

fn latest(b: &Builder) -> Value {
    entries(&b.folder).into_iter().rfind(|entry| entry["annotations"].to_string().contains("\"latest\"")).unwrap()
}

fn root(b: &Builder) -> String {
    digest_of(&latest(b))
}

/// The layer that only `latest` has.
fn layer(b: &Builder) -> String {
    layers_of(&b.folder, &root(b)).pop().unwrap()
}

fn config(b: &Builder) -> String {
    let manifest: Value = serde_json::from_slice(&fs::read(blob_path(&b.folder, &root(b))).unwrap()).unwrap();
    digest_of(&manifest["config"])
}

fn edit(b: &Builder, digest: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let path = blob_path(&b.folder, digest);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    digest.to_owned()
}

fn remove(b: &Builder, digest: &str) -> String {
    fs::remove_file(blob_path(&b.folder, digest)).unwrap();
    digest.to_owned()
}

/// Makes `latest` mean something else: of several entries with one name, the last counts.
fn entry_with(b: &mut Builder, mut entry: Value) {
    entry["annotations"] = Value::Null;
    b.add(entry, Some("latest"));
}

fn manifest_with(b: &mut Builder, layer: Value) -> String {
    let config = b.blob("application/vnd.oci.empty.v1+json", b"{}");
    let image = b.manifest(&config, std::slice::from_ref(&layer));
    entry_with(b, image);
    digest_of(&layer)
}

fn document(b: &mut Builder, manifest: &Value) -> String {
    let manifest = b.document(MANIFEST, manifest);
    entry_with(b, manifest.clone());
    digest_of(&manifest)
}

fn index_json(b: &Builder, text: &str) -> String {
    fs::write(b.folder.join("index.json"), text).unwrap();
    "index.json".to_owned()
}

/// All that a store shows: its folder, and what the index says.
fn look(world: &World) -> (Tree, Value, Value, String) {
    let mut blobs = world.json("blobs");
    for blob in blobs.as_array_mut().unwrap() {
        blob.as_object_mut().unwrap().remove("used");
    }
    (store_tree(&world.path("store")), world.json("list"), blobs, world.ok("gc --full --dry-run"))
}

fn a_source_that_is_not_what_it_says_is_refused_and_named(world: &World) {
    world.ok("import --sref v1 hello");
    world.ok("tag v1 latest");
    for Bad { what, spoil, words, code } in TABLE {
        let folder = world.path("bad");
        let _ = fs::remove_dir_all(&folder);
        let named = spoil(&mut Builder::copy_of(&world.path("hello"), folder));
        let before = look(world);
        let ran = world.run(words);
        assert_eq!(ran.code(), Some(*code), "{what}: {}{}", ran.out(), ran.err());
        let error = ran.fails(*code);
        // A file's path has the digest's digits.
        assert!(error.contains(named.trim_start_matches("sha256:")), "{what}: no {named} in {error}");
        let after = look(world);
        assert_same(&before.0, &after.0, what);
        assert_eq!((&before.1, &before.2, &before.3), (&after.1, &after.2, &after.3), "{what}");
        if words.ends_with(" bad") && *code != 2 {
            // The same as an archive.
            let archive = world.path("bad.tar");
            pack(&world.path("bad"), &archive);
            let error = world.fails(*code, &format!("{words}.tar"));
            let named = named.trim_start_matches("sha256:");
            assert!(error.contains(named) && error.contains("bad.tar"), "{what}: no {named} in {error}");
            assert_same(&before.0, &store_tree(&world.path("store")), what);
        }
    }
    world.ok("check --read-data");
}

fn one_bad_image_of_several_does_not_keep_the_others_out(world: &World) {
    let copy = Builder::copy_of(&world.path("hello"), world.path("bad"));
    let named = edit(&copy, &layer(&copy), |bytes| bytes[20] ^= 0x40);
    // What came in is told, as ever.
    let ran = world.run("import --all bad");
    let (printed, error) = (ran.out(), ran.err());
    assert_eq!((ran.code(), printed.lines().count(), error.lines().count()), (Some(1), 1, 1), "{printed}{error}");
    assert!(printed.starts_with(&format!("v1 {}", world.digest("v1"))), "{printed}");
    assert!(error.starts_with("error: latest: ") && error.contains(&named), "{error}");
    let names: Vec<String> = world.refs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["v1"]);
    assert!(!world.blob_files().contains(&root(&copy)));
    world.ok("check --read-data");
    world.assert_no_leftovers();
}

fn what_is_no_store_is_left_alone(world: &World) {
    fs::create_dir(world.path("home")).unwrap();
    fs::write(world.path("home/letter"), "dear").unwrap();
    fs::write(world.path("file"), "dear").unwrap();
    crate::common::layout::copy(&world.path("hello"), &world.path("layout"));
    for folder in ["home", "file", "layout", "file/below"] {
        let before = tree(world.root());
        for words in ["list", "import --sref v1 hello", "gc", "reindex", "index show", "rm x", "check", "cat v1"] {
            if (folder, words) == ("layout", "reindex") {
                // That is what makes a store of a layout.
                continue;
            }
            let ran = world.run(&format!("--store-path {folder} {words}"));
            let error = ran.fails(ran.code().unwrap());
            assert!(error.contains(folder), "{folder}: {words}: {error}");
            assert_eq!(ran.code(), Some(1), "{folder}: {words}: {error}");
        }
        assert_same(&before, &tree(world.root()), folder);
    }
}

/// The commands that must not touch a store that they do not understand.
fn refuse(world: &World, named: &str) {
    let whole = || tree(&world.path("store"));
    let before = whole();
    for words in
        ["list", "import --sref latest hello", "gc", "reindex", "rm v1", "tag v1 v2", "index convert --to lmdb"]
    {
        let error = world.fails(1, words);
        assert!(error.contains("store") && error.contains(named), "{words}: {error}");
    }
    assert_same(&before, &whole(), named);
}

fn edit_config(world: &World, key: &str, value: Value) {
    let path = world.path("store/.oci-store/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

fn a_store_of_a_newer_format_is_left_alone(world: &World) {
    world.ok("import --sref v1 hello");
    edit_config(world, "format", json!(99));
    edit_config(world, "shared", json!({ "somehow": "else" }));
    refuse(world, "99");
}

fn a_store_of_another_kind_is_left_alone(world: &World) {
    world.ok("import --sref v1 hello");
    edit_config(world, "kind", json!("appc"));
    refuse(world, "appc");
    edit_config(world, "kind", json!("oci"));
    fs::write(world.path("store/.oci-store/config.json"), "no json").unwrap();
    refuse(world, "config");
}

fn nothing_of_a_source_leads_out_of_it(world: &World) {
    let secret = b"secret";
    fs::write(world.path("secret"), secret).unwrap();
    let mut layout = Builder::new(world.path("sly"));
    let hex = digest(secret).split_off(7);
    std::os::unix::fs::symlink("../../../secret", layout.folder.join("blobs/sha256").join(&hex)).unwrap();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = json!({ "mediaType": LAYER, "digest": digest(secret), "size": secret.len() });
    let image = layout.manifest(&config, &[layer]);
    layout.add(image, Some("sly"));
    assert!(world.fails(1, "import sly").contains(&hex));
    // Not by the index.json either.
    let path: &Path = &layout.folder.join("index.json");
    fs::rename(path, world.path("outside.json")).unwrap();
    std::os::unix::fs::symlink("../outside.json", path).unwrap();
    assert!(world.fails(1, "import sly").contains("index.json"));
}
