//! Queues in front of LMDB's mutexes.
//!
//! LMDB's mutexes are robust against the death of an owner, but not of a waiter. An owner lets go and wakes the
//! waiter A; before A runs it is killed, and the owner or another process takes the mutex anew, unaware that
//! more are waiting. A waiter B then sleeps on when the mutex is free, until a third process comes to wait. So
//! nobody is let wait at a mutex: processes queue at the lock of a file, which the kernel passes on whoever dies,
//! and one at a time comes to the mutex.

use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oci_store_index::folder::{lock, unlock};

/// Waits that last so long are told to who wants to know. It is one after the store's own lock, so they are rare.
const NOTABLE: Duration = Duration::from_millis(100);

/// A lock over all threads and processes.
pub(crate) struct Gate {
    /// Threads queue at the mutex: a file's lock does not keep them from each other.
    file: Mutex<File>,
}

impl Gate {
    pub(crate) fn new(file: File) -> Self {
        Self { file: Mutex::new(file) }
    }

    /// Waits until nobody else is inside.
    pub(crate) fn enter(&self) -> io::Result<Entered<'_>> {
        let began = Instant::now();
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        lock(&file)?;
        let waited = began.elapsed();
        if waited >= NOTABLE {
            tracing::info!("waited {waited:.1?} for other transactions of the index to begin or end");
        }
        Ok(Entered { file })
    }
}

/// Leaves the gate when dropped.
#[must_use]
pub(crate) struct Entered<'a> {
    file: MutexGuard<'a, File>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // Cannot fail on an open file; if it did, closing the file would unlock it.
        let _ = unlock(&self.file);
    }
}
