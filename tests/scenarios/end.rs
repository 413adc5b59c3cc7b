//! How a command ends that is not let to end: locks, Ctrl-C, kill -9.

use std::fs::{self, File};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::layout::{Builder, LAYER, blob_path, digest, digest_of};
use crate::common::tree::{assert_same, store_tree, tree};
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(
    a_lock_timeout_ends_the_wait_and_names_the_lock,
    without_a_timeout_the_lock_is_waited_for,
    readers_need_no_lock,
    an_import_that_is_interrupted_leaves_nothing,
    what_was_started_to_ignore_a_signal_ignores_it,
    an_export_that_is_interrupted_leaves_no_half_blob,
    what_a_killed_import_leaves_the_next_gc_removes,
    a_killed_import_does_not_hinder_the_next,
    gc_full_removes_strays_and_nothing_of_the_living,
    a_kill_at_any_moment_of_any_command_loses_nothing,
    a_kill_while_the_store_is_made_leaves_what_the_next_command_completes,
);

fn hold(world: &World, lock: &str) -> File {
    let file = File::options().write(true).open(world.path("store/.oci-store/locks").join(lock)).unwrap();
    file.lock().unwrap();
    file
}

fn a_lock_timeout_ends_the_wait_and_names_the_lock(world: &World) {
    world.ok("import --all hello");
    let held = hold(world, "writer");
    let begin = Instant::now();
    for words in ["tag v1 v2", "rm v1", "gc", "data set a b c", "import --sref v1 --dref v3 hello"] {
        let error = world.fails(1, &format!("--lock-timeout 100ms {words}"));
        assert!(error.contains("writer") && error.contains("locked"), "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
    drop(held);
    assert_eq!(world.refs().len(), 2);
    world.ok("--lock-timeout 20s tag v1 v2");
    world.assert_no_leftovers();
}

fn without_a_timeout_the_lock_is_waited_for(world: &World) {
    world.ok("import --all hello");
    let held = hold(world, "writer");
    let mut waiting = world.spawn("tag v1 v2");
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it did not wait");
    drop(held);
    Ran::ended("tag", waiting).ok();
    assert_eq!(world.digest("v2"), world.digest("v1"));
}

fn readers_need_no_lock(world: &World) {
    world.ok("import --all hello");
    world.ok("list");
    let _held = hold(world, "writer");
    for words in ["list", "inspect v1", "cat v1", "blobs", "check", "data list", "pin", "index show"] {
        world.ok(&format!("--lock-timeout 100ms {words}"));
    }
    world.ok("--lock-timeout 100ms export v1 out");
}

/// A layout with a layer of four sparse GiB. Its digest is wrong, which nobody finds out before all is read.
pub(crate) fn large(world: &World) -> String {
    let mut layout = Builder::new(world.path("large"));
    let (size, wrong) = (4_u64 << 30, digest(b"something else"));
    File::create(blob_path(&layout.folder, &wrong)).unwrap().set_len(size).unwrap();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = json!({ "mediaType": LAYER, "digest": wrong, "size": size });
    let image = layout.manifest(&config, &[layer]);
    layout.add(image, Some("large"));
    wrong
}

/// Starts to import it; returns when a mebibyte of it is in.
fn begin_import(world: &World) -> Child {
    let child = world.spawn("import large");
    wait_until("the import has begun", || staged(world) > 1 << 20);
    child
}

fn staged(world: &World) -> u64 {
    let ingest = world.path("store/.oci-store/ingest");
    let sizes = |folder: fs::DirEntry| {
        let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
    };
    fs::read_dir(ingest).into_iter().flatten().flatten().map(sizes).sum()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").args(["-c", "kill -$0 $1", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn an_import_that_is_interrupted_leaves_nothing(world: &World) {
    world.ok("import --all hello");
    large(world);
    let before = store_tree(&world.path("store"));
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let child = begin_import(world);
        signal(&child, name);
        let ran = Ran::ended("import", child);
        assert_eq!(ran.code(), Some(code), "{name}: {}", ran.err());
        assert!(ran.err().lines().count() <= 1, "{}", ran.err());
        world.assert_no_leftovers();
        assert_same(&before, &store_tree(&world.path("store")), name);
    }
    world.ok("check --read-data");
}

/// By `nohup`, or in the background of a script.
fn what_was_started_to_ignore_a_signal_ignores_it(world: &World) {
    let wrong = large(world);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP INT; exec \"$0\" import large", env!("CARGO_BIN_EXE_oci-store")]);
    shell.current_dir(world.root()).env("OCI_STORE_PATH", "store").stderr(std::process::Stdio::piped());
    let child = shell.spawn().unwrap();
    wait_until("the import has begun", || staged(world) > 1 << 20);
    signal(&child, "HUP");
    signal(&child, "INT");
    let goes_on = staged(world);
    wait_until("the import goes on", || staged(world) > goes_on + (1 << 20));
    signal(&child, "TERM");
    let ran = Ran::ended("import", child);
    assert!(ran.code() == Some(143) && !ran.err().contains(&wrong), "{:?} {}", ran.code(), ran.err());
    world.assert_no_leftovers();
}

