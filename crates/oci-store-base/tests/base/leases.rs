//! Leases: what they keep, and what is left of them.

use std::fs;
use std::io::Read;
use std::sync::Barrier;
use std::thread;

use oci_store_base::{Collected, Condition, Error, Extent, NewBlob, Space};

use crate::child::{Here, Process, say, wait};
use crate::common::{
    REF, any, assert_blobs, benches, collect, digest, disk_benches, drop_ref, failure, files, gc, has_row, names, put,
    read, rows, set_ref, settle, write,
};

fn new(bytes: &[u8]) -> NewBlob {
    NewBlob { digest: digest(bytes), size: bytes.len() as u64, media_type: "text/plain".to_owned() }
}

fn stage(lease: &oci_store_base::LeaseGuard, bytes: &[u8]) {
    lease.stage(&digest(bytes), bytes.len() as u64, &mut &bytes[..], &mut |_| Ok(())).unwrap();
}

#[test]
fn a_live_lease_keeps_what_it_wrote() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        let blob = write(&lease, b"blob").digest;
        for extent in [Extent::Changed, Extent::Full] {
            assert_eq!(collect(&store, extent), Collected::default());
            store.unlink_pending().unwrap();
            store.unlink_orphans().unwrap();
            assert_eq!(read(&store, &blob), b"blob");
        }
        let listed = store.leases().unwrap();
        assert!(listed[0].dead.is_none() && listed[0].digests == [blob] && listed[0].about.ends_with(" test"));
        drop(listed);
        drop(lease);
        assert!(names(&bench.own().join("leases")).is_empty());
        assert_eq!(gc(&store).blobs, 1);
        assert_blobs(&store, &[]);
    }
}

#[test]
fn publish_is_all_or_nothing() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let lease = store.lease("test").unwrap();
        stage(&lease, b"one");
        stage(&lease, b"two");
        assert!(files(&store).is_empty());
        let absent = new(b"absent");
        let gone = lease.publish(&[new(b"one"), absent.clone()], |_| Ok::<_, Error>(()));
        assert!(matches!(failure(gone), Error::Gone(gone) if gone == [absent.digest]));
        assert!(rows(&store).is_empty());
        let failed: Result<(), Error> = lease.publish(&[new(b"one")], |_| Err(Error::Cancelled));
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert!(rows(&store).is_empty());
        let blobs = [new(b"one"), new(b"two")];
        lease
            .publish(&blobs, |txn| txn.set_data(Space::Store, REF, "r", b"", Some(&blobs[0].digest), Condition::Absent))
            .unwrap();
        drop(lease);
        gc(&store);
        assert_blobs(&store, &[&blobs[0].digest]);
    }
}

#[test]
fn a_wrong_size_is_refused_although_the_blob_is_there() {
    for bench in benches() {
        let store = bench.open();
        put(&store, "r", b"blob");
        let lease = store.lease("test").unwrap();
        let lie = NewBlob { size: 5, ..new(b"blob") };
        let refused = lease.publish(&[lie], |_| Ok::<_, Error>(()));
        assert!(matches!(
            failure(refused),
            Error::Cas(oci_store_cas::Error::SizeMismatch { expected: 5, actual: 4, .. })
        ));
    }
}

#[test]
fn what_was_dropped_before_its_publish_is_collected() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        // Staged only: nothing of it is left.
        let lease = store.lease("test").unwrap();
        stage(&lease, b"staged");
        assert_eq!(names(&bench.own().join("ingest")).len(), 1);
        drop(lease);
        assert!(names(&bench.own().join("ingest")).is_empty());
        assert!(names(&bench.own().join("leases")).is_empty());
        // Visible, without a row: the lease is left, and tells the next gc.
        let lease = store.lease("test").unwrap();
        stage(&lease, b"visible");
        let failed: Result<(), Error> = lease.publish(&[new(b"visible")], |_| Err(Error::Cancelled));
        failed.unwrap_err();
        drop(lease);
        assert_eq!(files(&store).len(), 1);
        assert_eq!(gc(&store), Collected { blobs: 1, bytes: 7, ..Collected::default() }, "{}", bench.name);
        assert_blobs(&store, &[]);
        assert!(names(&bench.own().join("leases")).is_empty());
    }
}

