use std::io::{Read, Write};
use std::mem;

use super::{assert_has, assert_lacks, checks, content, put, seal, sha256, stored};
use crate::{Cas, Digest, Error};

checks![
    sealed_is_invisible,
    sealed_is_read_in_its_batch,
    dropped_batch_leaves_nothing,
    forgotten_is_not_persisted,
    persist_twice,
    unsealed_is_not_persisted,
    sealed_twice_is_one,
    persist_replaces,
    batches_of_one_name_are_apart,
    same_blob_in_two_batches,
    outlives_its_cas,
    dead_batch_is_discarded,
    discard_is_idempotent,
    discard_takes_one_name_only,
    names_follow_the_grammar,
];

fn sealed_is_invisible(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let digest = seal(&*batch, b"sealed");
    assert_lacks(cas, &digest);
    assert!(!cas.delete(&digest).unwrap());
    batch.persist().unwrap();
    assert_has(cas, &digest, b"sealed");
}

fn sealed_is_read_in_its_batch(cas: &dyn Cas) {
    let (batch, other) = (cas.batch("b").unwrap(), cas.batch("b").unwrap());
    let (one, two) = (seal(&*batch, b"one"), seal(&*batch, b"two"));
    let read = |digest: &Digest| {
        let mut bytes = Vec::new();
        batch.open(digest).unwrap().map(|mut blob| blob.read_to_end(&mut bytes).unwrap()).map(|_| bytes)
    };
    assert_eq!((read(&one), read(&two)), (Some(b"one".to_vec()), Some(b"two".to_vec())));
    assert!(other.open(&one).unwrap().is_none() && read(&sha256(b"three")).is_none());
    batch.forget(&one).unwrap();
    assert!(read(&one).is_none());
    batch.persist().unwrap();
    assert!(read(&two).is_none(), "what is persisted is not the batch's any more");
}

fn dropped_batch_leaves_nothing(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let digests: Vec<_> = (0..20).map(|n| seal(&*batch, &content(n, 1000))).collect();
    assert_eq!(cas.batches().unwrap(), ["b"]);
    drop(batch);
    assert_eq!(cas.batches().unwrap(), [""; 0]);
    for digest in &digests {
        assert_lacks(cas, digest);
    }
}

fn forgotten_is_not_persisted(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let (one, two) = (seal(&*batch, b"one"), seal(&*batch, b"two"));
    assert!(batch.forget(&one).unwrap());
    assert!(!batch.forget(&one).unwrap());
    batch.persist().unwrap();
    assert_lacks(cas, &one);
    assert_has(cas, &two, b"two");
    assert!(!batch.forget(&two).unwrap(), "what is persisted is not the batch's any more");
    assert_has(cas, &two, b"two");
    seal(&*batch, b"one");
    batch.persist().unwrap();
    assert_has(cas, &one, b"one");
}

fn persist_twice(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    batch.persist().unwrap();
    let one = seal(&*batch, b"one");
    batch.persist().unwrap();
    cas.delete(&one).unwrap();
    batch.persist().unwrap();
    assert_lacks(cas, &one);
    let two = seal(&*batch, b"two");
    batch.persist().unwrap();
    assert_lacks(cas, &one);
    assert_has(cas, &two, b"two");
    drop(batch);
    assert_has(cas, &two, b"two");
}

fn unsealed_is_not_persisted(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let mut stage = batch.stage().unwrap();
    stage.write_all(b"not yet").unwrap();
    assert_eq!(cas.batches().unwrap(), ["b"]);
    batch.persist().unwrap();
    assert!(stored(cas).is_empty());
    stage.write_all(b", but now").unwrap();
    let digest = sha256(b"not yet, but now");
    stage.seal(&digest).unwrap();
    assert_lacks(cas, &digest);
    batch.persist().unwrap();
    assert_has(cas, &digest, b"not yet, but now");
}

fn sealed_twice_is_one(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let digest = seal(&*batch, b"twice");
    assert_eq!(seal(&*batch, b"twice"), digest);
    assert!(batch.forget(&digest).unwrap());
    assert!(!batch.forget(&digest).unwrap());
    seal(&*batch, b"twice");
    seal(&*batch, b"twice");
    batch.persist().unwrap();
    assert_has(cas, &digest, b"twice");
    assert_eq!(stored(cas).len(), 1);
}

fn persist_replaces(cas: &dyn Cas) {
    let digest = put(cas, b"again");
    for _ in 0..3 {
        assert_eq!(put(cas, b"again"), digest);
        assert_has(cas, &digest, b"again");
    }
    assert_eq!(stored(cas).len(), 1);
}