fn an_export_that_is_interrupted_leaves_no_half_blob(world: &World) {
    // Large and yet true, so that it can be imported: zeros, hashed by the store itself when it is told wrong.
    let mut layout = Builder::new(world.path("zeros"));
    let mut hashed = sha2::Sha256::default();
    let (piece, count) = (vec![0_u8; 1 << 20], 256);
    for _ in 0..count {
        sha2::Digest::update(&mut hashed, &piece);
    }
    let hex: String = sha2::Digest::finalize(hashed).iter().map(|byte| format!("{byte:02x}")).collect();
    let zeros = format!("sha256:{hex}");
    File::create(blob_path(&layout.folder, &zeros)).unwrap().set_len(count << 20).unwrap();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = json!({ "mediaType": LAYER, "digest": zeros, "size": count << 20 });
    let image = layout.manifest(&config, &[layer]);
    layout.add(image.clone(), Some("zeros"));
    world.ok("import zeros");

    let child = world.spawn("export zeros out");
    let folder = || world.names("out").into_iter().find(|name| name.starts_with(".oci-store-export-"));
    wait_until("the export has begun", || folder().is_some_and(|name| !world.names(&format!("out/{name}")).is_empty()));
    signal(&child, "INT");
    let code = Ran::ended("export", child).code();
    // It may have been faster; then it is whole.
    if code != Some(0) {
        assert_eq!(code, Some(130));
        assert!(!world.path("out/index.json").exists());
        assert_eq!(folder(), None);
    }
    for (name, bytes) in tree(&world.path("out/blobs/sha256")) {
        assert_eq!(digest(&bytes), format!("sha256:{name}"));
    }
    world.assert_no_leftovers();
    world.ok("export zeros out");
    assert_eq!(digest_of(&crate::common::layout::entries(&world.path("out"))[0]), digest_of(&image));
}

fn what_a_killed_import_leaves_the_next_gc_removes(world: &World) {
    world.ok("import --all hello");
    large(world);
    let before = store_tree(&world.path("store"));
    let mut child = begin_import(world);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(staged(world) > 0 && world.names("store/.oci-store/leases").len() == 1);
    assert_eq!(world.refs().len(), 2);
    let dry = world.json("gc --dry-run");
    assert!(dry["unfinished"].as_u64().unwrap() > 0, "{dry}");
    assert_eq!(world.json("gc")["unfinished"], dry["unfinished"]);
    assert_eq!(world.json("gc --dry-run")["unfinished"], 0);
    world.assert_no_leftovers();
    assert_same(&before, &store_tree(&world.path("store")), "after the gc");
    world.ok("check --read-data");
}

fn a_killed_import_does_not_hinder_the_next(world: &World) {
    large(world);
    let mut child = begin_import(world);
    child.kill().unwrap();
    child.wait().unwrap();
    world.ok("--lock-timeout 20s import --all hello");
    world.ok("rm v1");
    world.ok("rm latest");
    world.ok("gc");
    world.assert_no_leftovers();
    assert_eq!(world.blob_files(), [""; 0]);
}

fn gc_full_removes_strays_and_nothing_of_the_living(world: &World) {
    world.ok("import --all hello");
    large(world);
    let import = begin_import(world);
    let (live, ingest) = (world.names("store/.oci-store/ingest"), world.path("store/.oci-store/ingest"));
    assert_eq!(live.len(), 1);
    fs::write(ingest.join("empty"), b"").unwrap();
    fs::write(ingest.join("1"), b"stray").unwrap();
    fs::create_dir_all(ingest.join("Strange Name/below")).unwrap();
    fs::write(ingest.join("Strange Name/file"), b"stray").unwrap();
    fs::create_dir_all(ingest.join("0-1-0/below")).unwrap();
    fs::write(ingest.join("0-1-0/below/file"), b"stray").unwrap();
    std::os::unix::fs::symlink("..", ingest.join("link")).unwrap();
    world.ok("gc --full");
    assert_eq!(world.names("store/.oci-store/ingest"), live);
    assert!(staged(world) > 1 << 20);
    signal(&import, "KILL");
    Ran::ended("import", import);
    world.ok("gc");
    world.assert_no_leftovers();
    world.ok("check --read-data");
}

fn a_kill_at_any_moment_of_any_command_loses_nothing(world: &World) {
    world.ok("import --sref v1 --dref kept hello");
    let commands =
        ["import --all hello", "tag latest other", "gc", "rm v1", "rename latest moved", "gc --full", "rm moved"];
    for (n, words) in commands.iter().cycle().take(5 * commands.len()).enumerate() {
        let mut child = world.spawn(words);
        std::thread::sleep(Duration::from_millis(u64::try_from(n * 7 % 23).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        // No repair by hand: whatever comes next works, and sees refs that are whole.
        world.ok("check --read-data");
        assert_eq!(world.refs(), world.refs_in_index_json(), "after {words}");
    }
    world.ok("gc");
    world.assert_no_leftovers();
    let known: Vec<String> = world.json("blobs").as_array().unwrap().iter().map(digest_of).collect();
    assert_eq!(world.blob_files(), known);
    assert!(world.refs().iter().any(|(name, _)| name == "kept"));
}

fn a_kill_while_the_store_is_made_leaves_what_the_next_command_completes(world: &World) {
    for n in 0..12 {
        let words = format!("--store-path new{n} --index {} import --all hello", world.index);
        let mut child = world.spawn(&words);
        std::thread::sleep(Duration::from_millis(n * 2));
        child.kill().unwrap();
        child.wait().unwrap();
        world.ok(&words);
        world.ok(&format!("--store-path new{n} gc"));
        world.ok(&format!("--store-path new{n} check --read-data"));
        assert_eq!(world.names(&format!("new{n}/.oci-store/leases")), [""; 0]);
    }
}