#[test]
fn a_failed_persist_leaves_its_files_to_the_gc() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        put(&store, "kept", b"kept");
        let lease = store.lease("test").unwrap();
        let mut texts: Vec<String> = (0..10).map(|n| format!("text {n}")).collect();
        texts.sort_by_key(|text| digest(text.as_bytes()));
        for text in &texts {
            stage(&lease, text.as_bytes());
        }
        // A folder is in the way of one in the middle.
        let blocked = store.root().join("blobs/sha256").join(digest(texts[5].as_bytes()).encoded());
        fs::create_dir(&blocked).unwrap();
        failure(lease.publish(&[], |_| Ok::<_, Error>(())));
        drop(lease);
        assert_eq!(files(&store).len(), 6);
        fs::remove_dir(blocked).unwrap();
        gc(&store);
        assert_blobs(&store, &[&digest(b"kept")]);
    }
}

#[test]
fn threads_may_share_a_lease() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        let (threads, rounds) = (8, 12);
        let start = Barrier::new(threads);
        thread::scope(|scope| {
            for thread in 0..threads {
                let (lease, start, store) = (&lease, &start, &store);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..rounds {
                        let text = format!("{thread} {round}");
                        if thread % 2 == 0 {
                            lease.write(any(), "", &mut text.as_bytes()).unwrap();
                        } else {
                            stage(lease, text.as_bytes());
                            lease.publish(&[new(text.as_bytes())], |_| Ok::<_, Error>(())).unwrap();
                        }
                        assert!(has_row(store, &digest(text.as_bytes())));
                        if thread == 7 {
                            store.unlink_orphans().unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!((rows(&store).len(), files(&store).len()), (threads * rounds, threads * rounds), "{}", bench.name);
        drop(lease);
        assert!(names(&bench.own().join("leases")).is_empty());
        assert!(names(&bench.own().join("ingest")).is_empty());
        gc(&store);
        assert_blobs(&store, &[]);
    }
}

/// A source that waits for another thread in its middle.
struct Slow<'b>(&'b Barrier, u8);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        if self.1 == 1 {
            self.0.wait();
            self.0.wait();
            buffer[0] = b'x';
            return Ok(1);
        }
        Ok(0)
    }
}

#[test]
fn a_publish_beside_a_write_that_goes_on() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        let turn = Barrier::new(2);
        thread::scope(|scope| {
            let writer = scope.spawn(|| lease.write(any(), "", &mut Slow(&turn, 0)).unwrap());
            turn.wait();
            stage(&lease, b"other");
            lease.publish(&[new(b"other")], |_| Ok::<_, Error>(())).unwrap();
            gc(&store);
            turn.wait();
            assert_eq!(writer.join().unwrap().digest, digest(b"x"));
        });
        assert_blobs(&store, &[&digest(b"other"), &digest(b"x")]);
    }
}

#[test]
fn the_leases_of_other_processes() {
    for bench in disk_benches() {
        let store = bench.open();
        settle(&store);
        let blob = put(&store, "r", b"named");
        let mut child = Process::start(&bench, "hold");
        child.expect("held");
        drop_ref(&store, "r");
        gc(&store);
        assert_eq!(rows(&store), [blob.clone(), digest(b"written")].into(), "{}", bench.name);
        child.kill();
        assert_eq!(gc(&store).blobs, 2);
        assert_blobs(&store, &[]);
        assert!(names(&bench.own().join("leases")).is_empty());
    }
}

