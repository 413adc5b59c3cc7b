//! One binary for all tests of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

#[path = "cas/digest.rs"]
mod digest;
#[path = "cas/discard.rs"]
mod discard;
#[path = "cas/errors.rs"]
mod errors;
#[path = "cas/folder.rs"]
mod folder;
#[path = "cas/hasher.rs"]
mod hasher;
#[path = "cas/left.rs"]
mod left;
#[path = "cas/link.rs"]
mod link;
#[path = "cas/suite.rs"]
mod suite;
#[path = "cas/umask.rs"]
mod umask;
#[path = "cas/verify.rs"]
mod verify;
#[path = "cas/writer.rs"]
mod writer;
