//! Content-addressable blobs: what an OCI store, or any other store of things named by their hash, is built on.
//!
//! - [`Digest`]: `sha256:…`, `sha384:…`, `sha512:…` (and `blake3:…`), compact, ordered, parsed strictly by the
//!   grammar of the OCI image-spec; names of other algorithms parse and are kept, but can't be verified.
//! - [`Hasher`]: computes one of them as bytes pass; [`VerifyReader`] checks bytes as they are read.
//! - [`Cas`]: the object-safe trait of a place for blobs, with a [`folder`] and a [`memory`] backend, and a
//!   `conformance` suite behind the feature of that name.
//! - [`BlobWriter`]: the one way to write into any [`Cas`]: it hashes and verifies, so that no backend can
//!   forget to.
//!
//! ```
//! use std::io::{Read, Write};
//! use oci_store_cas::{Algorithm, BlobWriter, Cas, Expect, memory::MemoryCas};
//!
//! let cas = MemoryCas::default();
//! let batch = cas.batch("one")?;
//! let mut blob = BlobWriter::new(&*batch, Expect::any(Algorithm::Sha256))?;
//! blob.write_all(b"hello")?;
//! let (digest, size) = blob.finish()?;
//! batch.persist()?;
//!
//! let mut text = String::new();
//! cas.open(&digest)?.expect("just written").read_to_string(&mut text)?;
//! assert_eq!((text.as_str(), size), ("hello", 5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[doc(hidden)]
pub mod attack;
mod cas;
mod digest;
mod error;
pub mod folder;
mod hasher;
pub mod memory;
#[doc(hidden)]
pub mod threads;
mod verify;
mod writer;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use cas::{Batch, Blob, Cas, Stage, check_batch_name};
pub use digest::{Algorithm, Digest, InvalidDigest};
pub use error::{Error, Result};
pub use folder::Access;
pub use hasher::Hasher;
pub use verify::VerifyReader;
pub use writer::{BlobWriter, Expect};

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
