//! The limits that every backend keeps alike, and the checks for them.

use crate::{Error, Result};

/// The longest key, in bytes. LMDB's own limit is 511; the rest is left for backends to come.
pub const MAX_KEY: usize = 480;

/// The longest value, in bytes (64 MiB).
pub const MAX_VALUE: usize = 64 << 20;

/// Refuses keys that some backend could not take. Backends call it first in `get`, `put` and `delete`.
///
/// # Errors
/// [`Error::Key`].
pub fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() || key.len() > MAX_KEY { Err(Error::Key(key.len())) } else { Ok(()) }
}

/// Refuses values that some backend could not take. Backends call it in `put`.
///
/// # Errors
/// [`Error::Value`].
pub fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > MAX_VALUE { Err(Error::Value(value.len())) } else { Ok(()) }
}
