use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{assert_has, checks, content, put, seal, sha256, stored};
use crate::{Cas, VerifyReader};

checks![many_threads, one_batch_for_many_threads, batches_of_one_name_come_and_go];

const THREADS: u64 = 6;
const ROUNDS: u64 = 12;

/// Writers of the same blobs and of their own, deleters, readers and listers: whoever sees a blob sees all of it.
fn many_threads(cas: &dyn Cas) {
    let shared: Vec<_> = (0..8).map(|n| content(100 + n, 20_000 + usize::try_from(n).unwrap())).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let shared = &shared;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let batch = cas.batch(&format!("thread-{thread}")).unwrap();
                        for bytes in shared {
                            seal(&*batch, bytes);
                        }
                        seal(&*batch, &content(1000 + thread * ROUNDS + round, 3000));
                        batch.persist().unwrap();
                    }
                })
            })
            .collect();
        for n in 0..3 {
            let (done, shared) = (&done, &shared);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    look(cas);
                    for bytes in shared.iter().skip(n).step_by(3) {
                        cas.delete(&sha256(bytes)).unwrap();
                    }
                }
            });
        }
        // The others end also if a writer panicked.
        let results: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        assert!(results.iter().all(Result::is_ok), "a writer failed");
    });
    for bytes in &shared {
        put(cas, bytes);
    }
    for n in 0..THREADS * ROUNDS {
        let bytes = content(1000 + n, 3000);
        assert_has(cas, &sha256(&bytes), &bytes);
    }
    assert_eq!(stored(cas).len() as u64, THREADS * ROUNDS + 8);
}

/// Whatever is listed either is whole or has gone.
fn look(cas: &dyn Cas) {
    cas.list(&mut |digest, listed| {
        if let Some(blob) = cas.open(&digest).unwrap() {
            let size = VerifyReader::new(blob, &digest, Some(listed)).unwrap().check(&mut |_| Ok(())).unwrap();
            assert!(cas.size(&digest).unwrap().is_none_or(|again| again == size));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
}

/// When a thread's `persist` has returned, what that thread sealed is visible, whoever persisted it.
fn one_batch_for_many_threads(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let batch = &*batch;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let bytes = content(thread * ROUNDS + round, 500);
                    let digest = seal(batch, &bytes);
                    batch.persist().unwrap();
                    assert_eq!(cas.size(&digest).unwrap(), Some(500), "persisted, and not visible");
                }
            });
        }
    });
    assert_eq!(stored(cas).len() as u64, THREADS * ROUNDS);
}

/// Each that ends tidies up under the name, just as others begin.
fn batches_of_one_name_come_and_go(cas: &dyn Cas) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for round in 0..ROUNDS * 4 {
                    let batch = cas.batch("shared").unwrap();
                    seal(&*batch, &content(thread * 1000 + round, 100));
                    if round % 2 == 0 {
                        batch.persist().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(stored(cas).len() as u64, THREADS * ROUNDS * 2);
}
