use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Check, counter, get, increment, open, put};
use crate::{Backend, Error, Index, IndexExt, Result};

pub(super) const CHECKS: &[Check] = &[
    ("an-error-rolls-back", an_error_rolls_back),
    ("a-panic-rolls-back", a_panic_rolls_back),
    ("a-view-may-fail", a_view_may_fail),
    ("bodies-run-once", bodies_run_once),
    ("errors-of-other-types", errors_of_other_types),
    ("nothing-is-seen-before-the-commit", nothing_is_seen_before_the_commit),
    ("a-view-is-a-snapshot", a_view_is_a_snapshot),
    ("views-beside-each-other", views_beside_each_other),
    ("no-update-is-lost", no_update_is_lost),
    ("reads-are-not-torn", reads_are_not_torn),
    ("opened-twice", opened_twice),
    ("indexes-are-apart", indexes_are_apart),
];

fn an_error_rolls_back(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    put(&*index, b"kept", b"before");
    let failed: Result<()> = index.write(|txn| {
        txn.put(b"kept", b"after")?;
        txn.put(b"new", b"after")?;
        txn.delete(b"kept")?;
        Err(Error::Aborted)
    });
    assert!(matches!(failed, Err(Error::Aborted)), "{failed:?}");
    assert_eq!(get(&*index, b"kept").as_deref(), Some(&b"before"[..]));
    assert_eq!(get(&*index, b"new"), None);
    let failed = index.update(&mut |txn| txn.put(b"new", b"after").and_then(|_| txn.put(b"", b"refused").map(drop)));
    assert!(matches!(failed, Err(Error::Key(0))), "{failed:?}");
    assert_eq!(get(&*index, b"new"), None);
    put(&*index, b"new", b"later");
    assert_eq!(get(&*index, b"new").as_deref(), Some(&b"later"[..]));
}

fn a_panic_rolls_back(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    put(&*index, b"kept", b"before");
    for _ in 0..40 {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            index.update(&mut |txn| {
                txn.put(b"kept", b"after")?;
                txn.put(b"new", b"after")?;
                resume_unwind(Box::new("of the body"))
            })
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"of the body"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            index.view(&mut |txn| {
                txn.get(b"kept")?;
                txn.scan(b"", b"", &mut |_, _| resume_unwind(Box::new("of the visitor")))
            })
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"of the visitor"));
    }
    assert_eq!(get(&*index, b"kept").as_deref(), Some(&b"before"[..]));
    assert_eq!(get(&*index, b"new"), None);
    put(&*index, b"new", b"later");
    assert_eq!(get(&*index, b"new").as_deref(), Some(&b"later"[..]));
}

fn a_view_may_fail(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let failed = index.view(&mut |_| Err(Error::Aborted));
    assert!(matches!(failed, Err(Error::Aborted)), "{failed:?}");
    put(&*index, b"key", b"value");
    assert!(get(&*index, b"key").is_some());
}

