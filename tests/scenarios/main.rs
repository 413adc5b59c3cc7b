//! Scenarios through the binary `oci-store`, each over every index of the build, in a store of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod adopt;
mod archive;
mod bad_input;
mod care;
mod comfort;
mod crowd;
mod data;
mod docker;
mod end;
mod export;
mod export_archive;
mod find;
mod history;
mod import;
mod index_files;
mod limits;
mod look;
mod mistakes;
mod moving;
mod namespaces;
mod original;
mod output;
mod paths;
mod places;
mod questions;
mod refs;
mod resume;
mod space;
mod stopped;
mod stream;
mod take;
mod thin;
mod tour;
mod traced;
mod upkeep;
