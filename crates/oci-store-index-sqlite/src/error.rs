use std::fmt::Display;
use std::io;
use std::path::Path;

use oci_store_index::Error;
use oci_store_index::probe::{MUCH, probe};
use rusqlite::ErrorCode;
use rustix::io::Errno;

use crate::NAME;

/// An error that names the file or folder it is about.
pub(crate) fn about(path: &Path, what: impl Display) -> Error {
    Error::backend(NAME, format!("{}: {what}", path.display()))
}

/// An error of SQLite about the database file. SQLite tells little of what the operating system has told it.
pub(crate) fn explained(file: &Path, error: &rusqlite::Error) -> Error {
    use ErrorCode::{
        CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    let os = |errno: Errno| Error::io(NAME, file, errno.into());
    let asked = || file.parent().and_then(|dir| probe(dir, MUCH).err());
    match error.sqlite_error_code() {
        Some(NotADatabase) => Error::damaged(NAME, file, "the file is damaged, or is not an SQLite database"),
        Some(DatabaseCorrupt) => Error::damaged(NAME, file, format_args!("the file is damaged: {error}")),
        Some(DiskFull) => os(Errno::NOSPC),
        Some(OutOfMemory) => os(Errno::NOMEM),
        Some(code @ (SystemIoFailure | CannotOpen | PermissionDenied | ReadOnly)) => match asked() {
            Some(error) => Error::io(NAME, file, error),
            None => os_or_own(file, code, error),
        },
        _ => about(file, error),
    }
}

/// What is left to say when a file can be made beside the database all the same.
fn os_or_own(file: &Path, code: ErrorCode, error: &rusqlite::Error) -> Error {
    let kind = match code {
        ErrorCode::SystemIoFailure => io::ErrorKind::Other,
        ErrorCode::CannotOpen if !file.exists() => io::ErrorKind::NotFound,
        ErrorCode::CannotOpen => io::ErrorKind::Other,
        _ => io::ErrorKind::PermissionDenied,
    };
    Error::io(NAME, file, io::Error::new(kind, error.to_string()))
}

/// Attaches the path to an I/O error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::io(NAME, path, error)
}
