//! `gc`, `reindex`, `index`.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::common::layout::{Builder, blob_path, digest, digest_of};
use crate::common::tree::{assert_same, store_tree};
use crate::common::{Ran, World, over_each_index};

over_each_index!(
    gc_removes_what_nothing_reaches_and_says_how_much,
    gc_by_a_dry_run_removes_nothing,
    gc_full_finds_files_that_nobody_knows,
    reindex_brings_all_back_after_the_index_was_deleted,
    reindex_makes_a_store_of_a_layout,
    reindex_keeps_data_when_the_index_can_be_read,
    a_damaged_index_is_told_in_one_line_and_reindex_mends_it,
    the_index_converts_both_ways_and_loses_nothing,
    an_index_that_disagrees_is_an_error,
    a_lost_index_json_is_written_anew,
    gc_removes_what_kills_leave_in_the_stores_own_folder,
    what_was_swapped_out_before_a_kill_is_taken_in_by_the_next_command,
    what_was_removed_stays_removed_over_a_reindex,
    what_another_tool_wrote_is_not_lost_for_want_of_descriptors,
    a_repair_fetches_what_is_bad_and_says_what_it_could_not,
);

fn gc_removes_what_nothing_reaches_and_says_how_much(world: &World) {
    world.ok("import --all hello");
    assert_eq!(world.json("gc"), json!({ "blobs": 0, "bytes": 0, "unfinished": 0, "dryRun": false }));
    world.ok("rm latest");
    let before = world.blob_files();
    let bytes = |files: &[String]| -> u64 {
        files.iter().map(|digest| fs::metadata(blob_path(&world.path("hello"), digest)).unwrap().len()).sum()
    };
    let removed = world.json("gc");
    let after = world.blob_files();
    assert_eq!(removed["blobs"].as_u64().unwrap() as usize, before.len() - after.len());
    assert_eq!(removed["bytes"].as_u64().unwrap(), bytes(&before) - bytes(&after));
    assert_eq!(world.json("blobs").as_array().unwrap().len(), after.len());
    world.ok("check --read-data");
    world.ok("rm v1");
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
}

fn gc_by_a_dry_run_removes_nothing(world: &World) {
    world.ok("import --all hello");
    world.ok("rm v1");
    let before = store_tree(&world.path("store"));
    let would = world.json("gc --dry-run");
    let would_full = world.json("gc --dry-run --full");
    assert_same(&before, &store_tree(&world.path("store")), "a dry run");
    assert_eq!((&would["blobs"], &would["dryRun"]), (&json!(2), &json!(true)));
    assert_eq!(would, would_full);
    assert!(world.ok("gc --dry-run").starts_with("would remove 2 blobs"));
    assert_eq!(world.json("gc")["bytes"], would["bytes"]);
}

fn gc_full_finds_files_that_nobody_knows(world: &World) {
    world.ok("import --sref v1 hello");
    // The first after a boot is a full one.
    world.ok("gc");
    let path = blob_path(&world.path("store"), &digest(b"stray"));
    fs::write(&path, b"stray").unwrap();
    assert!(world.ok("gc").starts_with("removed 0 blobs"));
    assert!(world.ok("gc --full").starts_with("removed 1 blob, 5 B"));
    assert!(!path.exists());
    world.ok("check --read-data");
}

/// Refs, a pin, a referrer and an incomplete image.
fn fill(world: &World) {
    world.ok("import --all hello");
    world.ok("pin v1");
    world.ok("rm v1");
    let mut layout = Builder::new(world.path("more"));
    let (image, partial) = (layout.image(&[b"signed"]), layout.image(&[b"partial"]));
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    layout.add(image, Some("signed")).add(signature, None).add(partial.clone(), Some("partial"));
    let layer = crate::common::layout::layers_of(&layout.folder, &digest_of(&partial)).remove(0);
    fs::remove_file(blob_path(&layout.folder, &layer)).unwrap();
    world.ok("import --sref signed more");
    world.ok("import --sref partial --allow-incomplete more");
}

/// All that can be told without the times.
fn look(world: &World) -> Vec<serde_json::Value> {
    let mut seen = vec![
        world.json("list"),
        world.json("pin"),
        world.json("blobs"),
        world.json("inspect signed"),
        world.json("inspect latest"),
        world.json("check --read-data"),
        serde_json::Value::from(crate::common::layout::entries(&world.path("store"))),
    ];
    for row in seen.iter_mut().filter_map(|rows| rows.as_array_mut()).flatten().filter_map(|row| row.as_object_mut()) {
        for time in ["updated", "created", "used", "verified"] {
            row.remove(time);
        }
    }
    seen
}

fn reindex_brings_all_back_after_the_index_was_deleted(world: &World) {
    fill(world);
    let before = look(world);
    fs::remove_dir_all(world.path("store/.oci-store/index")).unwrap();
    let error = world.fails(1, "list");
    assert!(error.contains("reindex"), "{error}");
    let report = world.run("--format json reindex").ok_with_warnings();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["refs"], &report["skipped"]), (&json!(3), &json!([])));
    assert!(!report["lost"].is_null());
    assert_eq!(look(world), before);
    // Only what may go goes.
    world.ok("gc --full");
    assert_eq!(look(world), before);
    world.ok("rm latest partial signed");
    world.ok(&format!("unpin {}", digest_of(&world.json("pin")[0])));
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
}

