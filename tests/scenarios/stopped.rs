//! Readers that stand still, and hundreds at once.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;

use oci_store::{Condition, Extent};

use crate::common::layout::{Builder, digest, digest_of};
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(
    a_reader_that_is_stopped_goes_on_with_the_right_bytes,
    a_view_that_is_held_long_sees_what_it_saw_and_the_index_stays_small_enough,
    hundreds_of_readers_at_once_are_all_served,
    hundreds_of_threads_share_one_store,
);

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

fn a_reader_that_is_stopped_goes_on_with_the_right_bytes(world: &World) {
    let mut layout = Builder::new(world.path("large"));
    let content: Vec<u8> = (0..6_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).take(8 << 20).collect();
    let image = layout.image(&[&content]);
    layout.add(image, Some("large"));
    world.ok("import --all large");
    let layer = digest_of(&world.json("inspect large")["layers"][0]);

    let mut reader = world.spawn(&format!("cat {layer}"));
    let mut out = reader.stdout.take().unwrap();
    let mut got = vec![0; 1 << 20];
    out.read_exact(&mut got).unwrap();
    signal(&reader, "STOP");
    world.ok("rm large");
    world.ok("gc --full");
    assert_eq!(world.blob_files(), [""; 0]);
    world.ok("import --all hello");
    for round in 0..20 {
        world.ok(&format!("tag v1 t{round}"));
    }
    if cfg!(all(feature = "lmdb", feature = "sqlite")) {
        let other = if world.index == "lmdb" { "sqlite" } else { "lmdb" };
        world.ok(&format!("index convert --to {other}"));
    }
    world.ok("reindex");
    signal(&reader, "CONT");
    out.read_to_end(&mut got).unwrap();
    drop(out);
    Ran::ended("cat", reader).ok();
    assert_eq!(digest(&got), layer);
    world.ok("check --read-data");
}

/// By the library: only there can a view be held. What it sees is kept from being used again, so the index grows by
/// what is changed meanwhile, and no more when the view is over.
fn a_view_that_is_held_long_sees_what_it_saw_and_the_index_stays_small_enough(world: &World) {
    world.ok("import --all hello");
    let store = oci_store::options().open(world.path("store")).unwrap();
    // Looked at, not opened: in this process that would end the locks of the index.
    let size = || -> u64 {
        let folders = fs::read_dir(world.path("store/.oci-store/index")).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let name = "moving".parse().unwrap();
    let update = |count: usize| {
        for round in 0..count {
            let target = if round % 2 == 0 { "v1" } else { "latest" };
            store.tag(target, &name, Condition::Any).unwrap();
        }
    };
    update(20);
    store.gc(Extent::Changed, false).unwrap();
    let before = size();
    let blobs = |view: oci_store::base::View<'_>| view.blobs(&Default::default(), None, 99).map(|blobs| blobs.len());
    let held = store.base().view(|view| -> oci_store::base::Result<u64> {
        let count = blobs(view)?;
        thread::scope(|scope| {
            // Of other threads: this one is in its view.
            scope.spawn(|| {
                update(1000);
                store.gc(Extent::Full, false).unwrap();
            });
        });
        if cfg!(all(feature = "lmdb", feature = "sqlite")) {
            let other = if world.index == "lmdb" { "sqlite" } else { "lmdb" };
            world.ok("rm v1");
            world.ok("rm latest");
            world.ok("rm moving");
            world.ok(&format!("index convert --to {other}"));
            world.ok("gc --full");
            assert_eq!(world.blob_files(), [""; 0]);
        }
        assert_eq!(blobs(view)?, count);
        Ok(size())
    });
    let grown = held.unwrap() - before;
    // Some pages an update, each 4 KiB. The other index, if there is one, is new.
    assert!(grown < 64 << 20, "{before} B, and {grown} B more while the view was held");
    let then = size();
    world.ok("import --all hello");
    update(1000);
    assert!(size() < then + (8 << 20), "{then} B when the view was over, {} B after as many updates", size());
    world.ok("check --read-data");
}

/// LMDB has a table of readers; SQLite none. Each of these has a view of its own, all at once.
fn hundreds_of_readers_at_once_are_all_served(world: &World) {
    world.ok("import --all hello");
    let expected = world.ok("--format json list");
    let spawn = |n: usize| {
        let words: &[&str] = [&["--format", "json", "list"][..], &["cat", "v1"], &["check"]][n % 3];
        let mut command = world.oci_store();
        (n, command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let readers: Vec<_> = (0..300).map(spawn).collect();
    world.ok("tag v1 v1");
    for (n, reader) in readers {
        let out = Ran::ended("a reader", reader).ok();
        // A time may have changed.
        assert!(n % 3 != 0 || out.lines().count() == expected.lines().count(), "{out}");
    }
}

fn hundreds_of_threads_share_one_store(world: &World) {
    world.ok("import --all hello");
    let store = oci_store::options().open(world.path("store")).unwrap();
    // All are within their view at the same time; meanwhile others read and write.
    let (inside, leave) = (Barrier::new(301), Barrier::new(301));
    thread::scope(|scope| {
        for _ in 0..300 {
            scope.spawn(|| {
                let seen = store.base().view(|view| {
                    inside.wait();
                    leave.wait();
                    view.blobs(&Default::default(), None, 99)
                });
                assert_eq!(seen.unwrap().len(), 7);
            });
        }
        inside.wait();
        world.ok("list");
        world.ok("tag v1 v2");
        world.ok("gc --full");
        leave.wait();
    });
    drop(store);
    wait_until("all are done", || world.run("check --read-data").code() == Some(0));
}
