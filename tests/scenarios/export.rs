//! `export`: to a new folder, to one that has something, to another store.

use std::fs;

use crate::common::layout::{Builder, REF_NAME, blob_path, digest_of, entries};
use crate::common::tree::{assert_same, blobs_of, tree};
use crate::common::{World, over_each_index};

over_each_index!(
    a_new_layout_has_the_same_bytes_as_the_source,
    the_ref_may_stand_before_the_folder,
    the_only_ref_is_exported_without_being_said,
    of_several_refs_one_must_be_said,
    a_destination_that_was_forgotten_is_told,
    other_refs_of_the_destination_survive,
    the_same_again_changes_nothing,
    a_digest_needs_a_name,
    a_store_as_destination_is_imported_into,
    referrers_come_along_unless_told_otherwise,
    blobs_that_the_destination_has_are_hashed_on_demand,
    what_is_damaged_in_the_store_is_found_on_demand,
    what_other_tools_call_a_place_is_no_folder,
    a_folder_with_something_else_in_it_is_left_alone,
    a_ref_that_is_not_there_makes_no_folder,
);

fn names_of(world: &World, layout: &str) -> Vec<String> {
    let names = entries(&world.path(layout)).into_iter();
    names.map(|entry| entry["annotations"][REF_NAME].as_str().unwrap_or("-").to_owned()).collect()
}