fn reindex_makes_a_store_of_a_layout(world: &World) {
    fill(world);
    let before = look(world);
    let (store, index) = ("store/.oci-store", world.index);
    fs::remove_dir_all(world.path(store)).unwrap();
    assert!(world.fails(1, "list").contains("store"));
    world.run(&format!("--index {index} reindex")).ok_with_warnings();
    assert_eq!(world.ok("index show"), format!("{index}\n"));
    assert_eq!(look(world), before);

    crate::common::layout::copy(&world.path("hello"), &world.path("layout"));
    world.run(&format!("--store-path layout --index {index} reindex")).ok_with_warnings();
    assert_eq!(world.ok("--store-path layout list").lines().count(), 3);
    world.ok("--store-path layout check --read-data");
    world.ok("--store-path layout rm v1 latest");
    world.ok("--store-path layout gc");
    assert_eq!(crate::common::tree::blobs_of(&world.path("layout")), [""; 0]);
}

fn reindex_keeps_data_when_the_index_can_be_read(world: &World) {
    fill(world);
    world.ok("data set cache x value");
    world.ok("blob-data set latest note text");
    let before = look(world);
    assert!(world.ok("reindex").contains("3 refs"));
    assert_eq!(look(world), before);
    assert_eq!(world.ok("data get cache x"), "value");
    assert_eq!(world.ok("blob-data get latest note"), "text");
}

fn a_damaged_index_is_told_in_one_line_and_reindex_mends_it(world: &World) {
    fill(world);
    let before = look(world);
    let folder = world.path("store/.oci-store/index/1");
    for entry in fs::read_dir(&folder).unwrap() {
        fs::write(entry.unwrap().path(), b"this is no database, and never was one").unwrap();
    }
    let error = world.run("list");
    let error = error.fails(1);
    assert!(error.contains("store/.oci-store/index") || error.contains("reindex"), "{error}");
    world.run("reindex").ok_with_warnings();
    assert_eq!(look(world), before);
}

fn the_index_converts_both_ways_and_loses_nothing(world: &World) {
    let kinds: &[&str] = if cfg!(all(feature = "lmdb", feature = "sqlite")) { &["lmdb", "sqlite"] } else { return };
    fill(world);
    world.ok("data set cache x value");
    world.ok("blob-data set latest note text");
    let before = look(world);
    let (one, other) = if world.index == kinds[0] { (kinds[0], kinds[1]) } else { (kinds[1], kinds[0]) };
    for (to, from) in [(other, one), (one, other)] {
        assert_eq!(world.ok(&format!("index convert --to {to}")), format!("{to}\n"));
        assert_eq!(world.ok("index show"), format!("{to}\n"));
        assert_eq!(look(world), before, "{from} to {to}");
        assert_eq!(world.ok("data get cache x"), "value");
        assert_eq!(world.ok("blob-data get latest note"), "text");
        world.fails(1, &format!("--index {from} list"));
        world.ok("tag latest again");
        world.ok("rm again");
    }
    world.ok(&format!("index convert --to {one}"));
    let error = world.run("index convert --to cassandra");
    assert!(error.fails(error.code().unwrap()).contains("cassandra"));
    assert_eq!(look(world), before);
}

fn an_index_that_disagrees_is_an_error(world: &World) {
    world.ok("import --sref v1 hello");
    world.ok(&format!("--index {} list", world.index));
    if cfg!(all(feature = "lmdb", feature = "sqlite")) {
        let other = if world.index == "lmdb" { "sqlite" } else { "lmdb" };
        let before = store_tree(&world.path("store"));
        for words in ["list", "gc", "import --sref latest hello", "rm v1"] {
            let error = world.fails(1, &format!("--index {other} {words}"));
            assert!(error.contains("store") && error.contains(world.index) && error.contains(other), "{error}");
        }
        assert_same(&before, &store_tree(&world.path("store")), "refused");
    }
    for words in ["--index cassandra --store-path fresh gc", "--index cassandra --store-path fresh list"] {
        let error = world.fails(2, words);
        assert!(error.contains("cassandra") && error.contains("lmdb, sqlite"), "{error}");
    }
    assert!(world.fails(2, "--index sqlit list").contains("; a similar value exists: 'sqlite'"));
    assert!(!world.path("fresh").exists());
}

fn a_lost_index_json_is_written_anew(world: &World) {
    world.ok("import --all hello");
    let before = world.refs_in_index_json();
    fs::remove_file(world.path("store/index.json")).unwrap();
    fs::remove_file(world.path("store/oci-layout")).unwrap();
    assert_eq!(world.refs(), before);
    assert_eq!(world.refs_in_index_json(), before);
    assert!(world.path("store/oci-layout").exists());
    // One that is cut off is as good as none; it is told, and that is all.
    fs::write(world.path("store/index.json"), b"{\"schemaVersion\":2,\"manif").unwrap();
    let ran = world.run("list");
    ran.ok_with_warnings();
    assert!(ran.err().contains("index.json"), "{}", ran.err());
    assert_eq!(world.refs(), before);
    assert_eq!(world.refs_in_index_json(), before);
}

