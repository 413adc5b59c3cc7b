//! Locks: how long one waits for them.

use std::fs;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use oci_store_base::{Error, FileLocks, Guard, Lease, LeaseHold, Lock, Locks, Mode, Result, Space, Wait};
use oci_store_cas::{Access, Digest};

use crate::child::{Here, Process, say, wait};
use crate::common::{any, benches, collect, digest, disk_benches, failure, loose, read, settle};

/// Locks with a pause behind each look at the leases.
#[derive(Debug)]
struct Slow(FileLocks, Barrier);

impl Locks for Slow {
    fn lock(&self, lock: Lock, mode: Mode, wait: Wait) -> Result<Box<dyn Guard>> {
        self.0.lock(lock, mode, wait)
    }
    fn lease(&self, purpose: &str) -> Result<Box<dyn LeaseHold>> {
        self.0.lease(purpose)
    }
    fn leases(&self) -> Result<Vec<Lease>> {
        let leases = self.0.leases();
        self.1.wait();
        std::thread::sleep(Duration::from_millis(150));
        leases
    }
    fn boot(&self) -> u64 {
        self.0.boot()
    }
}

/// The gc has read the leases and is about to unlink a file when somebody writes that blob again.
#[test]
fn a_write_between_the_leases_and_the_unlink() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let blob = loose(&store, b"again");
        collect(&store, oci_store_base::Extent::Changed);
        let own = bench.own();
        let files = FileLocks::new(own.join("locks"), own.join("leases"), Access::Private);
        let slow = Arc::new(Slow(files, Barrier::new(2)));
        let gc = bench.options().locks(slow.clone()).open(bench.root()).unwrap();
        std::thread::scope(|scope| {
            let unlink = scope.spawn(|| gc.unlink_pending().unwrap());
            slow.1.wait();
            let lease = store.lease("test").unwrap();
            assert_eq!(lease.write(any(), "", &mut &b"again"[..]).unwrap().digest, digest(b"again"), "{}", bench.name);
            unlink.join().unwrap();
            assert_eq!(read(&store, &blob), b"again");
        });
    }
}

#[test]
fn a_limit_names_lock_and_holder() {
    for bench in benches() {
        let store = bench.open();
        let limit = Some(Duration::from_millis(60));
        let hasty = bench.options().wait(Wait { limit }).open(bench.root()).unwrap();
        for lock in [Lock::Writer, Lock::Store] {
            let held = store.lock(lock, Mode::Alone).unwrap();
            let began = Instant::now();
            match failure(hasty.update(|txn| txn.count("n"))) {
                Error::LockTimeout { lock: name, waited, holder } => {
                    assert!(name.contains(lock.name()) && waited >= Duration::from_millis(60));
                    assert!(holder.unwrap().contains(&format!("process {}", std::process::id())));
                }
                other => panic!("{other}"),
            }
            assert!(began.elapsed() < Duration::from_secs(5));
            // Who reads waits for nobody.
            hasty.view(|view| view.data(Space::User, "k", "k")).unwrap();
            drop(held);
            hasty.update(|txn| txn.count("n")).unwrap();
        }
    }
}

#[test]
fn another_process_is_named_and_its_death_frees_the_lock() {
    for bench in disk_benches() {
        let store = bench.open();
        let hasty = bench.options().wait(Wait { limit: Some(Duration::from_millis(50)) }).open(bench.root()).unwrap();
        let mut child = Process::start(&bench, "lock");
        child.expect("locked");
        let error = failure(hasty.update(|txn| txn.count("n"))).to_string();
        assert!(error.contains("\"writer\"") && error.contains("held by process "), "{error}");
        child.kill();
        loose(&store, b"free");
    }
}

pub(crate) fn child_lock(here: Here) {
    let store = here.open();
    let _held = store.lock(Lock::Writer, Mode::Alone).unwrap();
    say("locked");
    wait();
}

#[test]
fn the_one_who_wants_the_store_alone_is_not_starved() {
    let bench = crate::common::Bench::new("memory");
    let store = bench.open();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    store.update(|txn| txn.count("n")).unwrap();
                }
            });
        }
        std::thread::sleep(Duration::from_millis(50));
        let began = Instant::now();
        for _ in 0..5 {
            bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        }
        let took = began.elapsed();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

/// Two that open the locks meet each other, also in one process; each claims as much as it likes by one open file.
#[test]
fn claims_exclude_each_other_and_are_one_open_file() {
    let folder = tempfile::tempdir().unwrap();
    let open = || FileLocks::new(folder.path().to_owned(), folder.path().to_owned(), Access::Private);
    let (one, other) = (open(), open());
    let digests: Vec<Digest> = (0..2000).map(|n: u32| digest(&n.to_le_bytes())).collect();
    let claim = |locks: &FileLocks, digest| locks.claim(digest).unwrap();
    let mut held: Vec<_> = digests.iter().map(|digest| claim(&one, digest).unwrap()).collect();
    assert!(digests.iter().all(|digest| claim(&one, digest).is_none() && claim(&other, digest).is_none()));
    let file = folder.path().join("claims");
    let open_files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    assert_eq!(open_files.filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file)).count(), 1);
    // What one lets go, and no more, the other may have.
    drop(held.swap_remove(0));
    let given = claim(&other, &digests[0]).unwrap();
    assert!(claim(&one, &digests[0]).is_none() && claim(&other, &digests[1]).is_none());
    drop((given, held));
    assert!(digests.iter().all(|digest| claim(&one, digest).is_some()));
    assert_eq!(fs::metadata(file).unwrap().len(), 0);
}