fn a_new_layout_has_the_same_bytes_as_the_source(world: &World) {
    world.ok("import --all hello");
    world.ok("export latest out");
    world.ok("export --sync v1 out");
    assert_same(&tree(&world.path("hello/blobs")), &tree(&world.path("out/blobs")), "blobs");
    assert_eq!(world.names("out"), ["blobs", "index.json", "oci-layout"]);
    let key = |entry: &serde_json::Value| (digest_of(entry), entry.clone());
    let sorted = |layout| {
        let mut all: Vec<_> = entries(&world.path(layout)).iter().map(key).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    assert_eq!(sorted("out"), sorted("hello"), "index.json");
}

fn the_ref_may_stand_before_the_folder(world: &World) {
    world.ok("import --all hello");
    let out = world.ok("export v1 out");
    assert_eq!(out, format!("v1 {}\n", world.digest("v1")));
    assert_eq!(names_of(world, "out"), ["v1"]);
    world.ok("export v1 --dref other out");
    assert_eq!(names_of(world, "out"), ["v1", "other"]);
    assert!(world.fails(2, "export --sref v1 latest out").contains("twice"));
}

fn the_only_ref_is_exported_without_being_said(world: &World) {
    assert!(world.fails(4, "export out").contains("no refs"));
    assert!(!world.path("out").exists());
    world.ok("import --sref v1 --dref only hello");
    world.ok("export out");
    assert_eq!(names_of(world, "out"), ["only"]);
}

fn of_several_refs_one_must_be_said(world: &World) {
    world.ok("import --all hello");
    let error = world.run("export out");
    assert!(error.fails(error.code().unwrap()).contains("--sref"), "{}", error.err());
    assert!(!world.path("out").exists());
}

fn a_destination_that_was_forgotten_is_told(world: &World) {
    world.ok("import --sref v1 --dref nginx:1 hello");
    let before = world.names(".");
    for name in ["nginx:1", "nginx:2", "docker.io/nginx:1"] {
        let error = world.fails(2, &format!("export {name}"));
        let wanted = format!("no destination: `export {name} DIR` says where to; a folder of that name is ./{name}");
        assert_eq!(error, format!("error: {wanted}"));
    }
    world.ok("tag nginx:1 latest");
    for refs in ["latest", "nginx:1", "nginx:1 latest", "latest nginx:1"] {
        let error = world.fails(2, &format!("export {refs}"));
        assert!(error.contains(&format!("no destination: `export {refs} DIR`")), "{error}");
    }
    assert!(world.fails(2, "export --dref x latest").contains("no destination"));
    assert_eq!(world.names("."), before);
    // What is there is a folder, and so is what can be nothing else.
    for (words, folder) in [
        ("--sref nginx:1 latest", "latest"),
        ("nginx:1 latest", "latest"),
        ("nginx:1 ./nginx:1", "nginx:1"),
        ("--all app:1", "app:1"),
        ("nginx:1 app:2", "app:2"),
    ] {
        world.ok(&format!("export {words}"));
        assert!(world.path(folder).join("index.json").exists(), "{words}");
    }
    world.ok("rm nginx:1");
    for folder in ["latest", "./v:1", "oci:v"] {
        world.ok(&format!("export {folder}"));
    }
}

fn other_refs_of_the_destination_survive(world: &World) {
    let mut other = Builder::new(world.path("out"));
    let (image, unnamed) = (other.image(&[b"other"]), other.image(&[b"unnamed"]));
    other.add(image.clone(), Some("other")).add(unnamed.clone(), None);
    world.ok("import --all hello");
    world.ok("export v1 out");
    world.ok("export latest --dref v1 out");
    let listed = entries(&world.path("out"));
    assert_eq!(names_of(world, "out"), ["other", "-", "v1"]);
    assert_eq!(digest_of(&listed[2]), world.digest("latest"));
    // Nothing goes from a folder that is not the store's.
    assert!(blob_path(&world.path("out"), &world.digest("v1")).exists());
    world.ok("import --sref other out");
    world.ok("check --read-data");
}

fn the_same_again_changes_nothing(world: &World) {
    world.ok("import --all hello");
    world.ok("export latest out");
    let before = tree(&world.path("out"));
    assert_eq!(world.json("export latest out")["blobs"], 0);
    assert_same(&before, &tree(&world.path("out")), "exported again");
}

fn a_digest_needs_a_name(world: &World) {
    world.ok("import --all hello");
    let digest = world.digest("v1");
    // Which are names, too, by the grammar.
    for image in [digest.clone(), format!("sha256-{}", &digest[7..12]), digest[7..].to_owned()] {
        assert!(world.fails(2, &format!("export {image} out")).contains("--dref"), "{image}");
    }
    assert!(world.fails(4, "export sha256:ffffffff out").contains("sha256:ffffffff"));
    assert!(!world.path("out").exists());
    world.ok(&format!("export {} --dref short out", &digest[..14]));
    assert_eq!(names_of(world, "out"), ["short"]);
}

fn a_store_as_destination_is_imported_into(world: &World) {
    world.ok("import --all hello");
    let other = |words: &str| world.ok(&format!("--store-path other {words}"));
    other("gc");
    world.ok("export v1 other");
    world.ok("export latest --dref app:1 other");
    assert_eq!(other("list").lines().count(), 3);
    other("check --read-data");
    other("rm v1");
    other("gc");
    other("check --read-data");
    let digest = world.digest("latest");
    assert_eq!(other(&format!("resolve {digest}")).trim(), digest);
    world.ok("check --read-data");
}

fn referrers_come_along_unless_told_otherwise(world: &World) {
    let mut layout = Builder::new(world.path("signed"));
    let image = layout.image(&[b"signed layer"]);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    layout.add(image, Some("signed")).add(signature.clone(), None);
    world.ok("import signed");
    world.ok("export signed with");
    assert_eq!(blobs_of(&world.path("with")), blobs_of(&layout.folder));
    assert_eq!(digest_of(&entries(&world.path("with"))[1]), digest_of(&signature));
    world.ok("export --no-referrers signed without");
    assert_eq!(blobs_of(&world.path("without")).len(), 3);
    assert_eq!(entries(&world.path("without")).len(), 1);
}

fn blobs_that_the_destination_has_are_hashed_on_demand(world: &World) {
    world.ok("import --sref v1 hello");
    world.ok("export v1 out");
    let path = blob_path(&world.path("out"), &world.digest("v1"));
    let good = fs::read(&path).unwrap();
    let damage = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    // Another size is seen; another byte only by hashing.
    damage(&good[..good.len() - 1]);
    assert_eq!(world.json("export v1 out")["blobs"], 1);
    assert_eq!(fs::read(&path).unwrap(), good);
    let mut bad = good.clone();
    bad[10] ^= 1;
    damage(&bad);
    assert_eq!(world.json("export v1 out")["blobs"], 0);
    assert_eq!(world.json("export --verify v1 out")["blobs"], 1);
    assert_eq!(fs::read(&path).unwrap(), good);
}

fn what_is_damaged_in_the_store_is_found_on_demand(world: &World) {
    world.ok("import --sref v1 hello");
    let layer = crate::common::layout::layers_of(&world.path("store"), &world.digest("v1")).remove(0);
    let path = blob_path(&world.path("store"), &layer);
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert!(world.fails(1, "export --verify v1 out").contains(&layer));
    assert!(!blob_path(&world.path("out"), &layer).exists());
}

fn what_other_tools_call_a_place_is_no_folder(world: &World) {
    world.ok("import --sref v1 hello");
    let before = world.names(".");
    for place in ["docker://registry/app:1", "dir:out", "containers-storage:app"] {
        assert!(world.fails(2, &format!("export v1 {place}")).contains(place));
    }
    assert_eq!(world.names("."), before);
}

fn a_folder_with_something_else_in_it_is_left_alone(world: &World) {
    world.ok("import --sref v1 hello");
    fs::create_dir(world.path("home")).unwrap();
    fs::write(world.path("home/letter"), "dear").unwrap();
    assert!(world.fails(1, "export v1 home").contains("home"));
    assert_eq!(world.names("home"), ["letter"]);
    fs::write(world.path("file"), "dear").unwrap();
    assert!(world.fails(1, "export v1 file").contains("file"));
    assert_eq!(world.read("file"), b"dear");
}

fn a_ref_that_is_not_there_makes_no_folder(world: &World) {
    world.ok("import --sref v1 hello");
    assert!(world.fails(4, "export v2 out").contains("v2"));
    assert!(!world.path("out").exists());
}
