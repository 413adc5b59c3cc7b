//! Stores of other people: one that a group shares, and one that may only be read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::other::Other;
use crate::common::tree::{assert_same, blobs_of, store_tree};
use crate::common::{World, over_each_index};

over_each_index!(
    two_users_of_one_group_share_a_store,
    what_one_of_a_group_wrote_another_removes,
    what_the_group_lacks_its_owner_adds,
    a_layout_that_a_group_adopts_is_the_groups,
    a_source_that_may_not_be_read_is_not_called_no_layout,
    every_file_has_its_mode_whatever_the_umask,
    who_may_only_read_a_store_reads_it_by_its_folder,
);

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
    let digest = world.digest("v1");
    let named = |out: String| out.split_whitespace().filter(|word| word.starts_with("sha256:")).count();
    assert_eq!(named(other.run("list").ok()), 2);
    assert_eq!(named(other.run("list v").ok()), 1);
    for words in [
        "inspect latest",
        "inspect --raw latest",
        "cat v1",
        "--format json inspect v1",
        "check",
        "check v1",
        "referrers v1",
        &format!("resolve {}", &digest[7..14]),
        &format!("resolve {}", &digest[..14]),
        &format!("resolve {digest}"),
    ] {
        assert_eq!(other.run(words).ok(), world.ok(words), "{words}");
    }
    other.run("check --read-data").ok();
    other.run("export latest theirs/out").ok();
    other.run("export v1 theirs/out").ok();
    assert_eq!(blobs_of(&world.path("theirs/out")), blobs_of(&world.path("hello")));
    for (words, code) in [("resolve 0", 2), ("resolve v1", 2), ("resolve 00000000", 4)] {
        assert_eq!(other.run(words).fails(code), world.fails(code, words));
    }
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
        "stats",
        "du",
        "why v1",
        "tree v1",
        "diff v1 latest",
        "find",
        "log",
        "undo",
        "lease ls",
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

/// Neither of the two is root, and neither made the other's files.
fn what_one_of_a_group_wrote_another_removes(world: &World) {
    let Some((ann, bob)) = two_of_a_group(world) else { return };
    let Some(eve) = Other::find(world, 54_323, 54_323) else { return };
    // By umask 077 for each: what they share does not depend on it.
    let of = |who: &Other<'_>, words: &str| {
        crate::common::Ran::of(&mut who.shell("umask 077", &format!("--store-path ours/store {words}")))
    };
    of(&ann, &format!("--shared --index {} import --all copy", world.index)).ok();
    for (one, other) in [(&ann, &bob), (&bob, &ann)] {
        of(one, "import --sref v1 --dref one copy").ok();
        of(other, "tag one other").ok();
        of(other, "rm one").ok();
        of(one, "rm other").ok();
        of(other, "rm v1 latest").ok();
        of(other, "gc --full").ok();
        assert_eq!(blobs_of(&world.path("ours/store")), [""; 0]);
        of(one, "import --all copy").ok();
        of(other, "reindex").ok();
        of(one, "data set a b c").ok();
        of(other, "data rm a b").ok();
        // One is killed, and the other clears away what was left.
        let mut killed = one.shell("umask 077", "--store-path ours/store import --sref v1 --dref v1 copy");
        let mut killed = killed.stdout(std::process::Stdio::null()).spawn().unwrap();
        killed.kill().unwrap();
        killed.wait().unwrap();
        of(other, "gc").ok();
        assert_eq!(world.names("ours/store/.oci-store/leases"), [""; 0]);
        assert_eq!(world.names("ours/store/.oci-store/ingest"), [""; 0]);
        of(other, "check --read-data").ok();
    }
    for words in ["list", "import --all copy", "gc", "cat v1", "reindex"] {
        let error = of(&eve, words).fails(1);
        assert!(error.contains("ours/store"), "{words}: {error}");
    }
    of(&bob, "check --read-data").ok();
    assert_modes(&world.path("ours/store"), true);
}

