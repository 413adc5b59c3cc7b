//! `log`, `undo`.

use serde_json::{Value, json};

use crate::common::layout::{Builder, entries};
use crate::common::{World, over_each_index};

over_each_index!(
    the_log_tells_what_changed_each_ref,
    undo_takes_back_the_last_command_or_the_last_change_of_a_ref,
    undo_names_what_a_gc_has_taken,
    an_undone_rm_brings_back_all_that_the_entry_said,
    the_log_outlives_reindex_and_convert_and_keeps_no_blob,
);

/// Without the times.
fn log(world: &World, of: &str) -> Vec<[Value; 5]> {
    let log = world.json(&format!("log {of}"));
    let keys = ["operation", "ref", "from", "old", "new"];
    log.as_array().unwrap().iter().map(|change| keys.map(|key| change[key].clone())).collect()
}

fn the_log_tells_what_changed_each_ref(world: &World) {
    assert!(log(world, "").is_empty());
    world.ok("import --all hello");
    let (v1, latest) = (world.digest("v1"), world.digest("latest"));
    let entry = |operation: &str, name: &str, from: Option<&str>, old: Option<&String>, new: Option<&String>| {
        [json!(operation), json!(name), json!(from), json!(old), json!(new)]
    };
    world.ok("tag latest v1");
    world.ok("tag latest v1");
    world.ok("rename v1 v2");
    world.ok("rm v2");
    // Nothing has changed, and nothing is told.
    world.ok("import --sref latest hello");
    world.fails(4, "rm v2");
    let wanted = [
        entry("rm", "v2", None, Some(&latest), None),
        entry("rename", "v2", Some("v1"), None, Some(&latest)),
        entry("tag", "v1", None, Some(&v1), Some(&latest)),
    ];
    assert_eq!(log(world, "")[..3], wanted);
    assert_eq!(log(world, "").len(), 5);
    assert_eq!(log(world, "v2"), wanted[..2]);
    assert_eq!(log(world, "v1").len(), 3);
    assert_eq!(log(world, "--limit 2"), wanted[..2]);
    assert!(world.fails(4, "log nothing").contains("nothing: no such ref"));

    // Another tool writes into the folder.
    let mut listed = entries(&world.path("store"));
    let mut theirs = listed[0].clone();
    theirs["annotations"][crate::common::layout::REF_NAME] = "theirs".into();
    listed.push(theirs);
    let index = json!({ "schemaVersion": 2, "manifests": listed });
    std::fs::write(world.path("store/index.json"), index.to_string()).unwrap();
    assert_eq!(log(world, "theirs"), [entry("taken-in", "theirs", None, None, Some(&latest))]);
    let text = world.ok("log v1");
    assert!(text.starts_with("WHEN") && text.contains("v1 > v2") && text.contains("second"), "{text}");
    world.fails(2, "log a//b");
}

fn undo_takes_back_the_last_command_or_the_last_change_of_a_ref(world: &World) {
    assert!(world.fails(4, "undo").contains("no change"));
    world.ok("import --all hello");
    let start = world.refs();
    let (v1, latest) = (world.digest("v1"), world.digest("latest"));
    assert!(world.fails(4, "undo nothing").contains("nothing"));

    world.ok("rm v1 latest");
    assert_eq!(world.ok("undo"), format!("latest {latest}\nv1 {v1}\n"));
    assert_eq!((world.refs(), world.refs_in_index_json()), (start.clone(), start.clone()));
    // What was undone can be undone.
    assert_eq!(world.json("undo"), json!([{ "ref": "latest", "digest": null }, { "ref": "v1", "digest": null }]));
    assert_eq!(world.refs(), []);
    world.ok("undo v1");
    assert_eq!(world.refs(), [("v1".to_owned(), v1.clone())]);
    world.ok("undo latest");
    assert_eq!(world.refs(), start);

    world.ok("tag latest v1");
    world.ok("tag v1 new");
    assert_eq!(world.ok("undo v1"), format!("v1 {v1}\n"));
    assert_eq!(world.ok("undo new"), "new is removed\n");
    assert_eq!(world.refs(), start);

    world.ok("rename v1 v2");
    assert_eq!(world.ok("undo"), format!("v1 {v1}\nv2 is removed\n"));
    world.ok("rename v1 v2");
    world.ok("undo v1");
    assert_eq!(world.refs(), start);

    world.ok("import --sref latest --dref v1 hello");
    world.ok("undo");
    assert_eq!((world.refs(), world.refs_in_index_json()), (start.clone(), start));
    world.ok("check --read-data");
}

fn undo_names_what_a_gc_has_taken(world: &World) {
    world.ok("import --all hello");
    let v1 = world.digest("v1");
    world.ok("rm v1");
    world.ok("gc");
    let before = world.refs();
    let error = world.fails(1, "undo");
    assert!(error.contains("v1") && error.contains(&v1) && error.contains("missing"), "{error}");
    assert_eq!(world.refs(), before);
    // Somebody brings it again: then it can be undone.
    world.ok("import --sref v1 --dref other hello");
    world.ok("undo v1");
    assert_eq!(world.digest("v1"), v1);
}

fn an_undone_rm_brings_back_all_that_the_entry_said(world: &World) {
    let mut layout = Builder::new(world.path("more"));
    let (mut image, partial) = (layout.image(&[b"one"]), layout.image(&[b"partial"]));
    image["annotations"]["org.example.note"] = "kept".into();
    image["platform"] = json!({ "os": "linux", "architecture": "arm64" });
    layout.add(image, Some("one")).add(partial.clone(), Some("partial"));
    let layer = crate::common::layout::layers_of(&layout.folder, partial["digest"].as_str().unwrap()).remove(0);
    std::fs::remove_file(crate::common::layout::blob_path(&layout.folder, &layer)).unwrap();
    world.ok("import --all --allow-incomplete more");
    let before = (world.refs(), entries(&world.path("store")));
    world.ok("rm one partial");
    world.ok("undo");
    assert_eq!((world.refs(), entries(&world.path("store"))), before);
    assert!(world.ok("list").contains("incomplete"));
    world.ok("check");
}

fn the_log_outlives_reindex_and_convert_and_keeps_no_blob(world: &World) {
    world.ok("import --all hello");
    world.ok("rename v1 v2");
    world.ok("rm v2");
    let before = world.json("log");
    world.ok("reindex");
    assert_eq!(world.json("log"), before);
    if cfg!(all(feature = "lmdb", feature = "sqlite")) {
        let other = if world.index == "lmdb" { "sqlite" } else { "lmdb" };
        world.ok(&format!("index convert --to {other}"));
        assert_eq!(world.json("log"), before);
    }
    world.ok("undo");
    assert!(world.digest("v2").starts_with("sha256:"));
    world.ok("rm latest v2");
    world.ok("gc --full");
    assert_eq!(world.blob_files(), [""; 0]);
    assert_eq!(world.json("log").as_array().unwrap().len(), before.as_array().unwrap().len() + 3);
    world.ok("check");
}
