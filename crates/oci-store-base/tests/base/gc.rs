//! Garbage collection.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_store_base::{
    Collected, Condition, Extent, FileLocks, Guard, Lease, LeaseHold, Link, Lock, Locks, Mode, Result, Space, Wait,
};
use oci_store_cas::Access;

use crate::common::{
    REF, assert_blobs, benches, collect, digest, drop_ref, files, gc, has_row, link, loose, put, rows, settle, write,
};

#[test]
fn a_dry_run_says_what_the_real_one_takes() {
    for extent in [Extent::Changed, Extent::Full] {
        for bench in benches() {
            let store = bench.open();
            settle(&store);
            let root = put(&store, "r", b"root");
            let child = loose(&store, b"child");
            link(&store, &root, &[(&child, Link::Needs)]);
            put(&store, "kept", b"kept");
            gc(&store);
            drop_ref(&store, "r");
            loose(&store, b"loose");
            // One whose row went earlier, one that is leased, one that only a dead lease names, one that nobody does.
            loose(&store, b"pending");
            collect(&store, Extent::Changed);
            loose(&store, b"loose again");
            put(&store, "r2", b"root 2");
            drop_ref(&store, "r2");
            let lease = store.lease("test").unwrap();
            write(&lease, b"leased");
            dead_with_a_file(&store, b"buried");
            fs::write(store.root().join("blobs/sha256").join("0".repeat(64)), b"orphan").unwrap();

            let (rows_before, files_before) = (rows(&store), files(&store));
            let leases = crate::common::names(&bench.own().join("leases"));
            let told = store.collect(&[REF], extent, true).unwrap();
            assert_eq!((rows(&store), files(&store)), (rows_before, files_before), "{}", bench.name);
            assert_eq!(crate::common::names(&bench.own().join("leases")), leases);
            assert_eq!(store.collect(&[REF], extent, true).unwrap(), told);

            collect(&store, extent);
            assert_eq!(store.unlink_pending().unwrap(), told, "{} {extent:?}", bench.name);
            assert_eq!(store.collect(&[REF], extent, true).unwrap(), Collected::default());
            let left: BTreeSet<_> = [digest(b"kept"), digest(b"leased")].into();
            assert_eq!(rows(&store), left);
            drop(lease);
        }
    }
}

/// What a process leaves that dies between making a file visible and giving it a row.
fn dead_with_a_file(store: &oci_store_base::Store, bytes: &[u8]) {
    let name = digest(bytes);
    fs::write(store.root().join("blobs/sha256").join(name.encoded()), bytes).unwrap();
    fs::write(store.own_folder().join("leases/dead-1"), format!("pid=1 test\n{name}\n")).unwrap();
}

#[test]
fn a_crash_between_the_halves() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let digest = loose(&store, b"garbage");
        assert_eq!(collect(&store, Extent::Changed).blobs, 1);
        drop(store);
        let store = bench.open();
        assert!(!has_row(&store, &digest) && files(&store).contains(&digest));
        assert_eq!(collect(&store, Extent::Changed), Collected::default());
        assert_eq!(store.unlink_pending().unwrap(), Collected { blobs: 1, bytes: 7, ..Collected::default() });
        assert_blobs(&store, &[]);
        assert_eq!(store.unlink_pending().unwrap(), Collected::default());
    }
}

#[test]
fn what_is_published_again_while_pending_stays() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let digest = loose(&store, b"back");
        collect(&store, Extent::Changed);
        put(&store, "r", b"back");
        for extent in [Extent::Changed, Extent::Full] {
            assert_eq!(store.collect(&[REF], extent, true).unwrap(), Collected::default());
        }
        assert_eq!(store.unlink_pending().unwrap(), Collected::default());
        assert_blobs(&store, &[&digest]);
        // Nor is it pending any more.
        assert_eq!(store.collect(&[REF], Extent::Full, true).unwrap(), Collected::default());
        drop_ref(&store, "r");
        assert_eq!(gc(&store).blobs, 1);
    }
}

