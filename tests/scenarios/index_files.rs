//! An index whose files are not what they should be, and folders of the store that are gone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::World;
use crate::common::over_each_index;
use crate::common::tree::{assert_same, tree};
use oci_store::base::FORMAT;

over_each_index!(
    an_index_that_is_not_its_own_is_named_and_reindex_brings_the_refs_back,
    folders_that_are_gone_are_made_again,
    a_format_of_before_is_migrated_and_one_that_is_none_is_refused,
);

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn cut(file: &Path, len: u64) {
    fs::File::options().write(true).open(file).unwrap().set_len(len).unwrap();
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

/// What is done to an index, given its folder, its file, the folder of a store over another index, and that of another
/// store over the same.
type Damage = fn(&Path, &Path, &Path, &Path);

const DAMAGES: &[(&str, Damage)] = &[
    ("empty", |_, file, _, _| cut(file, 0)),
    ("a page", |_, file, _, _| cut(file, 4096)),
    ("half", |_, file, _, _| cut(file, fs::metadata(file).unwrap().len() / 2 / 4096 * 4096)),
    ("less than half", |_, file, _, _| cut(file, fs::metadata(file).unwrap().len() / 3)),
    ("all but the last page", |_, file, _, _| cut(file, fs::metadata(file).unwrap().len() - 4096)),
    ("garbage", |_, file, _, _| fs::write(file, b"garbage".repeat(20_000)).unwrap()),
    ("an empty folder", |folder, _, _, _| empty(folder)),
    ("no folder", |folder, _, _, _| fs::remove_dir_all(folder).unwrap()),
    ("a file in place of the folder", |folder, _, _, _| {
        fs::remove_dir_all(folder).unwrap();
        fs::write(folder, "x").unwrap();
    }),
    ("another kind's files", |folder, _, kind, _| copy(kind, folder)),
    ("another kind's file under its name", |_, file, kind, _| {
        let main = ["data.mdb", "index.sqlite"].map(|name| kind.join(name));
        fs::copy(main.iter().find(|file| file.exists()).unwrap(), file).unwrap();
    }),
    ("another store's", |folder, _, _, stranger| copy(stranger, folder)),
    ("a folder in place of the file", |_, file, _, _| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
    ("a FIFO", |_, file, _, _| {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    }),
    ("a link to nowhere", |_, file, _, _| {
        fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink("nowhere", file).unwrap();
    }),
];

fn an_index_that_is_not_its_own_is_named_and_reindex_brings_the_refs_back(world: &World) {
    if cfg!(not(all(feature = "lmdb", feature = "sqlite"))) {
        return;
    }
    world.ok("import --all hello");
    for n in 0..20 {
        world.ok(&format!("data set cache {n} {}", "x".repeat(1 + n * 40)));
    }
    let (kind, name) = if world.index == "lmdb" { ("sqlite", "data.mdb") } else { ("lmdb", "index.sqlite") };
    world.ok(&format!("--store-path kind --index {kind} import --sref v1 --dref of-another-kind hello"));
    world.ok(&format!("--store-path stranger --index {} import --sref v1 --dref of-a-stranger hello", world.index));
    let index = |store: &str| world.path(store).join(".oci-store/index/1");
    copy(&world.path("store"), &world.path("sound"));
    let (refs, data) = (world.refs(), world.ok("data list"));
    for (what, damage) in DAMAGES {
        copy(&world.path("sound"), &world.path("store"));
        damage(&index("store"), &index("store").join(name), &index("kind"), &index("stranger"));
        let blobs = tree(&world.path("store/blobs"));
        for words in ["list", "import --sref v1 --dref new hello", "gc --full"] {
            let ran = world.run(words);
            if ran.code() == Some(0) {
                // It was not that which counts.
                assert!(["all but the last page"].contains(what), "{what}: {words} took it");
                assert_eq!(world.ok("data list"), data, "{what}");
                break;
            }
            let error = ran.fails(1);
            assert!(
                error.contains("store/.oci-store/index/1") && error.contains("reindex"),
                "{what}: {words}: {error}"
            );
        }
        assert_same(&blobs, &tree(&world.path("store/blobs")), what);
        world.run("reindex").ok_with_warnings();
        let mut now = world.refs();
        now.retain(|(name, _)| name != "new");
        assert_eq!(now, refs, "{what}");
        world.ok("check --read-data");
        world.ok("gc --full");
        assert_eq!(world.refs_in_index_json().len(), world.refs().len());
    }
}

fn folders_that_are_gone_are_made_again(world: &World) {
    world.ok("import --all hello");
    for folder in ["locks", "leases", "ingest"] {
        for words in ["list", "import --sref v1 --dref v2 hello", "tag v1 v3", "export v1 out", "gc --full", "reindex"]
        {
            fs::remove_dir_all(world.path("store/.oci-store").join(folder)).unwrap();
            world.ok(words);
            assert!(world.path("store/.oci-store").join(folder).is_dir());
        }
        // What can't be made is named.
        let path = world.path("store/.oci-store").join(folder);
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "x").unwrap();
        fs::remove_file(world.path("store/.oci-store/projection.json")).unwrap();
        fs::write(world.path("fresh"), "a blob that is not there yet").unwrap();
        let ran = world.run("import --sref v1 --dref v4 hello");
        if folder != "ingest" {
            assert!(ran.fails(1).contains(folder), "{folder}: {}", ran.err());
        }
        fs::remove_file(path).unwrap();
        world.ok("check --read-data");
    }
    // `index/` is not made again, but told: what it held can't be made up.
    fs::remove_dir_all(world.path("store/.oci-store/index")).unwrap();
    assert!(world.fails(1, "list").contains("reindex"));
    // Nor are the blobs.
    world.run("reindex").ok_with_warnings();
    fs::remove_dir_all(world.path("store/blobs")).unwrap();
    let ran = world.run("check");
    assert_eq!(ran.code(), Some(3), "{}", ran.err());
    assert_eq!(world.run("cat v1").code(), Some(1));
    world.ok("import --all hello");
    world.ok("check --read-data");
}

fn a_format_of_before_is_migrated_and_one_that_is_none_is_refused(world: &World) {
    world.ok("import --all hello");
    let before = world.refs();
    let path = world.path("store/.oci-store/config.json");
    let set = |format: Value| {
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["format"] = format;
        fs::write(&path, config.to_string()).unwrap();
    };
    for none in [json!(-1), json!("1"), json!(1.5), json!(FORMAT + 1), json!(u64::MAX), json!(null)] {
        set(none.clone());
        for words in ["list", "gc --full", "reindex", "tag v1 v2"] {
            let error = world.fails(1, words);
            assert!(error.contains("store"), "{none}: {words}: {error}");
        }
    }
    set(json!(0));
    assert_eq!(world.refs(), before);
    assert!(fs::read_to_string(&path).unwrap().contains(&format!("\"format\": {FORMAT}")));
    world.ok("gc --full");
    world.ok("check --read-data");
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&world.path("hello")));
}
