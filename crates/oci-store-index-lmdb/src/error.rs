use std::fmt::Display;
use std::io;
use std::path::Path;

use heed::MdbError;
use oci_store_index::Error;
use oci_store_index::probe::{MUCH, probe};
use rustix::io::Errno;

use crate::NAME;

/// An error that names the file or folder it is about.
pub(crate) fn about(path: &Path, what: impl Display) -> Error {
    Error::backend(NAME, format!("{}: {what}", path.display()))
}

/// What is wrong with files that are damaged, or are not LMDB's.
pub(crate) fn damaged(path: &Path, what: impl Display) -> Error {
    Error::damaged(NAME, path, what)
}

/// An error of LMDB, said plainly where LMDB's own words would not tell what to do.
pub(crate) fn explained(dir: &Path, error: heed::Error) -> Error {
    match error {
        // LMDB calls a write that came to an end too soon an I/O error: of a disk that has just become full, say.
        heed::Error::Io(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            Error::io(NAME, dir, probe(dir, MUCH).err().unwrap_or(error))
        }
        heed::Error::Io(error) => Error::io(NAME, dir, error),
        heed::Error::Mdb(MdbError::MapFull) => {
            about(dir, "the index is full: it may not grow beyond the address space mapped for it when it was opened")
        }
        heed::Error::Mdb(MdbError::MapResized) => {
            about(dir, "the index has outgrown the address space that this process has mapped for it; open it again")
        }
        heed::Error::Mdb(MdbError::ReadersFull) => {
            about(dir, "too many transactions are reading at once: no slot is free in lock.mdb")
        }
        heed::Error::Mdb(MdbError::Invalid) => {
            damaged(dir, "data.mdb or lock.mdb is not a file of LMDB, or is damaged")
        }
        heed::Error::Mdb(MdbError::VersionMismatch) => {
            damaged(dir, "data.mdb or lock.mdb was written by another version of LMDB, or on another kind of machine")
        }
        heed::Error::Mdb(error @ (MdbError::PageNotFound | MdbError::Corrupted)) => {
            damaged(&dir.join("data.mdb"), format_args!("the file is damaged: {error}"))
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
    move |error| Error::io(NAME, path, error)
}
