//! A store of App Container Images (ACIs) with a cache of what was fetched from where: a small store over
//! [`oci_store_base`] alone.
//!
//! An image is a blob named by its SHA-512. People see its [`key`]: `sha512-` and the first half of the hash in hex,
//! as appc's tools print it; any beginning of it finds the image again, as long as it is the only one.
//!
//! A [`Remote`] is the record of one URL: what HTTP said about caching, and the image that came. Records are what
//! keeps images: [`Store::gc`] takes those that no record names, and that nobody is about to record.
//!
//! Any number of processes and threads may share a store.

mod error;
mod remote;
mod store;

pub use error::{Error, Result};
pub use oci_store_base as base;
pub use remote::{Caching, Remote};
pub use store::{Image, KIND, NewImage, Store, key};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