pub(crate) fn child_hold(here: Here) {
    let store = here.open();
    let lease = store.lease("child").unwrap();
    lease.name(&[digest(b"named")]).unwrap();
    write(&lease, b"written");
    say("held");
    wait();
}

#[test]
fn what_the_dead_left_in_ingest() {
    for bench in disk_benches() {
        let store = bench.open();
        settle(&store);
        let mut child = Process::start(&bench, "stage");
        child.expect("staged");
        gc(&store);
        let ingest = bench.own().join("ingest");
        let folder = ingest.join(&names(&ingest)[0]);
        assert_eq!(names(&folder).len(), 2, "a gc beside it takes nothing");
        child.kill();
        assert_eq!(names(&folder).len(), 2);
        gc(&store);
        assert!(names(&ingest).is_empty() && names(&bench.own().join("leases")).is_empty(), "{}", bench.name);
        // Without its lease too.
        fs::create_dir(ingest.join("1-2-3")).unwrap();
        fs::write(ingest.join("1-2-3/4.tmp"), b"x").unwrap();
        gc(&store);
        assert!(names(&ingest).is_empty());
    }
}

pub(crate) fn child_stage(here: Here) {
    let store = here.open();
    let lease = store.lease("child").unwrap();
    stage(&lease, b"whole");
    let mut half = Half;
    let _ = lease.write(any(), "", &mut half);
}

struct Half;

impl Read for Half {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        say("staged");
        wait();
        Ok(0)
    }
}

#[test]
fn killed_between_file_and_row() {
    for bench in disk_benches() {
        let store = bench.open();
        settle(&store);
        let mut child = Process::start(&bench, "expose");
        child.expect("exposed");
        assert_eq!(files(&store), [digest(b"exposed")].into());
        gc(&store);
        assert_eq!(files(&store).len(), 1);
        child.kill();
        assert_eq!(gc(&store), Collected { blobs: 1, bytes: 7, ..Collected::default() });
        assert_blobs(&store, &[]);
        // Published by somebody else before: then the row decides.
        let mut child = Process::start(&bench, "expose");
        child.expect("exposed");
        let kept = put(&store, "r", b"exposed");
        child.kill();
        assert_eq!(gc(&store), Collected::default());
        assert_blobs(&store, &[&kept]);
    }
}

pub(crate) fn child_expose(here: Here) {
    let store = here.open();
    let lease = store.lease("child").unwrap();
    stage(&lease, b"exposed");
    let failed: Result<(), Error> = lease.publish(&[new(b"exposed")], |_| Err(Error::Cancelled));
    failed.unwrap_err();
    say("exposed");
    wait();
}

#[test]
fn a_name_after_a_failed_write_is_on_a_line_of_its_own() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let blob = put(&store, "r", b"blob");
        let lease = store.lease("test").unwrap();
        let file = bench.own().join("leases").join(&names(&bench.own().join("leases"))[0]);
        // The disk was full in the middle of a line.
        let half = fs::OpenOptions::new().append(true).open(file).unwrap();
        std::io::Write::write_all(&mut &half, b"sha256:012345").unwrap();
        lease.name(std::slice::from_ref(&blob)).unwrap();
        drop_ref(&store, "r");
        gc(&store);
        assert!(has_row(&store, &blob), "{}", bench.name);
    }
}

#[test]
fn a_name_keeps_what_was_there_when_it_was_named() {
    for bench in benches() {
        let store = bench.open();
        settle(&store);
        let blob = put(&store, "r", b"blob");
        gc(&store);
        let lease = store.lease("export").unwrap();
        lease.name(&[blob.clone(), blob.clone()]).unwrap();
        lease.name(std::slice::from_ref(&blob)).unwrap();
        assert!(has_row(&store, &blob));
        drop_ref(&store, "r");
        gc(&store);
        assert_eq!(read(&store, &blob), b"blob");
        set_ref(&store, "r", &blob);
        drop(lease);
        gc(&store);
        assert_blobs(&store, &[&blob]);
    }
}
