//! What a command asks the kernel for, and what it makes of the answers: seen, and changed, by strace.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::common::layout::copy;
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(a_signal_ends_no_wait_for_a_lock, the_names_of_all_folders_above_a_new_store_are_synced,);

/// `oci-store WORDS` under strace with these options; `None` and a word of why, where that is not to be had.
fn traced(world: &World, options: &str, words: &str) -> Option<Command> {
    let probed = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !probed.is_ok_and(|status| status.success()) {
        println!("skipped: it takes strace");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options.split(' ')).arg(env!("CARGO_BIN_EXE_oci-store"));
    command.args(words.split(' ')).current_dir(world.root()).env("OCI_STORE_PATH", "store").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

/// The program lets the kernel go on with what a signal interrupts; a program that uses the library may not. Here every
/// other flock of each thread is answered as it is then.
fn a_signal_ends_no_wait_for_a_lock(world: &World) {
    let interrupted =
        |words: &str| traced(world, "-o /dev/null -e trace=flock -e inject=flock:error=EINTR:when=1+2", words);
    copy(&world.path("hello"), &world.path("copy"));
    fs::remove_dir_all(world.path("store/.oci-store/reserve")).unwrap();
    for words in [
        "import --all hello",
        "tag v1 v2",
        "export v1 out",
        "export latest out",
        "list",
        "lease ls",
        "rm v2",
        "gc --full",
        "reindex",
        &format!("--index {} adopt copy", world.index),
    ] {
        let Some(mut command) = interrupted(words) else { return };
        Ran::of(&mut command).ok();
    }
    assert_eq!(world.names("store/.oci-store/reserve").len(), 8);

    let path = world.path("store/.oci-store/locks/writer");
    let held = File::options().write(true).open(&path).unwrap();
    held.lock().unwrap();
    let waiting = interrupted("tag v1 v2").unwrap().spawn().unwrap();
    let inode = format!(":{}", held.metadata().unwrap().ino());
    let is_waiting = |line: &str| line.contains("->") && line.split(' ').any(|word| word.ends_with(&inode));
    wait_until("it waits", || fs::read_to_string("/proc/locks").unwrap().lines().any(is_waiting));
    drop(held);
    Ran::ended("tag", waiting).ok();
    assert_eq!(world.digest("v2"), world.digest("v1"));
}

fn the_names_of_all_folders_above_a_new_store_are_synced(world: &World) {
    let words = format!("--store-path a/b/store --index {} import --all hello", world.index);
    let Some(mut command) = traced(world, "-o trace -y -e trace=fsync", &words) else { return };
    Ran::of(&mut command).ok();
    let trace = String::from_utf8(world.read("trace")).unwrap();
    let root = world.root().canonicalize().unwrap();
    for folder in [root.join("a/b/store"), root.join("a/b"), root.join("a"), root] {
        assert!(trace.contains(&format!("<{}>", folder.display())), "{}: {trace}", folder.display());
    }
}
