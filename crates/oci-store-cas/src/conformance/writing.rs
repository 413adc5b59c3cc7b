use std::io::{Cursor, Read, Write};

use super::{assert_has, assert_lacks, checks, content, put, sha256, stored};
use crate::{Algorithm, BlobWriter, Cas, Digest, Error, Expect, Hasher};

checks![
    any_digest,
    known_digest,
    every_algorithm,
    empty_blob,
    large_blob_in_odd_pieces,
    copied_from_a_reader,
    wrong_digest_is_refused,
    too_short_is_refused,
    too_long_is_refused_early,
    wrong_size_without_a_digest_is_refused,
    unknown_algorithm_is_refused,
    error_of_a_callback_ends_a_copy,
    dropped_writer_leaves_nothing,
    staged_can_be_read_while_it_is_written,
    reflink_copies_or_changes_nothing,
];

fn any_digest(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
    blob.write_all(b"hello ").unwrap();
    blob.write_all(b"world").unwrap();
    assert_eq!(blob.written(), 11);
    let (digest, size) = blob.finish().unwrap();
    assert_eq!((&digest, size), (&sha256(b"hello world"), 11));
    batch.persist().unwrap();
    assert_has(cas, &digest, b"hello world");
}

fn known_digest(cas: &dyn Cas) {
    let bytes = content(1, 1000);
    let digest = sha256(&bytes);
    let batch = cas.batch("b").unwrap();
    for expect in [Expect::digest(digest.clone()), Expect::digest(digest.clone()).size(1000)] {
        let mut blob = BlobWriter::new(&*batch, expect).unwrap();
        blob.write_all(&bytes).unwrap();
        assert_eq!(blob.finish().unwrap(), (digest.clone(), 1000));
    }
    batch.persist().unwrap();
    assert_has(cas, &digest, &bytes);
}

fn every_algorithm(cas: &dyn Cas) {
    let bytes = content(2, 5000);
    let batch = cas.batch("b").unwrap();
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| Hasher::new(*algorithm).is_some()) {
        let mut blob = BlobWriter::new(&*batch, Expect::any(algorithm)).unwrap();
        blob.write_all(&bytes).unwrap();
        let digest = blob.finish().unwrap().0;
        assert_eq!(digest.known_algorithm(), Some(algorithm));
        digests.push(digest);
    }
    batch.persist().unwrap();
    for digest in &digests {
        assert_has(cas, digest, &bytes);
    }
    assert_eq!(stored(cas).len(), digests.len());
}

fn empty_blob(cas: &dyn Cas) {
    let digest = put(cas, b"");
    assert_eq!(digest, sha256(b""));
    assert_has(cas, &digest, b"");
}

fn large_blob_in_odd_pieces(cas: &dyn Cas) {
    let bytes = content(3, 5_000_011);
    let digest = sha256(&bytes);
    let batch = cas.batch("b").unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::digest(digest.clone()).size(5_000_011)).unwrap();
    let mut rest = bytes.as_slice();
    for len in [1, 7, 4095, 4097, 65_537, 131_071, 300_001].into_iter().cycle() {
        let (piece, behind) = rest.split_at(rest.len().min(len));
        blob.write_all(piece).unwrap();
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    blob.finish().unwrap();
    batch.persist().unwrap();
    assert_has(cas, &digest, &bytes);
}

fn copied_from_a_reader(cas: &dyn Cas) {
    let bytes = content(4, 700_001);
    let batch = cas.batch("b").unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha512)).unwrap();
    let mut passed = 0;
    let mut count = |n| {
        passed += n;
        Ok(())
    };
    blob.copy(&mut Cursor::new(&bytes), &mut count).unwrap();
    let (digest, size) = blob.finish().unwrap();
    assert_eq!((passed, size), (700_001, 700_001));
    batch.persist().unwrap();
    assert_has(cas, &digest, &bytes);
}

/// Begins a blob that `write` fails to end: nothing of it is visible, or left to persist.
fn assert_refused(cas: &dyn Cas, expect: Expect, write: impl FnOnce(BlobWriter<'_>) -> Error) -> Error {
    let batch = cas.batch("refused").unwrap();
    let error = write(BlobWriter::new(&*batch, expect).unwrap());
    batch.persist().unwrap();
    assert!(stored(cas).is_empty(), "{error}: and yet it is visible");
    error
}

fn wrong_digest_is_refused(cas: &dyn Cas) {
    let (expected, actual) = (sha256(b"expected"), sha256(b"actually"));
    let write = |mut blob: BlobWriter<'_>| {
        blob.write_all(b"actually").unwrap();
        blob.finish().unwrap_err()
    };
    for expect in [Expect::digest(expected.clone()), Expect::digest(expected.clone()).size(8)] {
        let error = assert_refused(cas, expect, write);
        let Error::DigestMismatch { expected: e, actual: a } = error else { panic!("{error:?}") };
        assert_eq!((e, a), (expected.clone(), actual.clone()));
    }
    assert_lacks(cas, &expected);
    assert_lacks(cas, &actual);
}