#[test]
fn what_is_pending_and_leased_stays_until_the_lease_ends() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let digest = loose(&store, b"file");
        collect(&store, Extent::Changed);
        let lease = store.lease("test").unwrap();
        lease.name(std::slice::from_ref(&digest)).unwrap();
        assert_eq!(store.unlink_pending().unwrap(), Collected::default());
        assert_eq!(store.unlink_orphans().unwrap(), Collected::default());
        assert!(files(&store).contains(&digest));
        drop(lease);
        assert_eq!(gc(&store).blobs, 1);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn more_than_a_transaction_takes() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let folder = store.root().join("blobs/sha256");
        fs::create_dir_all(&folder).unwrap();
        let name = |n: usize| digest(&n.to_be_bytes());
        for n in 0..1700 {
            fs::write(folder.join(name(n).encoded()), n.to_be_bytes()).unwrap();
        }
        // A chain, so that what comes up in one transaction goes on in the next.
        let (store, ..) = bench
            .options()
            .reindex(bench.root(), |rebuild| {
                rebuild.update(|txn| {
                    for n in 0..1699 {
                        txn.add_edges(&name(n), "chain", &[crate::common::edge(&name(n + 1), Link::Needs)])?;
                    }
                    txn.set_data(Space::Store, REF, "head", b"", Some(&name(0)), Condition::Any)?;
                    txn.set_data(Space::Store, REF, "tail", b"", Some(&name(1690)), Condition::Any)
                })
            })
            .unwrap();
        assert_eq!(collect(&store, Extent::Changed), Collected::default(), "{}", bench.name);
        drop_ref(&store, "head");
        assert_eq!(collect(&store, Extent::Changed).blobs, 1690, "{}", bench.name);
        assert_eq!(store.unlink_pending().unwrap().blobs, 1690);
        assert_eq!((rows(&store).len(), files(&store).len()), (10, 10));
        assert_eq!(collect(&store, Extent::Full), Collected::default());
    }
}

/// The locks of another boot, which was then.
#[derive(Debug)]
struct Rebooted(FileLocks, Option<SystemTime>);

impl Locks for Rebooted {
    fn lock(&self, lock: Lock, mode: Mode, wait: Wait) -> Result<Box<dyn Guard>> {
        self.0.lock(lock, mode, wait)
    }
    fn lease(&self, purpose: &str) -> Result<Box<dyn LeaseHold>> {
        self.0.lease(purpose)
    }
    fn leases(&self) -> Result<Vec<Lease>> {
        self.0.leases()
    }
    fn boot(&self) -> u64 {
        self.0.boot() + 1
    }
    fn booted(&self) -> Option<SystemTime> {
        self.1
    }
}

#[test]
fn the_first_after_a_boot_is_full() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let kept = put(&store, "r", b"kept");
        // What a power loss may leave: a file that nobody names.
        let orphan = digest(b"orphan");
        fs::write(store.root().join("blobs/sha256").join(orphan.encoded()), b"orphan").unwrap();
        assert_eq!(gc(&store), Collected::default());
        drop(store);

        let own = bench.own();
        let boot = SystemTime::now() + Duration::from_secs(1);
        let locks = Rebooted(FileLocks::new(own.join("locks"), own.join("leases"), Access::Private), Some(boot));
        let store = bench.options().locks(Arc::new(locks)).open(bench.root()).unwrap();
        let told = store.collect(&[REF], Extent::Changed, true).unwrap();
        assert_eq!(told, Collected { blobs: 1, bytes: 6, ..Collected::default() }, "{}", bench.name);
        assert_eq!(gc(&store), told);
        assert_blobs(&store, &[&kept]);
        // And only the first.
        fs::write(store.root().join("blobs/sha256").join(orphan.encoded()), b"orphan").unwrap();
        assert_eq!(gc(&store), Collected::default());
        assert_eq!(store.unlink_orphans().unwrap().blobs, 1);
    }
}