/// Temporary files, and an index that was being built.
fn gc_removes_what_kills_leave_in_the_stores_own_folder(world: &World) {
    world.ok("import --all hello");
    for (to, words) in [("2", "gc"), ("3", "gc --full")] {
        let own = world.path("store/.oci-store");
        for name in ["index.a1b2c3.tmp", "config.a1b2c3.tmp", "projection.a1b2c3.tmp", "oci-layout.a1b2c3.tmp"] {
            fs::write(own.join(name), b"{}").unwrap();
        }
        fs::create_dir(own.join("index").join(to)).unwrap();
        fs::write(own.join("index").join(to).join("half"), b"built").unwrap();
        world.ok(words);
        let left = ["config.json", "index", "ingest", "leases", "locks", "projection.json", "reserve"];
        assert_eq!(world.names("store/.oci-store"), left);
        assert_eq!(world.names("store/.oci-store/index"), ["1"]);
    }
    world.ok("check --read-data");
}

fn what_was_swapped_out_before_a_kill_is_taken_in_by_the_next_command(world: &World) {
    world.ok("import --all hello");
    std::thread::sleep(std::time::Duration::from_millis(50));
    // So that index.json is known to be as it should be.
    world.ok("list");
    let text = String::from_utf8(world.read("store/index.json")).unwrap();
    let theirs = text.replace("\"v1\"", "\"theirs\"");
    assert_ne!(theirs, text);
    fs::write(world.path("store/.oci-store/index.json.new"), theirs).unwrap();
    let names: Vec<_> = world.refs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["latest", "theirs", "v1"]);
    assert!(!world.path("store/.oci-store/index.json.new").exists());
}

fn what_was_removed_stays_removed_over_a_reindex(world: &World) {
    world.ok("import --all hello");
    let read = String::from_utf8(world.read("store/index.json")).unwrap();
    world.ok("rm v1");
    world.ok("reindex");
    // Another tool had read the file before, and writes it with a name of its own.
    let written = read.replace("\"latest\"", "\"theirs\"");
    assert_ne!(written, read);
    fs::write(world.path("store/index.json"), written).unwrap();
    let names: Vec<_> = world.refs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["latest", "theirs"]);
}

fn what_another_tool_wrote_is_not_lost_for_want_of_descriptors(world: &World) {
    world.ok("import --all hello");
    let has_theirs = |world: &World| world.refs_in_index_json().iter().any(|(name, _)| name == "theirs");
    let (mut failed, mut worked) = (0, 0);
    for descriptors in 4..40 {
        let text = String::from_utf8(world.read("store/index.json")).unwrap();
        fs::write(world.path("store/index.json"), text.replace("\"v1\"", "\"theirs\"")).unwrap();
        let mut limited = Command::new("sh");
        let line = format!("ulimit -n {descriptors}; exec {} list", env!("CARGO_BIN_EXE_oci-store"));
        limited.args(["-c", &line]).current_dir(world.root()).env("OCI_STORE_PATH", "store");
        let ran = Ran::of(&mut limited);
        if ran.code() == Some(0) {
            worked += 1;
        } else {
            assert!(!ran.err().contains("reindex"), "{descriptors}: {}", ran.err());
            failed += 1;
        }
        assert!(has_theirs(world), "{descriptors}: {}", ran.err());
        world.ok("list");
        assert!(has_theirs(world), "{descriptors}: {}", ran.err());
        world.ok("rm theirs");
    }
    assert!(failed > 2 && worked > 2, "{failed} {worked}");
}

fn a_repair_fetches_what_is_bad_and_says_what_it_could_not(world: &World) {
    world.ok("import --all hello");
    let before = store_tree(&world.path("store"));
    let files = world.blob_files();
    for digest in &files {
        let path = blob_path(&world.path("store"), digest);
        let size = fs::metadata(&path).unwrap().len() as usize;
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![b'?'; size]).unwrap();
    }
    Builder::new(world.path("empty"));
    let error = world.run("check --repair --from empty");
    assert_eq!(error.code(), Some(3), "{}", error.err());
    assert!(world.fails(2, "check --repair").contains("--from"));
    assert!(world.fails(2, "check --from hello").contains("--repair"));
    assert!(world.fails(1, "check --repair --from nowhere").contains("nowhere"));
    let said = world.json("check --repair --from empty --from hello");
    assert_eq!((said["repaired"].as_array().unwrap().len(), &said["problems"]), (files.len(), &json!([])));
    assert_same(&before, &store_tree(&world.path("store")), "repaired");
    assert_eq!(world.json("check --repair --from hello")["repaired"], json!([]));
    world.ok("check --read-data");
}
