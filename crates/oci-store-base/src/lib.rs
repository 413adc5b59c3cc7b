//! A content-addressable store on disk that many processes share: the base of `oci-store`, which itself
//! knows nothing of OCI.
//!
//! Blobs named by digest, with a transactional index beside them: what is known of each blob, additional data
//! per blob, key/value data that may reference a blob, and edges from blob to blob. What something keeps stays;
//! what nothing keeps is collected, at any moment, beside any number of writers.
//!
//! - [`Store::update`] is the one point where everything is decided: an exclusive transaction.
//! - [`Store::lease`] is how blobs are written: under a [`LeaseGuard`], so that nothing written is collected
//!   before its owner has tied it to something.
//! - [`Store::collect`], [`Store::unlink_pending`]: the garbage collection, in its two halves.
//!
//! No index is named here: [`OpenOptions`] takes the [`Backend`](oci_store_index::Backend)s that there are.

mod blob_data;
mod blobs;
mod claims;
mod collect;
mod config;
mod convert;
mod counts;
mod current;
mod data;
mod decide;
mod edges;
mod error;
mod file_locks;
mod filesystem;
mod flock;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod keeper;
mod lease;
mod link_mode;
mod locks;
mod mark;
mod migrate;
mod name;
mod open;
mod paths;
mod rebuild;
mod reindex;
mod replace;
mod reserve;
mod resume;
mod schema;
mod sealed;
mod share;
mod sorter;
mod store;
mod sweep;
mod time;
mod txn;
mod unlink;

pub use blobs::{BlobFilter, BlobInfo, split_prefix, the_only};
pub use collect::{Collected, Extent, RECORDS_GONE};
pub use config::{OWN_FOLDER, TEMPORARY};
pub use data::{Condition, Data, Space};
pub use edges::{Edge, Edges, Link};
pub use error::{Error, Result};
pub use file_locks::FileLocks;
pub use filesystem::network_filesystem;
pub use lease::{LeaseGuard, NewBlob};
pub use link_mode::LinkMode;
pub use locks::{DeadLease, Guard, Lease, LeaseHold, LeaseInfo, Lock, Locks, Mode, Wait};
pub use name::MAX_NAME;
pub use oci_store_cas::{self as cas, Access};
pub use oci_store_index as index;
pub use open::OpenOptions;
pub use paths::{Keeper, Kept, Path, Step};
pub use rebuild::{Described, Rebuild};
pub use reindex::Reindexed;
pub use resume::Resumed;
pub use schema::FORMAT;
pub use store::Store;
pub use txn::{Txn, View};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