fn bodies_run_once(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let mut runs = 0;
    index
        .update(&mut |txn| {
            runs += 1;
            txn.put(b"key", b"value").map(drop)
        })
        .unwrap();
    index
        .view(&mut |_| {
            runs += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(runs, 2);
}

fn errors_of_other_types(backend: &dyn Backend, dir: &Path) {
    #[derive(Debug)]
    enum Own {
        Index(Error),
        Refused(u8),
    }
    impl From<Error> for Own {
        fn from(error: Error) -> Self {
            Self::Index(error)
        }
    }
    let index = open(backend, dir);
    let failed: Result<(), Own> = index.write(|txn| {
        txn.put(b"key", b"value")?;
        Err(Own::Refused(7))
    });
    assert!(matches!(failed, Err(Own::Refused(7))), "{failed:?}");
    assert_eq!(get(&*index, b"key"), None);
    let failed: Result<bool, Own> = index.write(|txn| Ok(txn.put(b"", b"value")?));
    assert!(matches!(failed, Err(Own::Index(Error::Key(0)))), "{failed:?}");
    let read: Result<u8, Own> = index.read(|_| Ok(3));
    assert!(matches!(read, Ok(3)), "{read:?}");
}

fn nothing_is_seen_before_the_commit(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    put(&*index, b"key", b"old");
    index
        .write(|txn| {
            txn.put(b"key", b"new")?;
            // Another thread's view neither waits for this update nor sees it.
            let seen = thread::scope(|scope| scope.spawn(|| get(&*index, b"key")).join().unwrap());
            assert_eq!(seen.as_deref(), Some(&b"old"[..]));
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(get(&*index, b"key").as_deref(), Some(&b"new"[..]));
}

fn a_view_is_a_snapshot(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    put(&*index, b"first", b"old");
    put(&*index, b"second", b"old");
    index
        .read(|txn| {
            // The snapshot is that of the beginning, not of the first read; and it does not keep others from writing.
            thread::scope(|scope| {
                scope.spawn(|| {
                    index
                        .write(|txn| {
                            txn.put(b"first", b"new")?;
                            txn.put(b"third", b"new")?;
                            txn.delete(b"second")
                        })
                        .unwrap();
                    assert_eq!(get(&*index, b"first").as_deref(), Some(&b"new"[..]));
                });
            });
            assert_eq!(txn.get(b"first")?.as_deref(), Some(&b"old"[..]));
            thread::scope(|scope| {
                scope.spawn(|| put(&*index, b"first", b"newer"));
            });
            assert_eq!(txn.get(b"first")?.as_deref(), Some(&b"old"[..]));
            assert_eq!(super::scanned(txn, b"", b"", 9)?.len(), 2);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(super::keys(&*index, b"", b""), [&b"first"[..], b"third"]);
}

fn views_beside_each_other(backend: &dyn Backend, dir: &Path) {
    fn nest(index: &dyn Index, depth: u32) {
        index
            .view(&mut |txn| {
                if depth > 0 {
                    thread::scope(|scope| scope.spawn(|| nest(index, depth - 1)).join().unwrap());
                }
                assert!(txn.get(b"key")?.is_some());
                Ok(())
            })
            .unwrap();
    }
    let index = open(backend, dir);
    put(&*index, b"key", b"value");
    nest(&*index, 40);
    nest(&*index, 40);
}

fn no_update_is_lost(backend: &dyn Backend, dir: &Path) {
    const THREADS: u64 = 8;
    const EACH: u64 = 25;
    let index = open(backend, dir);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    increment(&*index, b"counter");
                }
            });
        }
    });
    assert_eq!(counter(&*index, b"counter"), THREADS * EACH);
}

/// A writer keeps two rows equal; no reader may ever see them differ.
fn reads_are_not_torn(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let done = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..100_u32 {
                let value = round.to_be_bytes();
                index.write(|txn| txn.put(b"left", &value).and_then(|_| txn.put(b"right", &value))).unwrap();
            }
            done.store(1, Ordering::Release);
        });
        for _ in 0..3 {
            scope.spawn(|| {
                while done.load(Ordering::Acquire) == 0 {
                    let both: Result<_> = index.read(|txn| Ok((txn.get(b"left")?, txn.get(b"right")?)));
                    let (left, right) = both.unwrap();
                    assert_eq!(left, right);
                }
            });
        }
    });
}

fn opened_twice(backend: &dyn Backend, dir: &Path) {
    let first = open(backend, dir);
    let second = open(backend, &dir.join("..").join(dir.file_name().unwrap()).join("."));
    put(&*first, b"key", b"value");
    assert_eq!(get(&*second, b"key").as_deref(), Some(&b"value"[..]));
    drop(first);
    put(&*second, b"key", b"changed");
    let third = open(backend, dir);
    assert_eq!(get(&*third, b"key").as_deref(), Some(&b"changed"[..]));
    // Opening is safe from many threads at once, while others close.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let beside = dir.join("beside");
                    assert!(counter(&*open(backend, &beside), b"none") == 0);
                }
            });
        }
    });
}

fn indexes_are_apart(backend: &dyn Backend, dir: &Path) {
    let one = open(backend, &dir.join("one"));
    let other = open(backend, &dir.join("other"));
    put(&*one, b"key", b"value");
    assert_eq!(get(&*other, b"key"), None);
    // An update of one index may read and write another.
    one.write(|_| other.write(|txn| txn.put(b"key", b"other"))).unwrap();
    assert_eq!(get(&*one, b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(get(&*other, b"key").as_deref(), Some(&b"other"[..]));
}