fn too_short_is_refused(cas: &dyn Cas) {
    let write = |mut blob: BlobWriter<'_>| {
        blob.write_all(b"short").unwrap();
        blob.finish().unwrap_err()
    };
    let error = assert_refused(cas, Expect::digest(sha256(b"short")).size(6), write);
    assert!(matches!(error, Error::SizeMismatch { expected: 6, actual: 5, truncated: true, .. }), "{error:?}");
}

fn too_long_is_refused_early(cas: &dyn Cas) {
    let expect = Expect::digest(sha256(b"long")).size(4);
    // A source without an end: only a writer that stops by itself comes back.
    let write =
        |mut blob: BlobWriter<'_>| blob.copy(&mut std::io::repeat(0).take(u64::MAX), &mut |_| Ok(())).unwrap_err();
    let error = assert_refused(cas, expect.clone(), write);
    assert!(matches!(error, Error::SizeMismatch { expected: 4, actual: 5, truncated: false, .. }), "{error:?}");

    let write = |mut blob: BlobWriter<'_>| {
        blob.write_all(b"long").unwrap();
        blob.write_all(b"!").unwrap_err().into()
    };
    let error = assert_refused(cas, expect, write);
    assert!(matches!(error, Error::SizeMismatch { expected: 4, actual: 5, truncated: false, .. }), "{error:?}");
}

fn wrong_size_without_a_digest_is_refused(cas: &dyn Cas) {
    for (size, is_short) in [(2, false), (4, true)] {
        let write = |mut blob: BlobWriter<'_>| {
            blob.write_all(b"abc").unwrap();
            blob.finish().unwrap_err()
        };
        let error = assert_refused(cas, Expect::any(Algorithm::Sha256).size(size), write);
        let Error::SizeMismatch { expected, truncated, .. } = error else { panic!("{error:?}") };
        assert_eq!((expected, truncated), (size, is_short));
    }
}

fn unknown_algorithm_is_refused(cas: &dyn Cas) {
    let digest: Digest = "md6:abcdef".parse().unwrap();
    let batch = cas.batch("b").unwrap();
    let error = BlobWriter::new(&*batch, Expect::digest(digest.clone())).unwrap_err();
    assert!(matches!(error, Error::UnknownAlgorithm(unknown) if unknown == digest));
    batch.persist().unwrap();
    assert_lacks(cas, &digest);
}

fn error_of_a_callback_ends_a_copy(cas: &dyn Cas) {
    let write = |mut blob: BlobWriter<'_>| {
        let mut stop = |_| Err(Error::BatchName("stop".to_owned()));
        blob.copy(&mut std::io::repeat(0).take(u64::MAX), &mut stop).unwrap_err()
    };
    let error = assert_refused(cas, Expect::any(Algorithm::Sha256), write);
    assert!(matches!(error, Error::BatchName(why) if why == "stop"));
}

fn dropped_writer_leaves_nothing(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
    blob.write_all(&content(5, 100_000)).unwrap();
    drop(blob);
    batch.persist().unwrap();
    assert!(stored(cas).is_empty());
}

fn staged_can_be_read_while_it_is_written(cas: &dyn Cas) {
    let batch = cas.batch("b").unwrap();
    let mut stage = batch.stage().unwrap();
    let staged = |stage: &dyn crate::Stage| {
        let mut bytes = Vec::new();
        stage.reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(staged(&*stage), b"");
    stage.write_all(b"one, ").unwrap();
    assert_eq!(staged(&*stage), b"one, ");
    stage.write_all(b"two").unwrap();
    assert_eq!(staged(&*stage), b"one, two");
    assert_eq!(staged(&*stage), b"one, two", "each reader begins at the beginning");
    let digest = sha256(b"one, two, three");
    stage.write_all(b", three").unwrap();
    stage.seal(&digest).unwrap();
    batch.persist().unwrap();
    assert_has(cas, &digest, b"one, two, three");
}

/// A backend without files has nothing to reflink from, and passes.
fn reflink_copies_or_changes_nothing(cas: &dyn Cas) {
    let bytes = content(6, 300_000);
    let digest = put(cas, &bytes);
    let source = cas.open(&digest).unwrap().unwrap();
    let Some(file) = source.as_file() else { return };
    let batch = cas.batch("b").unwrap();

    let mut used = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256)).unwrap();
    used.write_all(b"x").unwrap();
    assert!(!used.reflink(file, &mut |_| Ok(())).unwrap(), "the stage is not empty");
    assert_eq!(used.finish().unwrap(), (sha256(b"x"), 1));

    let mut blob = BlobWriter::new(&*batch, Expect::digest(digest.clone()).size(300_000)).unwrap();
    let mut passed = 0;
    let mut count = |n| {
        passed += n;
        Ok(())
    };
    let done = blob.reflink(file, &mut count).unwrap();
    assert_eq!(blob.written(), if done { 300_000 } else { 0 });
    assert_eq!(passed, blob.written());
    if !done {
        blob.write_all(&bytes).unwrap();
    }
    blob.finish().unwrap();
    batch.persist().unwrap();
    assert_has(cas, &digest, &bytes);
}
