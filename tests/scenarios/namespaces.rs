//! What lies around a process: mounts, process ids.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::other::is_root;
use crate::common::tree::{assert_same, store_tree};
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(
    a_read_only_mount_is_read_by_the_folder,
    a_lease_of_another_pid_namespace_is_live_and_a_number_that_lives_again_saves_none,
);

/// `sh -c LINE` in new namespaces, with `$0` the binary; `None` and a word of why, where that is not to be had.
fn unshared(world: &World, namespaces: &str, line: &str) -> Option<Command> {
    let mut probe = Command::new("unshare");
    let probed = probe.args(namespaces.split(' ')).arg("true").stderr(Stdio::null()).status();
    if !is_root() || !probed.is_ok_and(|status| status.success()) {
        println!("skipped: it takes root, and unshare");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(namespaces.split(' ')).args(["sh", "-c", line, env!("CARGO_BIN_EXE_oci-store")]);
    command.current_dir(world.root()).env("OCI_STORE_PATH", "store").env_remove("RUST_LOG").stdin(Stdio::null());
    Some(command)
}

fn a_read_only_mount_is_read_by_the_folder(world: &World) {
    world.ok("import --all hello");
    let before = store_tree(&world.path("store"));
    // Root has every right, but none to write here.
    let mount = "mount --bind store store && mount -o remount,ro,bind store store && ";
    for words in
        ["inspect v1", "inspect --raw latest", "cat v1", "check", "check --read-data v1", "--format json inspect v1"]
    {
        let Some(mut command) = unshared(world, "-m", &format!("{mount} exec \"$0\" {words}")) else { return };
        let ran = Ran::of(&mut command);
        assert_eq!(ran.ok(), world.ok(words), "{words}");
    }
    let run = |words: &str| Ran::of(&mut unshared(world, "-m", &format!("{mount} exec \"$0\" {words}")).unwrap());
    assert_eq!(run("list").ok().lines().count(), 3);
    run("export v1 out").ok();
    for words in ["gc", "tag v1 v2", "rm v1", "import --sref v1 --dref v2 hello", "reindex", "blobs"] {
        let error = run(words).fails(1);
        assert!(error.contains("write"), "{words}: {error}");
    }
    assert_same(&before, &store_tree(&world.path("store")), "read only");
}

/// A lease rests on its lock: the number in it is for people, and may be anybody's by now.
fn a_lease_of_another_pid_namespace_is_live_and_a_number_that_lives_again_saves_none(world: &World) {
    // Reads from a FIFO, so that it is in the middle for as long as this test wants.
    let staged = || {
        let folders = fs::read_dir(world.path("store/.oci-store/ingest")).unwrap();
        folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).into_iter().flatten()).count()
    };
    super::end::large(world);
    let line = "exec \"$0\" import large";
    let Some(mut command) = unshared(world, "-p -f --kill-child", line) else { return };
    let mut import = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the import has begun", || staged() > 0);
    let leases = world.names("store/.oci-store/leases");
    let about = fs::read_to_string(world.path("store/.oci-store/leases").join(&leases[0])).unwrap();
    assert!(about.starts_with("pid=1 "), "{about}");
    world.ok("gc");
    world.ok("gc --full");
    assert_eq!(world.names("store/.oci-store/leases"), leases);
    assert!(staged() > 0);
    import.kill().unwrap();
    import.wait().unwrap();

    // Its number is 1, and that process is alive; so is this test's.
    wait_until("its lock is gone", || {
        world.ok("gc");
        world.names("store/.oci-store/leases").is_empty()
    });
    let lease = world.path("store/.oci-store/leases/18b1e6f6a1b2c3d4-1-0");
    fs::write(&lease, format!("pid={} import\n", std::process::id())).unwrap();
    world.ok("gc");
    world.assert_no_leftovers();
}