/// It may be a file that another tool, which lives, is about to list.
#[test]
fn the_first_after_a_boot_leaves_files_that_came_since() {
    let hour = Duration::from_secs(3600);
    for boot in [None, Some(SystemTime::now() - hour)] {
        for bench in benches() {
            let own = bench.own();
            let store = bench.open();
            settle(&store);
            let folder = store.root().join("blobs/sha256");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(digest(b"young").encoded()), b"young").unwrap();
            drop(store);
            let locks = Rebooted(FileLocks::new(own.join("locks"), own.join("leases"), Access::Private), boot);
            let store = bench.options().locks(Arc::new(locks)).open(bench.root()).unwrap();
            assert_eq!(store.collect(&[REF], Extent::Changed, true).unwrap(), Collected::default(), "{}", bench.name);
            assert_eq!(gc(&store), Collected::default(), "{}", bench.name);
            assert!(files(&store).contains(&digest(b"young")));
            // Whoever asks for everything gets it.
            assert_eq!(store.collect(&[REF], Extent::Full, true).unwrap().blobs, 1);
            assert_eq!(collect(&store, Extent::Full).blobs, 1);
            store.unlink_pending().unwrap();
            assert!(!files(&store).contains(&digest(b"young")));
        }
    }
}

#[test]
fn this_boot_was_before_now_and_after_the_machine_was_made() {
    let boot = FileLocks::new("locks".into(), "leases".into(), Access::Private).booted().unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime = Duration::from_secs_f64(uptime.split(' ').next().unwrap().parse().unwrap());
    let age = SystemTime::now().duration_since(boot).unwrap();
    assert!(age.abs_diff(uptime) < Duration::from_secs(5), "{age:?} {uptime:?}");
}

#[test]
fn orphans_go_but_not_leased_ones() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let kept = put(&store, "r", b"kept");
        let [orphan, leased] = [digest(b"orphan"), digest(b"leased")];
        for bytes in ["orphan", "leased"] {
            fs::write(store.root().join("blobs/sha256").join(digest(bytes.as_bytes()).encoded()), bytes).unwrap();
        }
        let lease = store.lease("test").unwrap();
        lease.name(std::slice::from_ref(&leased)).unwrap();
        assert_eq!(store.unlink_orphans().unwrap(), Collected { blobs: 1, bytes: 6, ..Collected::default() });
        assert!(!files(&store).contains(&orphan));
        settle(&store);
        assert_eq!(files(&store), [kept.clone(), leased].into());
        drop(lease);
        settle(&store);
        assert_blobs(&store, &[&kept]);
    }
}

/// Every way in which a blob may lose its last keeper, by a plain gc.
#[test]
fn a_stray_file_among_the_leases_is_left_alone() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let leases = bench.own().join("leases");
        fs::write(leases.join(".nfs0000ABCD"), b"\xff\xfe").unwrap();
        fs::write(leases.join("dead-1"), b"\xff\xff\n\0\0\0").unwrap();
        fs::write(leases.join("dead-2.tmp"), b"").unwrap();
        loose(&store, b"loose");
        assert_eq!(gc(&store).blobs, 1);
        assert_eq!(crate::common::names(&leases), [".nfs0000ABCD"]);
    }
}

#[test]
fn a_dead_lease_is_taken_over_once() {
    for bench in benches() {
        let store = bench.open();
        fs::write(bench.own().join("leases/dead-1"), b"pid=1 test\n").unwrap();
        let mine = store.leases().unwrap();
        assert!(mine[0].dead.is_some() && mine[0].about == "pid=1 test");
        // As long as it is looked after, others take it for live.
        assert!(store.leases().unwrap()[0].dead.is_none());
        drop(mine);
        for lease in store.leases().unwrap() {
            lease.dead.unwrap().remove().unwrap();
        }
        assert!(store.leases().unwrap().is_empty());
    }
}
