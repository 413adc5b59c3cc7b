//! The contract of [`Cas`], [`Batch`] and [`Stage`](crate::Stage) as a suite, for every backend to
//! run in its tests.
//!
//! ```
//! oci_store_cas::conformance::run(&oci_store_cas::memory::MemoryCas::default());
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check that fails panics")]

mod batches;
mod blobs;
mod races;
mod writing;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::ControlFlow;

use crate::{Algorithm, Batch, BlobWriter, Cas, Digest, Expect, Hasher, VerifyReader};

/// Runs every check over an **empty** `cas` that nobody else uses meanwhile, and leaves it empty.
///
/// # Panics
/// If a check fails; the message begins with its name.
pub fn run(cas: &dyn Cas) {
    for (name, check) in [writing::CHECKS, blobs::CHECKS, batches::CHECKS, races::CHECKS].into_iter().flatten() {
        assert!(stored(cas).is_empty(), "{name}: not begun with an empty Cas");
        check(cas);
        assert_eq!(cas.batches().unwrap(), [""; 0], "{name}: staged content was left");
        for digest in stored(cas).into_keys() {
            assert!(cas.delete(&digest).unwrap(), "{name}: {digest} is listed, and not there to delete");
        }
        cas.sync().unwrap();
    }
}

type Check = (&'static str, fn(&dyn Cas));

/// Lists functions as checks, with their names.
macro_rules! checks {
    ($($check:ident),* $(,)?) => {
        pub(super) const CHECKS: &[super::Check] = &[$((stringify!($check), $check)),*];
    };
}
use checks;

/// `len` bytes that look random and are the same for the same seed (xorshift64*).
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
    hasher.update(bytes);
    hasher.finish()
}

/// Writes and seals a blob.
fn seal(batch: &dyn Batch, bytes: &[u8]) -> Digest {
    let mut blob = BlobWriter::new(batch, Expect::any(Algorithm::Sha256)).unwrap();
    blob.write_all(bytes).unwrap();
    blob.finish().unwrap().0
}

/// Writes a blob in a batch of its own, and persists it.
fn put(cas: &dyn Cas, bytes: &[u8]) -> Digest {
    let batch = cas.batch("put").unwrap();
    let digest = seal(&*batch, bytes);
    batch.persist().unwrap();
    digest
}

fn read(cas: &dyn Cas, digest: &Digest) -> Option<Vec<u8>> {
    let mut blob = cas.open(digest).unwrap()?;
    let mut bytes = Vec::new();
    blob.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// Every blob that is listed, once.
fn stored(cas: &dyn Cas) -> BTreeMap<Digest, u64> {
    let mut blobs = BTreeMap::new();
    cas.list(&mut |digest, size| {
        assert!(blobs.insert(digest.clone(), size).is_none(), "{digest} is listed twice");
        ControlFlow::Continue(())
    })
    .unwrap();
    blobs
}

/// All ways to look agree that exactly these bytes are there.
fn assert_has(cas: &dyn Cas, digest: &Digest, bytes: &[u8]) {
    assert!(read(cas, digest).as_deref() == Some(bytes), "{digest}: not the bytes that were written");
    assert_eq!(cas.size(digest).unwrap(), Some(bytes.len() as u64), "{digest}");
    assert_eq!(stored(cas).get(digest), Some(&(bytes.len() as u64)), "{digest}");
    if digest.known_algorithm().is_some_and(|algorithm| Hasher::new(algorithm).is_some()) {
        let blob = cas.open(digest).unwrap().unwrap();
        VerifyReader::new(blob, digest, Some(bytes.len() as u64)).unwrap().check(&mut |_| Ok(())).unwrap();
    }
}

/// All ways to look agree that it is not there.
fn assert_lacks(cas: &dyn Cas, digest: &Digest) {
    assert!(cas.open(digest).unwrap().is_none(), "{digest} can be opened");
    assert_eq!(cas.size(digest).unwrap(), None, "{digest} has a size");
    assert!(!stored(cas).contains_key(digest), "{digest} is listed");
}