/// Two users who are not root, in a folder of their group, `ours`.
fn two_of_a_group(world: &World) -> Option<(Other<'_>, Other<'_>)> {
    const GROUP: u32 = 54_320;
    let ann = Other::find(world, 54_321, GROUP)?;
    let bob = Other::find(world, 54_322, GROUP)?;
    fs::create_dir(world.path("ours")).unwrap();
    std::os::unix::fs::chown(world.path("ours"), None, Some(GROUP)).unwrap();
    chmod(&world.path("ours"), 0o2770);
    Some((ann, bob))
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Killed between making something and setting its mode, or with other tools that set none.
fn what_the_group_lacks_its_owner_adds(world: &World) {
    let Some((ann, bob)) = two_of_a_group(world) else { return };
    let of = |who: &Other<'_>, words: &str| who.run(&format!("--store-path ours/store {words}"));
    of(&ann, &format!("--shared --index {} import --sref v1 copy", world.index)).ok();
    let store = world.path("ours/store");

    // A lease that is being made, and a batch of a dead one, are no obstacle, though nobody else may look at them.
    let by_ann = |line: &str| assert!(ann.shell(line, "--version").status().unwrap().success());
    let left = "umask 077; cd ours/store/.oci-store; echo > leases/1-1-1.tmp; mkdir ingest/1-1-2; cd ../../..";
    by_ann(left);
    of(&bob, "gc").ok();
    assert_eq!(world.names("ours/store/.oci-store/leases"), ["1-1-1.tmp"]);
    assert_eq!(world.names("ours/store/.oci-store/ingest"), [""; 0]);
    of(&ann, "gc").ok();
    assert_eq!(world.names("ours/store/.oci-store/leases"), [""; 0]);

    // Who reads goes on without a lock that is lacking; who writes is told which it is, until its owner comes by.
    let lock = store.join(".oci-store/locks/projection");
    chmod(&lock, 0o600);
    fs::remove_file(store.join(".oci-store/projection.json")).unwrap();
    let ran = of(&bob, "list -q");
    assert!(ran.err().contains("locks/projection"), "{}", ran.err());
    assert_eq!(ran.ok_with_warnings(), "v1\n");
    let ran = of(&bob, "tag v1 v2");
    assert!(
        ran.code() == Some(1) && ran.err().contains("error: ours/store/.oci-store/locks/projection"),
        "{}",
        ran.err()
    );
    chmod(&store.join("blobs/sha256"), 0o750);
    of(&ann, "list").ok();
    of(&bob, "tag v1 v2").ok();
    of(&bob, "import --all copy").ok();

    // Another tool's index.json that only its user may read.
    by_ann("umask 077; cd ours/store; printf '{\"schemaVersion\":2,\"manifests\":[]}' > x; mv x index.json; cd ../..");
    let ran = of(&bob, "list -q");
    assert!(ran.err().contains("index.json"), "{}", ran.err());
    assert_eq!(ran.ok_with_warnings(), "latest\nv1\nv2\n");
    of(&ann, "list").ok();
    of(&bob, "rm v2").ok();
    assert_modes(&store, true);
}

fn a_layout_that_a_group_adopts_is_the_groups(world: &World) {
    let Some((ann, bob)) = two_of_a_group(world) else { return };
    for umask in ["022", "077"] {
        let store = format!("ours/by{umask}");
        let line = format!("umask {umask}; cp -r copy {store}");
        assert!(ann.shell(&line, "--version").status().unwrap().success());
        ann.run(&format!("--shared --index {} adopt {store}", world.index)).ok();
        let of = |who: &Other<'_>, words: &str| who.run(&format!("--store-path {store} {words}")).ok();
        of(&bob, "check --read-data");
        of(&bob, "tag v1 v2");
        of(&bob, "rm v1 latest v2");
        of(&bob, "gc");
        of(&bob, "import --all copy");
        of(&ann, "check --read-data");
    }
}

fn a_source_that_may_not_be_read_is_not_called_no_layout(world: &World) {
    let Some(other) = Other::find(world, NOBODY, NOBODY) else { return };
    chmod(&world.path("copy"), 0o700);
    for words in ["import --all copy", "import --all oci:copy", "adopt copy"] {
        let error = other.run(&format!("--store-path theirs/store --index {} {words}", world.index)).fails(1);
        assert!(error.contains("copy/index.json: Permission denied"), "{words}: {error}");
    }
}

/// As the design says: 2770, 660 and 440 for a group, 700, 600 and 400 for one. What other tools read is readable by
/// who may enter.
fn assert_modes(store: &Path, shared: bool) {
    let (folder, file, blob) = if shared { (0o2770, 0o660, 0o440) } else { (0o700, 0o600, 0o400) };
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(store), folder, "{}", store.display());
    let files = crate::common::tree::tree(store);
    assert!(files.len() > 15);
    for name in files.keys() {
        let wanted = match name.as_str() {
            "index.json" | "oci-layout" | ".oci-store/projection.json" => file | 0o444,
            name if name.ends_with('/') => folder,
            name if name.starts_with("blobs/") => blob,
            _ => file,
        };
        let found = mode(&store.join(name));
        assert_eq!(found, wanted, "{name}: {found:o}, not {wanted:o}");
    }
}

fn every_file_has_its_mode_whatever_the_umask(world: &World) {
    let bin = env!("CARGO_BIN_EXE_oci-store");
    for umask in ["000", "022", "077"] {
        for shared in [false, true] {
            let store = format!("s{umask}{shared}");
            let run = |words: &str| {
                let mut shell = std::process::Command::new("sh");
                let line = format!("umask {umask}; exec \"$0\" --store-path {store} {words}");
                crate::common::Ran::of(shell.args(["-c", &line, bin]).current_dir(world.root())).ok()
            };
            let option = if shared { "--shared" } else { "" };
            run(&format!("{option} --index {} import --all hello", world.index));
            run("tag v1 v2");
            run("reindex");
            run("gc --full");
            assert_modes(&world.path(&store), shared);
        }
    }
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
