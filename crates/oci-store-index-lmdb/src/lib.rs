#![doc = include_str!("../README.md")]
//!
//! # Files
//! `data.mdb` holds the rows, `lock.mdb` LMDB's mutexes and its table of readers. Neither may be opened by any
//! other means while an index is open: closing `lock.mdb` would drop the locks of the whole process. Writers
//! queue at a lock (flock) of `write.lock`; openers, and for a moment each view, at one of the folder itself.
//!
//! # After a fork
//! An index belongs to the process that opened it. In a forked child its methods fail, and so does opening
//! the same folder again; a child that executes another program is not concerned.

mod environment;
mod error;
mod files;
mod gate;
mod header;
mod index;
mod table;
mod txn;
mod walk;

pub use index::{LmdbBackend, LmdbIndex};

/// The backend's name.
const NAME: &str = "lmdb";
