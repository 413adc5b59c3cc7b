//! Other people's tools on the store: skopeo and umoci, both ways, and in place on the store's own folder.
//!
//! Without both of them each test says that it was skipped; with `OCI_STORE_INTEROP=require` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

#[allow(dead_code, reason = "the scenarios use more of it")]
#[path = "../common/mod.rs"]
mod common;

mod in_place;
mod taken_in;
mod tools;
mod ways;
