#![doc = include_str!("../README.md")]
//!
//! # Files
//! `index.sqlite` holds the rows; its log `-wal`, empty unless a process died, and the log's index
//! `-shm` stay beside it, so that it can be opened on a full disk. None may be opened by any
//! other means than SQLite while an index is open: closing it would drop the locks of the whole process.
//!
//! ```sql
//! CREATE TABLE kv(key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID
//! ```
//!
//! # After a fork
//! An index belongs to the process that opened it. In a forked child its methods fail; a child that executes
//! another program is not concerned.

mod busy;
mod connection;
mod error;
mod file;
mod index;
mod pool;
mod txn;

pub use index::{SqliteBackend, SqliteIndex};

/// The backend's name.
const NAME: &str = "sqlite";
