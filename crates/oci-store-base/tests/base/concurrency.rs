//! Many at once: no lost record, no lost blob, no error, and nothing left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use oci_store_base::{Condition, Extent, Result, Space, Store};

use crate::child::{Here, Process, say, wait};
use crate::common::{REF, any, assert_blobs, benches, digest, disk_benches, drop_ref, gc, names, put, read};

const ROUNDS: usize = 40;

/// Writes, ties, unties, collects; some blobs are everybody's. Its records are at the end what it set last.
fn work(store: &Store, worker: &str, rounds: usize) -> Result<()> {
    for round in 0..rounds {
        let texts = [format!("shared {}", round % 3), format!("{worker} {round}")];
        for (n, text) in texts.iter().enumerate() {
            let key = format!("{worker}/{}", (round + n) % 4);
            let lease = store.lease("work")?;
            let blob = lease.write(any(), "text/plain", &mut text.as_bytes())?;
            store.update(|txn| {
                txn.set_data(Space::Store, REF, &key, text.as_bytes(), Some(&blob.digest), Condition::Any)
            })?;
            drop(lease);
            let data = store.view(|view| view.data(Space::Store, REF, &key))?.expect("nobody else removes it");
            assert_eq!(data.value, text.as_bytes());
            assert_eq!(read(store, &blob.digest), text.as_bytes());
            if (round + n) % 3 == 0 {
                store.update(|txn| txn.delete_data(Space::Store, REF, &key, Condition::Version(data.version)))?;
            }
        }
        let extent = if round % 5 == 4 { Extent::Full } else { Extent::Changed };
        store.collect(&[REF], extent, round % 4 == 3)?;
        store.unlink_pending()?;
        if round % 5 == 0 {
            store.unlink_orphans()?;
        }
    }
    Ok(())
}

/// Every record's blob is there, and after a gc nothing else.
fn check(store: &Store) {
    let records = store.view(|view| view.data_page(Space::Store, REF, "", None, 1000)).unwrap();
    assert!(!records.is_empty());
    for record in &records {
        let blob = record.blob.as_ref().unwrap();
        assert_eq!(*blob, digest(&record.value));
        assert_eq!(read(store, blob), record.value);
    }
    gc(store);
    let kept: Vec<_> = records.iter().map(|record| record.blob.as_ref().unwrap()).collect();
    assert_blobs(store, &kept);
    assert!(names(&store.own_folder().join("leases")).is_empty());
    assert!(names(&store.own_folder().join("ingest")).is_empty());
}

#[test]
fn eight_threads_share_a_store() {
    for bench in benches() {
        let store = bench.open();
        thread::scope(|scope| {
            for n in 0..8 {
                let store = &store;
                scope.spawn(move || work(store, &format!("thread {n}"), ROUNDS).unwrap());
            }
        });
        check(&store);
    }
}

#[test]
fn four_processes_share_a_store() {
    for bench in disk_benches() {
        bench.open();
        let mut children: Vec<Process> = (0..4).map(|_| Process::start(&bench, "work")).collect();
        for child in &mut children {
            child.expect("ready");
            child.go_on();
        }
        for mut child in children {
            child.expect("done");
            child.join();
        }
        check(&bench.open());
    }
}

/// Others convert the index to and fro, and build it anew, beside them.
#[test]
fn four_processes_and_a_convert() {
    for bench in disk_benches() {
        let store = bench.open();
        let mut children: Vec<Process> = (0..4).map(|_| Process::start(&bench, "work")).collect();
        for child in &mut children {
            child.expect("ready");
        }
        for child in &mut children {
            child.go_on();
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut converted = 0;
                while !done.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                    assert!(store.convert(["lmdb", "sqlite"][converted % 2]).unwrap() || converted == 0);
                    converted += 1;
                }
                assert!(converted > 2, "{converted}");
            });
            for mut child in children {
                child.expect("done");
                child.join();
            }
            done.store(true, Ordering::Relaxed);
        });
        check(&store);
    }
}

/// kill -9 at any moment: what was reported as done is there, and a gc removes what is left over.
#[test]
fn killed_at_any_moment() {
    for bench in disk_benches() {
        let store = bench.open();
        let kept = put(&store, "kept", b"kept");
        for round in 0..8_u64 {
            let mut child = Process::start(&bench, "work forever");
            child.expect("ready");
            child.go_on();
            thread::sleep(Duration::from_millis(3 + round * 7));
            gc(&store);
            child.kill();
            assert_eq!(read(&store, &kept), b"kept");
            work(&store, "survivor", 4).unwrap();
        }
        drop_ref(&store, "kept");
        check(&store);
    }
}

pub(crate) fn child_work_forever(here: Here) {
    let store = here.open();
    say("ready");
    wait();
    thread::scope(|scope| {
        for n in 0..2 {
            let store = &store;
            scope.spawn(move || {
                loop {
                    work(store, &format!("process {} {n}", std::process::id()), ROUNDS).unwrap();
                }
            });
        }
    });
}

pub(crate) fn child_work(here: Here) {
    let store = here.open();
    say("ready");
    wait();
    thread::scope(|scope| {
        for n in 0..2 {
            let store = &store;
            scope.spawn(move || work(store, &format!("process {} {n}", std::process::id()), ROUNDS).unwrap());
        }
    });
    say("done");
}
