use std::sync::atomic::{AtomicBool, Ordering};

use oci_store_cas::Digest;

/// Told of what a long operation does; all methods have a default that does nothing. Called from several
/// threads.
pub trait Progress: Sync {
    /// So many blobs, with so many bytes in all, are to be copied or read. May be called again, with more.
    fn expect(&self, blobs: u64, bytes: u64) {
        let _ = (blobs, bytes);
    }

    /// The bytes of a blob begin to pass. What passes in this thread until it is done is of this blob.
    fn begin(&self, blob: &Digest, bytes: u64) {
        let _ = (blob, bytes);
    }

    /// So many more bytes have passed.
    fn passed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// A blob is done, in this thread.
    fn blob_done(&self) {}

    /// Whether the operation should end now, undone, with [`Error::Cancelled`](oci_store_base::Error::Cancelled).
    fn cancelled(&self) -> bool {
        false
    }
}

/// No progress is told, nothing is cancelled.
impl Progress for () {}

/// Cancelled by setting it.
impl Progress for AtomicBool {
    fn cancelled(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// Says so if it is cancelled.
pub(crate) fn check_cancelled(progress: &dyn Progress) -> crate::Result<()> {
    if progress.cancelled() { Err(oci_store_base::Error::Cancelled.into()) } else { Ok(()) }
}

/// For the `passed` of copies: tells, and ends the copy if it is cancelled.
pub(crate) fn passed(progress: &dyn Progress, bytes: u64) -> oci_store_cas::Result<()> {
    progress.passed(bytes);
    if progress.cancelled() { Err(oci_store_cas::Error::Cancelled) } else { Ok(()) }
}
