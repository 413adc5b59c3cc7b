//! Stores of other people: one that a group shares, and one that may only be read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::other::Other;
use crate::common::tree::{assert_same, blobs_of, store_tree};
use crate::common::{World, over_each_index};

over_each_index!(two_users_of_one_group_share_a_store, who_may_only_read_a_store_reads_it_by_its_folder);

const NOBODY: u32 = 65_534;

fn two_users_of_one_group_share_a_store(world: &World) {
    let group = fs::metadata(world.root()).unwrap().gid();
    let Some(other) = Other::find(world, NOBODY, group) else { return };
    let index = world.index;
    fs::remove_dir_all(world.path("store")).unwrap();
    world.ok(&format!("--shared --index {index} import --sref v1 copy"));
    other.run("import --sref latest --dref theirs copy").ok();
    other.run("rm v1").ok();
    other.run("gc").ok();
    world.ok("import --all copy");
    world.ok("rm theirs");
    other.run("gc --full").ok();
    other.run("reindex").ok();
    world.ok("reindex");
    other.run("data set a b c").ok();
    assert_eq!(world.ok("data get a b"), "c");
    other.run("tag v1 v2").ok();
    other.run("check --read-data").ok();
    assert_eq!(world.refs().len(), 3);
    assert_eq!(world.blob_files(), blobs_of(&world.path("hello")));
    world.assert_no_leftovers();

    // One that is private is nobody's business.
    world.ok("--store-path private import --sref v1 copy");
    let ran = other.run("--store-path private list");
    assert!(ran.fails(1).contains("private"), "{}", ran.err());
}

fn who_may_only_read_a_store_reads_it_by_its_folder(world: &World) {
    let Some(other) = Other::find(world, NOBODY, NOBODY) else { return };
    world.ok("import --all copy");
    world.ok("data set a b c");
    open_up(&world.path("store"));
    let before = store_tree(&world.path("store"));
    let named = |out: String| out.split_whitespace().filter(|word| word.starts_with("sha256:")).count();
    assert_eq!(named(other.run("list").ok()), 2);
    assert_eq!(named(other.run("list v").ok()), 1);
    for words in ["inspect latest", "inspect --raw latest", "cat v1", "--format json inspect v1", "check", "check v1"] {
        assert_eq!(other.run(words).ok(), world.ok(words), "{words}");
    }
    other.run("check --read-data").ok();
    other.run("export latest theirs/out").ok();
    other.run("export v1 theirs/out").ok();
    assert_eq!(blobs_of(&world.path("theirs/out")), blobs_of(&world.path("hello")));
    assert!(other.run("inspect v9").fails(4).contains("v9"));

    // What needs the index, or writes, says why it can't.
    for words in [
        "blobs",
        "data list",
        "gc",
        "tag v1 v2",
        "rm v1",
        "pin v1",
        "import --sref v1 --dref v2 copy",
        "reindex",
        "index show",
    ] {
        let error = other.run(words).fails(1);
        assert!(error.contains("store") && error.contains("write"), "{words}: {error}");
    }
    assert_same(&before, &store_tree(&world.path("store")), "read only");

    // It reads what is damaged no better than its owner.
    let layer = world.json("inspect v1")["layers"][0]["digest"].as_str().unwrap().to_owned();
    let path = crate::common::layout::blob_path(&world.path("store"), &layer);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "damaged").unwrap();
    let ran = other.run("check --read-data v1");
    assert!(ran.err().contains(&layer) && ran.code() == Some(3), "{}", ran.err());
    let ran = other.run(&format!("cat {layer}"));
    assert_eq!(ran.code(), Some(1), "{}", ran.err());
}

/// Lets all others read a folder.
fn open_up(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            open_up(&path);
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}
