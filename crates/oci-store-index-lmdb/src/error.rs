use std::fmt::Display;
use std::io;
use std::path::Path;

use heed::MdbError;
use oci_store_index::Error;

use crate::NAME;

/// An error that names the file or folder it is about.
pub(crate) fn about(path: &Path, what: impl Display) -> Error {
    Error::backend(NAME, format!("{}: {what}", path.display()))
}

/// An error of LMDB, said plainly where LMDB's own words would not tell what to do.
pub(crate) fn explained(dir: &Path, error: &heed::Error) -> Error {
    match error {
        heed::Error::Mdb(MdbError::MapFull) => {
            about(dir, "the index is full: it may not grow beyond the address space mapped for it when it was opened")
        }
        heed::Error::Mdb(MdbError::MapResized) => {
            about(dir, "the index has outgrown the address space that this process has mapped for it; open it again")
        }
        heed::Error::Mdb(MdbError::ReadersFull) => {
            about(dir, "too many transactions are reading at once: no slot is free in lock.mdb")
        }
        heed::Error::Mdb(MdbError::Invalid) => about(dir, "data.mdb or lock.mdb is not a file of LMDB, or is damaged"),
        heed::Error::Mdb(MdbError::VersionMismatch) => {
            about(dir, "data.mdb or lock.mdb was written by another version of LMDB, or on another kind of machine")
        }
        heed::Error::Mdb(MdbError::PageNotFound | MdbError::Corrupted) => {
            about(&dir.join("data.mdb"), format_args!("the file is damaged: {error}"))
        }
        heed::Error::Mdb(MdbError::Panic) => about(
            dir,
            "a thread of this process ended inside a transaction, or a write of the meta page failed; start it again",
        ),
        error => about(dir, error),
    }
}

/// Attaches the path to an I/O error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| about(path, error)
}
