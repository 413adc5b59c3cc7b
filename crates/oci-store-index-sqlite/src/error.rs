use std::fmt::Display;
use std::io;
use std::path::Path;

use oci_store_index::Error;
use rusqlite::ErrorCode;

use crate::NAME;

/// An error that names the file or folder it is about.
pub(crate) fn about(path: &Path, what: impl Display) -> Error {
    Error::backend(NAME, format!("{}: {what}", path.display()))
}

/// An error of SQLite about the database file.
pub(crate) fn explained(file: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => about(file, "the file is damaged, or is not an SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => about(file, format_args!("the file is damaged: {error}")),
        _ => about(file, error),
    }
}

/// Attaches the path to an I/O error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| about(path, error)
}
