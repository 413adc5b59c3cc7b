//! `adopt`: a layout becomes a store where it lies.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::common::layout::{Builder, blob_path, copy, digest_of, entries, layers_of};
use crate::common::tree::{assert_same, blobs_of, tree};
use crate::common::{World, over_each_index, wait_until};

over_each_index!(
    a_layout_becomes_a_store_and_no_blob_moves,
    what_has_no_name_is_pinned,
    of_several_with_one_name_the_last_has_it_and_none_is_lost,
    a_store_is_one_already,
    what_is_not_whole_is_refused_and_left,
    damage_is_found_by_hashing_alone,
    what_is_no_layout_is_refused,
    names_that_no_ref_can_have_are_not_lost,
    refs_of_one_age_are_not_pruned_by_their_names,
    a_kill_leaves_a_layout_that_can_be_adopted,
    a_store_that_lost_its_config_is_told_from_a_layout,
);

/// As an import takes it.
fn of_several_with_one_name_the_last_has_it_and_none_is_lost(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let images = ["one", "two", "three"].map(|text| layout.image(&[text.as_bytes()]));
    for image in &images {
        layout.add(image.clone(), Some("app"));
    }
    let [first, second, last] = images.map(|image| digest_of(&image));
    let adopted = adopt(world, "layout");
    assert!(adopted.contains("1 ref"), "{adopted}");
    for _ in 0..2 {
        let pins = there(world, "pin -q");
        assert!(pins.contains(&first) && pins.contains(&second) && !pins.contains(&last), "{pins}");
        assert!(there(world, "inspect app").contains(&last));
        assert!(there(world, "gc --full").starts_with("removed 0 blobs"));
    }
    there(world, "check --read-data");
}

fn names_that_no_ref_can_have_are_not_lost(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let image = layout.image(&[b"x"]);
    layout.add(image, Some("my app v1"));
    let before = tree(&world.path("layout"));
    let ran = world.run(&format!("--index {} adopt layout", world.index));
    assert_eq!(ran.code(), Some(3));
    assert!(ran.err().contains("my app v1"), "{}", ran.err());
    assert_same(&before, &tree(&world.path("layout")), "layout");
}

fn refs_of_one_age_are_not_pruned_by_their_names(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    for number in 0..3 {
        let image = layout.image(&[format!("{number}").as_bytes()]);
        layout.add(image, Some(&format!("app:{number}")));
    }
    adopt(world, "layout");
    assert!(there(world, "prune --keep-last 1").starts_with("removed 0 refs"));
    there(world, "tag app:1 app:new");
    there(world, "prune --keep-last 1");
    assert_eq!(there(world, "list -q"), "app:new\n");
}

/// Runs a command on the store in `layout`.
fn there(world: &World, words: &str) -> String {
    world.ok(&format!("--store-path layout {words}"))
}

fn adopt(world: &World, words: &str) -> String {
    world.ok(&format!("--index {} adopt {words}", world.index))
}

/// The inodes of the blobs' files.
fn inodes(world: &World) -> BTreeMap<String, u64> {
    let layout = world.path("layout");
    blobs_of(&layout)
        .into_iter()
        .map(|blob| (blob.clone(), fs::metadata(blob_path(&layout, &blob)).unwrap().ino()))
        .collect()
}

fn a_layout_becomes_a_store_and_no_blob_moves(world: &World) {
    copy(&world.path("hello"), &world.path("layout"));
    let before = inodes(world);
    let out = adopt(world, "layout");
    assert!(out.contains("2 refs"), "{out}");
    assert_eq!(inodes(world), before);
    assert_eq!(there(world, "list -q").lines().count(), 2);
    assert_eq!(there(world, "index show").trim(), world.index);
    there(world, "check --read-data");
    there(world, "rm v1");
    there(world, "gc");
    there(world, "check --read-data");
    // Its index.json is the store's now, and still a layout's.
    world.ok("import --sref latest layout");
    assert_eq!(world.digest("latest"), digest_of(&entries(&world.path("layout"))[0]));
    copy(&world.path("hello"), &world.path("other"));
    let shown = world.json(&format!("--index {} adopt --verify other", world.index));
    assert_eq!((&shown["refs"], &shown["skipped"], &shown["lost"]), (&json!(2), &json!([]), &Value::Null));
    let blobs: Value = serde_json::from_str(&world.ok("--store-path other --format json blobs")).unwrap();
    assert!(blobs.as_array().unwrap().iter().all(|blob| !blob["verified"].is_null()), "{blobs}");
}

fn what_has_no_name_is_pinned(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let (named, unnamed) = (layout.image(&[b"named"]), layout.image(&[b"unnamed"]));
    let signature = layout.referrer(&named, "application/x.signature", b"signature");
    layout.blob("application/x.nobody", b"nobody's");
    layout.add(named, Some("named")).add(unnamed.clone(), None).add(signature, None);
    adopt(world, "--verify layout");
    assert_eq!(there(world, "pin -q").trim(), digest_of(&unnamed));
    assert_eq!(there(world, "list -q").lines().count(), 1);
    let files = blobs_of(&layout.folder).len();
    there(world, "gc");
    assert_eq!(blobs_of(&layout.folder).len(), files - 1, "nobody's blob alone");
    there(world, "check --read-data");
}

