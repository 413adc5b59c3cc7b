//! `inventory` and `export --exclude`: to a place that has most of it, only what it lacks is carried.

use std::fs;

use serde_json::{Value, json};

use crate::common::layout::{Builder, digest_of, layers_of};
use crate::common::tree::{assert_same, blobs_of, store_tree};
use crate::common::{World, over_each_index};

over_each_index!(
    an_inventory_lists_what_is_whole,
    a_thin_archive_is_completed_by_what_is_there,
    what_would_be_incomplete_is_refused_and_named,
    a_thin_layout_is_a_folder_with_less,
    what_is_no_inventory_is_refused,
    who_wants_all_is_not_given_less,
);

/// `app:1` and `app:2`, which share a base.
fn two_versions(world: &World) -> Builder {
    let mut layout = Builder::new(world.path("apps"));
    let (one, two) = (layout.image(&[b"base", b"one"]), layout.image(&[b"base", b"two"]));
    layout.add(one, Some("app:1")).add(two, Some("app:2"));
    layout
}

/// Runs a command on the other store.
fn there(world: &World, words: &str) -> String {
    world.ok(&format!("--store-path there --index {} {words}", world.index))
}

fn an_inventory_lists_what_is_whole(world: &World) {
    assert_eq!(world.json("inventory"), json!({ "version": 1, "blobs": [], "refs": [] }));
    two_versions(world);
    world.ok("import --all apps");
    world.ok("tag app:2 also");
    let inventory: Value = serde_json::from_str(&world.ok("inventory")).unwrap();
    let blobs: Vec<String> = inventory["blobs"].as_array().unwrap().iter().map(digest_of).collect();
    assert_eq!(blobs, world.blob_files());
    let sizes = inventory["blobs"].as_array().unwrap().iter().map(|blob| blob["size"].as_u64().unwrap());
    assert!(sizes.min() == Some(3), "{inventory}");
    let names: Vec<_> = inventory["refs"].as_array().unwrap().iter().map(|found| found["ref"].clone()).collect();
    assert_eq!(names, ["also", "app:1", "app:2"]);
    assert_eq!(digest_of(&inventory["refs"][0]), world.digest("app:2"));
    // What is known to be damaged does not count.
    let layer = layers_of(&world.path("store"), &world.digest("app:1")).remove(1);
    let path = crate::common::layout::blob_path(&world.path("store"), &layer);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "eno").unwrap();
    assert_eq!(world.run("check --read-data").code(), Some(3));
    assert!(!world.ok("inventory").contains(&layer));
}

fn a_thin_archive_is_completed_by_what_is_there(world: &World) {
    two_versions(world);
    world.ok("import --all apps");
    there(world, "import --sref app:1 apps");
    fs::write(world.path("have.json"), there(world, "inventory")).unwrap();
    let shown = world.json("export --exclude have.json app:2 thin.tar");
    // The manifest, its config and a layer; the base is there.
    assert_eq!((&shown["blobs"], &shown["excluded"]), (&json!(3), &json!(1)));
    there(world, "import thin.tar");
    there(world, "check --read-data");
    assert_eq!(there(world, "list").lines().count(), 3);
    assert_eq!(blobs_of(&world.path("there")), world.blob_files());
    // What is there as a whole is carried by its manifest alone, and the same again gives the same bytes.
    fs::write(world.path("all.json"), there(world, "inventory")).unwrap();
    assert_eq!(world.json("export --exclude all.json app:2 name.tar")["blobs"], 1);
    let piped = world.run_with("--format json export --exclude - app:2 piped.tar", &world.read("have.json"));
    let piped: Value = serde_json::from_str(&piped.ok()).unwrap();
    assert_eq!((&piped["excluded"], world.read("piped.tar")), (&json!(1), world.read("thin.tar")));
    assert!(world.run_with("export --exclude - app:2 x.tar", b"{").fails(1).contains("stdin: not an inventory"));
    there(world, "import --dref again name.tar");
    there(world, "check --read-data");
    let before = world.read("thin.tar");
    world.ok("export --exclude have.json app:2 thin.tar");
    assert_eq!(world.read("thin.tar"), before);
}

fn what_would_be_incomplete_is_refused_and_named(world: &World) {
    let layout = two_versions(world);
    world.ok("import --all apps");
    there(world, "import --sref app:1 apps");
    fs::write(world.path("have.json"), there(world, "inventory")).unwrap();
    world.ok("export --exclude have.json app:2 thin.tar");
    // What it relied on is gone meanwhile.
    there(world, "rm app:1");
    there(world, "gc");
    let before = store_tree(&world.path("there"));
    let base = layers_of(&layout.folder, &world.digest("app:2")).remove(0);
    let error = world.fails(1, "--store-path there import thin.tar");
    assert!(error.contains(&base) && error.contains("missing") && error.contains("thin.tar"), "{error}");
    assert_same(&before, &store_tree(&world.path("there")), "refused");
    there(world, "import --sref app:1 apps");
    there(world, "import thin.tar");
    there(world, "check --read-data");
}

fn a_thin_layout_is_a_folder_with_less(world: &World) {
    two_versions(world);
    world.ok("import --all apps");
    there(world, "import --sref app:1 apps");
    fs::write(world.path("have.json"), there(world, "inventory")).unwrap();
    assert_eq!(world.json("export --exclude have.json --all thin")["excluded"], 3);
    assert_eq!(blobs_of(&world.path("thin")).len(), 4);
    there(world, "import --all thin");
    there(world, "check --read-data");
    assert_eq!(blobs_of(&world.path("there")), world.blob_files());
    // Without the list it becomes whole.
    world.ok("export --all thin");
    assert_eq!(blobs_of(&world.path("thin")), world.blob_files());
}

fn what_is_no_inventory_is_refused(world: &World) {
    world.ok("import --sref v1 hello");
    for (text, why) in [
        ("", "not an inventory"),
        ("[]", "not an inventory"),
        (r#"{"version":2,"blobs":"otherwise"}"#, "version 2, not 1"),
        (r#"{"version":1}"#, "not an inventory"),
        (r#"{"version":1,"blobs":[{"digest":"sha256:xyz","size":1}],"refs":[]}"#, "not an inventory"),
    ] {
        fs::write(world.path("have.json"), text).unwrap();
        let error = world.fails(1, "export --exclude have.json v1 out");
        assert!(error.contains("have.json") && error.contains(why), "{text}: {error}");
    }
    assert!(world.fails(1, "export --exclude absent.json v1 out").contains("absent.json"));
    assert!(!world.path("out").exists());
}

fn who_wants_all_is_not_given_less(world: &World) {
    two_versions(world);
    world.ok("import --all apps");
    there(world, "import --sref app:1 apps");
    fs::write(world.path("have.json"), there(world, "inventory")).unwrap();
    assert!(world.fails(1, "export --exclude have.json app:2 docker-archive:d.tar").contains("whole images"));
    assert!(world.fails(1, "export --exclude have.json app:2 there").contains("is a store"));
    assert_eq!(there(world, "list").lines().count(), 2);
}
