use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

use super::{assert_has, assert_lacks, checks, content, put, read, sha256, stored};
use crate::{Cas, Digest};

checks![
    empty_has_nothing,
    delete_says_what_it_did,
    reader_survives_delete,
    reader_survives_being_replaced,
    reader_seeks,
    readers_are_independent,
    list_is_exact,
    break_ends_a_list,
    list_may_call_everything,
    other_algorithms_are_kept,
    algorithms_are_apart,
    sync_is_idempotent,
];

fn empty_has_nothing(cas: &dyn Cas) {
    for text in [&sha256(b"nothing").to_string(), "md6:abc", "sha256+zip:x-y_z="] {
        let digest: Digest = text.parse().unwrap();
        assert_lacks(cas, &digest);
        assert!(!cas.delete(&digest).unwrap());
    }
    assert_eq!(cas.batches().unwrap(), [""; 0]);
}

fn delete_says_what_it_did(cas: &dyn Cas) {
    let (one, two) = (put(cas, b"one"), put(cas, b"two"));
    assert!(cas.delete(&one).unwrap());
    assert_lacks(cas, &one);
    assert!(!cas.delete(&one).unwrap());
    assert_has(cas, &two, b"two");
    assert_eq!(put(cas, b"one"), one);
    assert_has(cas, &one, b"one");
    assert!(cas.delete(&one).unwrap());
}

fn reader_survives_delete(cas: &dyn Cas) {
    let bytes = content(10, 400_000);
    let digest = put(cas, &bytes);
    let mut blob = cas.open(&digest).unwrap().unwrap();
    let mut begin = vec![0; 1000];
    blob.read_exact(&mut begin).unwrap();
    assert!(cas.delete(&digest).unwrap());
    let mut rest = Vec::new();
    blob.read_to_end(&mut rest).unwrap();
    assert!([begin, rest].concat() == bytes);
}

fn reader_survives_being_replaced(cas: &dyn Cas) {
    let bytes = content(11, 400_000);
    let digest = put(cas, &bytes);
    let mut blob = cas.open(&digest).unwrap().unwrap();
    put(cas, &bytes);
    let mut read = Vec::new();
    blob.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
}

fn reader_seeks(cas: &dyn Cas) {
    let digest = put(cas, b"0123456789");
    let mut blob = cas.open(&digest).unwrap().unwrap();
    let mut rest = String::new();
    assert_eq!(blob.seek(SeekFrom::Start(7)).unwrap(), 7);
    blob.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "789");
    assert_eq!(blob.seek(SeekFrom::End(-2)).unwrap(), 8);
    assert_eq!(blob.seek(SeekFrom::Current(-4)).unwrap(), 4);
    let mut two = [0; 2];
    blob.read_exact(&mut two).unwrap();
    assert_eq!(&two, b"45");
    assert_eq!(blob.seek(SeekFrom::Start(99)).unwrap(), 99);
    assert_eq!(blob.read(&mut two).unwrap(), 0, "behind the end there is nothing");
}

fn readers_are_independent(cas: &dyn Cas) {
    let digest = put(cas, b"abcdef");
    let mut one = cas.open(&digest).unwrap().unwrap();
    let mut two = cas.open(&digest).unwrap().unwrap();
    let mut bytes = [0; 3];
    one.read_exact(&mut bytes).unwrap();
    two.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abc");
}

fn list_is_exact(cas: &dyn Cas) {
    let digests: Vec<_> = (0..50).map(|n| put(cas, &content(n, usize::try_from(n).unwrap() * 3))).collect();
    for digest in digests.iter().step_by(3) {
        cas.delete(digest).unwrap();
    }
    let left = digests.iter().enumerate().filter(|(n, _)| n % 3 != 0);
    assert_eq!(stored(cas), left.map(|(n, digest)| (digest.clone(), n as u64 * 3)).collect());
}

fn break_ends_a_list(cas: &dyn Cas) {
    for n in 0..5 {
        put(cas, &[n]);
    }
    let mut seen = 0;
    cas.list(&mut |_, _| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, 2);
}

fn list_may_call_everything(cas: &dyn Cas) {
    for n in 0..20 {
        put(cas, &[n]);
    }
    cas.list(&mut |digest, size| {
        assert_eq!(read(cas, &digest).map(|bytes| bytes.len() as u64), Some(size));
        assert!(cas.delete(&digest).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    // Blobs that go meanwhile may not be seen: those that a deletion made it skip are seen now.
    for digest in stored(cas).into_keys() {
        cas.delete(&digest).unwrap();
    }
}

/// A backend does not verify, so it can keep what another build or another program can.
fn other_algorithms_are_kept(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let longest = format!("x:{}", "Y".repeat(Digest::MAX_TEXT - 2));
    let digests = ["md6:AbC_-=", "sha256+b64u.v_1-x:LCa0a2j", "a:b", &longest].map(|text| text.parse().unwrap());
    for digest in &digests {
        let mut stage = batch.stage().unwrap();
        stage.write_all(b"unverified").unwrap();
        stage.seal(digest).unwrap();
    }
    batch.persist().unwrap();
    for digest in &digests {
        assert_has(cas, digest, b"unverified");
    }
    assert_eq!(stored(cas).len(), digests.len());
}

fn algorithms_are_apart(cas: &dyn Cas) {
    let sha256 = put(cas, b"same hash");
    let other: Digest = format!("blake3:{}", sha256.encoded()).parse().unwrap();
    assert_lacks(cas, &other);
    assert!(!cas.delete(&other).unwrap());
    assert_has(cas, &sha256, b"same hash");
}

fn sync_is_idempotent(cas: &dyn Cas) {
    cas.sync().unwrap();
    let digest = put(cas, b"synced");
    cas.sync().unwrap();
    cas.sync().unwrap();
    cas.delete(&digest).unwrap();
    cas.sync().unwrap();
    assert_lacks(cas, &digest);
}