fn batches_of_one_name_are_apart(cas: &dyn Cas) {
    let (one, two) = (cas.batch("shared").unwrap(), cas.batch("shared").unwrap());
    let (a, b) = (seal(&*one, b"a"), seal(&*two, b"b"));
    assert_eq!(cas.batches().unwrap(), ["shared"]);
    assert!(!two.forget(&a).unwrap());
    drop(one);
    two.persist().unwrap();
    assert_lacks(cas, &a);
    assert_has(cas, &b, b"b");
    // The first to end takes nothing away that the other needs, now or later.
    drop(cas.batch("shared").unwrap());
    let c = seal(&*two, b"c");
    drop(cas.batch("shared").unwrap());
    two.persist().unwrap();
    assert_has(cas, &c, b"c");
}

fn same_blob_in_two_batches(cas: &dyn Cas) {
    let (one, two) = (cas.batch("one").unwrap(), cas.batch("two").unwrap());
    let digest = seal(&*one, b"both");
    assert_eq!(seal(&*two, b"both"), digest);
    assert_eq!(cas.batches().unwrap(), ["one", "two"]);
    one.persist().unwrap();
    drop(one);
    assert_has(cas, &digest, b"both");
    cas.delete(&digest).unwrap();
    two.persist().unwrap();
    assert_has(cas, &digest, b"both");
    let third = cas.batch("three").unwrap();
    seal(&*third, b"both");
    drop(third);
    assert_has(cas, &digest, b"both");
}

/// A batch borrows nothing: it can be moved to another thread, and kept.
fn outlives_its_cas(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let digest = std::thread::spawn(move || {
        let digest = seal(&*batch, b"elsewhere");
        batch.persist().unwrap();
        digest
    });
    assert_has(cas, &digest.join().unwrap(), b"elsewhere");
}

fn dead_batch_is_discarded(cas: &dyn Cas) {
    let batch = cas.batch("dead").unwrap();
    let digest = seal(&*batch, b"dead");
    mem::forget(batch);
    assert_eq!(cas.batches().unwrap(), ["dead"]);
    assert_lacks(cas, &digest);
    assert_eq!(cas.discard("dead").unwrap(), 4);
    assert_eq!(cas.batches().unwrap(), [""; 0]);
    assert_lacks(cas, &digest);
    // The name is free again.
    let batch = cas.batch("dead").unwrap();
    seal(&*batch, b"dead");
    batch.persist().unwrap();
    assert_has(cas, &digest, b"dead");
}

fn discard_is_idempotent(cas: &dyn Cas) {
    assert_eq!(cas.discard("never-was").unwrap(), 0);
    cas.discard("never-was").unwrap();
    let batch = cas.batch("b").unwrap();
    let digest = seal(&*batch, b"gone");
    cas.discard("b").unwrap();
    cas.discard("b").unwrap();
    assert!(batch.persist().is_err(), "it must be said that a sealed blob is lost");
    assert_lacks(cas, &digest);
}

fn discard_takes_one_name_only(cas: &dyn Cas) {
    let kept = put(cas, b"persisted");
    for name in ["a", "a-b", "b"] {
        let batch = cas.batch(name).unwrap();
        seal(&*batch, name.as_bytes());
        mem::forget(batch);
    }
    cas.discard("a").unwrap();
    assert_eq!(cas.batches().unwrap(), ["a-b", "b"]);
    for name in ["b", "a-b"] {
        // A backend need not know it beforehand.
        let staged = cas.staged(name).unwrap();
        let discarded = cas.discard(name).unwrap();
        assert!(staged == discarded || staged == 0, "{name}: {staged}, and {discarded}");
        assert_eq!(cas.staged(name).unwrap(), 0);
    }
    assert_has(cas, &kept, b"persisted");
}

fn names_follow_the_grammar(cas: &dyn Cas) {
    let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
    for name in ["a", "0", "-", "lease-01", &longest] {
        let batch = cas.batch(name).unwrap();
        seal(&*batch, b"x");
        assert_eq!(cas.batches().unwrap(), [name]);
        drop(batch);
        cas.discard(name).unwrap();
    }
    for name in ["", ".", "..", "a/b", "/", "../x", "A", "a_b", "a b", "a.b", "é", "a\0", "a\n", &too_long] {
        assert!(matches!(cas.batch(name), Err(Error::BatchName(said)) if said == name), "{name:?}");
        assert!(matches!(cas.discard(name), Err(Error::BatchName(said)) if said == name), "{name:?}");
    }
}