fn a_store_is_one_already(world: &World) {
    world.ok("import --all hello");
    let before = crate::common::tree::store_tree(&world.path("store"));
    assert!(world.ok("adopt store").contains("a store already, 2 refs"));
    assert_eq!(world.json("adopt store"), json!({ "already": true, "refs": 2 }));
    assert!(world.fails(1, "adopt --verify store").contains("check --read-data"));
    assert_same(&before, &crate::common::tree::store_tree(&world.path("store")), "adopted again");
}

fn what_is_not_whole_is_refused_and_left(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let (whole, lacking) = (layout.image(&[b"whole"]), layout.image(&[b"here", b"gone"]));
    let gone = layers_of(&layout.folder, &digest_of(&lacking)).remove(1);
    layout.add(whole, Some("whole")).add(lacking, Some("lacking"));
    fs::remove_file(blob_path(&layout.folder, &gone)).unwrap();
    let before = tree(&layout.folder);
    let ran = world.run("adopt layout");
    let err = ran.err();
    assert_eq!((ran.code(), ran.out().as_str()), (Some(3), ""), "{err}");
    assert!(
        err.contains("lacking") && err.contains(&gone) && err.contains("not adopted") && err.contains("reindex"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 2, "{err}");
    assert_same(&before, &tree(&layout.folder), "refused");
    fs::write(blob_path(&layout.folder, &gone), "gone").unwrap();
    adopt(world, "layout");
    there(world, "check --read-data");
}

fn damage_is_found_by_hashing_alone(world: &World) {
    copy(&world.path("hello"), &world.path("layout"));
    let damage = |folder: &str| {
        let layer = layers_of(&world.path(folder), &digest_of(&entries(&world.path(folder))[0])).remove(0);
        let path = blob_path(&world.path(folder), &layer);
        let mut bytes = fs::read(&path).unwrap();
        bytes[7] ^= 1;
        fs::write(path, bytes).unwrap();
        layer
    };
    let layer = damage("layout");
    let before = tree(&world.path("layout"));
    let ran = world.run("adopt --verify layout");
    assert_eq!(ran.code(), Some(3));
    assert!(ran.err().contains(&format!("{layer}: its bytes are damaged")), "{}", ran.err());
    assert_same(&before, &tree(&world.path("layout")), "refused");
    // Unseen without, and found by a check.
    adopt(world, "layout");
    assert_eq!(world.run("--store-path layout check --read-data").code(), Some(3));
    world.run("--store-path layout check --repair --from hello").ok_with_warnings();
    there(world, "check --read-data");
}

fn what_is_no_layout_is_refused(world: &World) {
    fs::create_dir_all(world.path("folder/blobs")).unwrap();
    fs::create_dir_all(world.path("old/blobs")).unwrap();
    fs::create_dir_all(world.path("old/refs")).unwrap();
    fs::write(world.path("file"), "").unwrap();
    for (path, why) in
        [("folder", "no index.json"), ("old", "form of 2016"), ("file", "not a folder"), ("absent", "No such file")]
    {
        let error = world.fails(1, &format!("adopt {path}"));
        assert!(error.contains(path) && error.contains(why), "{error}");
    }
    assert_eq!(world.names("folder"), ["blobs"]);
    assert_eq!(world.names("old"), ["blobs", "refs"]);
    assert!(!world.path("absent").exists());
}

fn a_kill_leaves_a_layout_that_can_be_adopted(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    for n in 0..300_u32 {
        let image = layout.image(&[&n.to_be_bytes()]);
        layout.add(image, Some(&format!("image-{n}")));
    }
    let index_json = world.read("layout/index.json");
    let mut killed = 0;
    for n in 0..12 {
        let mut adopt = world.spawn(&format!("--index {} adopt layout", world.index));
        let has_begun =
            || world.path("layout/.oci-store/index").exists() || world.path("layout/.oci-store/config.json").exists();
        wait_until("it has begun", has_begun);
        std::thread::sleep(std::time::Duration::from_millis(2 * n));
        adopt.kill().unwrap();
        adopt.wait().unwrap();
        if world.path("layout/.oci-store/config.json").exists() {
            break;
        }
        killed += 1;
        assert_eq!(world.read("layout/index.json"), index_json, "it is a layout as before");
        assert_eq!(blobs_of(&layout.folder).len(), 900);
    }
    assert!(killed > 0, "all adoptions were faster than their kills");
    world.ok("import --sref image-7 layout");
    world.run("adopt layout").ok();
    assert_eq!(there(world, "list -q").lines().count(), 300);
    there(world, "check --read-data");
    there(world, "gc --full");
    assert_eq!(blobs_of(&layout.folder).len(), 900);
}

fn a_store_that_lost_its_config_is_told_from_a_layout(world: &World) {
    world.ok("import --all hello");
    world.ok("data set type key value");
    fs::remove_file(world.path("store/.oci-store/config.json")).unwrap();
    let error = world.fails(1, "list");
    assert!(error.contains("config.json") && error.contains("`reindex`"), "{error}");
    let ran = world.run(&format!("--index {} adopt store", world.index));
    ran.ok_with_warnings();
    assert!(ran.err().contains("could not be carried over"), "{}", ran.err());
    assert_eq!(world.refs().len(), 2);
}
