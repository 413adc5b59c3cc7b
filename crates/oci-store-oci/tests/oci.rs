//! One binary for all tests of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

#[path = "oci/archive.rs"]
mod archive;
#[path = "oci/check.rs"]
mod check;
#[path = "oci/child.rs"]
mod child;
#[path = "oci/common.rs"]
mod common;
#[path = "oci/concurrency.rs"]
mod concurrency;
#[path = "oci/documents.rs"]
mod documents;
#[path = "oci/export.rs"]
mod export;
#[path = "oci/foreign.rs"]
mod foreign;
#[path = "oci/gc.rs"]
mod gc;
#[path = "oci/images.rs"]
mod images;
#[path = "oci/import.rs"]
mod import;
#[path = "oci/layouts.rs"]
mod layouts;
#[path = "oci/maintain.rs"]
mod maintain;
#[path = "oci/model.rs"]
mod model;
#[path = "oci/moving.rs"]
mod moving;
#[path = "oci/names.rs"]
mod names;
#[path = "oci/projection.rs"]
mod projection;
#[path = "oci/prune.rs"]
mod prune;
#[path = "oci/questions.rs"]
mod questions;
#[path = "oci/refs.rs"]
mod refs;
#[path = "oci/reindex.rs"]
mod reindex;
#[path = "oci/reindex_lost.rs"]
mod reindex_lost;
#[path = "oci/repair.rs"]
mod repair;
#[path = "oci/sharing.rs"]
mod sharing;
#[path = "oci/sources.rs"]
mod sources;
