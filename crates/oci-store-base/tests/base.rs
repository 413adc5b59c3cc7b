//! One binary for all tests of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

#[path = "base/blobs.rs"]
mod blobs;
#[path = "base/child.rs"]
mod child;
#[path = "base/common.rs"]
mod common;
#[path = "base/concurrency.rs"]
mod concurrency;
#[path = "base/counts.rs"]
mod counts;
#[path = "base/data.rs"]
mod data;
#[path = "base/filesystem.rs"]
mod filesystem;
#[path = "base/gc.rs"]
mod gc;
#[path = "base/keepers.rs"]
mod keepers;
#[path = "base/leases.rs"]
mod leases;
#[path = "base/locks.rs"]
mod locks;
#[path = "base/migration.rs"]
mod migration;
#[path = "base/model.rs"]
mod model;
#[path = "base/open.rs"]
mod open;
#[path = "base/order.rs"]
mod order;
#[path = "base/reindex.rs"]
mod reindex;
