use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;
use std::time::SystemTime;

use crate::{Digest, Result};

/// An open blob. It stays readable to its end even if the blob is deleted meanwhile.
pub trait Blob: Read + Seek + Send + Debug {
    /// The file under it, where there is one: a copy can then be made by the kernel, or be a reflink.
    fn as_file(&self) -> Option<&File> {
        None
    }

    /// How many bytes it had when it was opened, where that was seen.
    fn size(&self) -> Option<u64> {
        None
    }
}

/// A place for blobs named by digest.
///
/// Blobs are written in a [`Batch`]: staged where no reader can see them, then persisted together. A backend
/// neither hashes nor verifies: write through [`BlobWriter`](crate::BlobWriter), which does.
///
/// Invariants that every backend keeps: nothing that [`open`](Cas::open), [`size`](Cas::size) or
/// [`list`](Cas::list) shows is half-written; a blob's bytes never change; any number of threads and processes
/// may call everything at once.
pub trait Cas: Debug + Send + Sync {
    /// Opens a batch called `name`: 1 to 64 bytes of `a-z`, `0-9`, `-`. What is staged in it is kept apart under
    /// that name, so that what a dead process left can be found and [discarded](Cas::discard). The batch borrows
    /// nothing: a backend shares its state with it (an `Arc`, a path). A name that
    /// is in use is shared, not emptied.
    fn batch(&self, name: &str) -> Result<Box<dyn Batch>>;

    /// The names of all batches with something staged: in use, or left by a process that died.
    fn batches(&self) -> Result<Vec<String>>;

    /// Removes what is staged in the batch called `name`, and returns how many bytes that were. Idempotent. The
    /// caller knows that nobody uses it.
    fn discard(&self, name: &str) -> Result<u64>;

    /// How many bytes [`discard`](Cas::discard) would find in the batch called `name`; 0 if nobody knows.
    fn staged(&self, name: &str) -> Result<u64> {
        let _ = name;
        Ok(0)
    }

    /// Removes what lies where blobs are staged and cannot be of any batch, and returns how many bytes that were.
    /// Idempotent, and safe beside any number of batches in use.
    fn discard_strays(&self) -> Result<u64> {
        Ok(0)
    }

    /// Opens a blob for reading, or `None` if it is not here. Bytes are not verified (see
    /// [`VerifyReader`](crate::VerifyReader)).
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>>;

    /// A blob's size in bytes, or `None` if it is not here.
    fn size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// When a blob that is here came, or was last touched, by the clock of the place it lies in; `None` if nobody
    /// knows.
    fn changed(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        let _ = digest;
        Ok(None)
    }

    /// Deletes a blob; says whether it was there. Atomic and idempotent; not durable until [`sync`](Cas::sync).
    fn delete(&self, digest: &Digest) -> Result<bool>;

    /// Visits every blob, in no order, with its size in bytes. Blobs that come or go meanwhile may be seen or not.
    fn list(&self, visit: &mut dyn FnMut(Digest, u64) -> ControlFlow<()>) -> Result<()>;

    /// Makes durable what was persisted and deleted so far, by anybody. Persisted content is durable
    /// already; this is about names.
    fn sync(&self) -> Result<()>;
}

/// Blobs on their way into a [`Cas`]. Dropping it discards all that is staged and was not persisted.
pub trait Batch: Debug + Send + Sync {
    /// Begins a blob that no reader can see.
    fn stage(&self) -> Result<Box<dyn Stage + '_>>;

    /// Begins the blob that is to be `digest`. What a death leaves of it can be [taken over](Batch::take_over), by backends
    /// that know how.
    fn stage_as(&self, digest: &Digest) -> Result<Box<dyn Stage + '_>> {
        let _ = digest;
        self.stage()
    }

    /// Takes over what the batch called `dead` has of blobs of known digests, sealed or not, if it is no more bytes than `most`
    /// says of each. Each goes as a whole, to one of all who try. The caller knows that nobody uses that batch, but to do the
    /// same or to discard it.
    fn take_over(&self, dead: &str, most: &dyn Fn(&Digest) -> Option<u64>) -> Result<()> {
        let _ = (dead, most);
        Ok(())
    }

    /// Goes on with a blob of which something was taken over; `None` if nothing was, or if it was asked for before. Nothing
    /// is known of the bytes that are there: the caller hashes them through [`Stage::reader`], and writes behind them.
    /// [`BlobWriter::resume`](crate::BlobWriter::resume) does.
    fn resume(&self, digest: &Digest) -> Result<Option<Box<dyn Stage + '_>>> {
        let _ = digest;
        Ok(None)
    }

    /// Makes the content of every sealed blob durable, then makes it visible under its name: all that
    /// were sealed so far and not persisted yet. Each blob appears atomically, the batch as a whole does not. A
    /// blob that is there already is replaced by the same bytes. After an error, call nothing but drop: what
    /// was not yet visible never will be.
    ///
    /// Names are durable only after [`Cas::sync`].
    fn persist(&self) -> Result<()>;

    /// Opens a sealed blob that was not persisted, or returns `None` if there is none of that name. Bytes are those that were
    /// staged.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>>;

    /// Gives up a sealed blob that was not persisted; says whether there was one. Idempotent.
    fn forget(&self, digest: &Digest) -> Result<bool>;
}

/// One blob being written. Dropping it without [`seal`](Stage::seal) aborts: nothing of it is left.
pub trait Stage: Write + Send + Debug {
    /// Ends the blob and leaves it in the batch under `digest`, which the caller has verified. Two blobs sealed
    /// under one digest are the same blob.
    fn seal(self: Box<Self>, digest: &Digest) -> Result<()>;

    /// Fills an empty stage with the content of `source` by a reflink, which shares its blocks and copies
    /// nothing. `Ok(false)`: not possible here, or the stage is not empty; nothing was changed. The caller then
    /// hashes what is staged through [`reader`](Stage::reader), never the source, which may change.
    /// [`BlobWriter::reflink`](crate::BlobWriter::reflink) does.
    fn reflink(&mut self, source: &File) -> io::Result<bool> {
        let _ = source;
        Ok(false)
    }

    /// Makes an empty stage a hard link of `source`: one file under two names, whose mode and owner stay as they are. On an
    /// error nothing was changed. Nothing can be written into it then, and whoever may write the source can still change
    /// the blob, also after it was verified. The caller hashes what is staged, as for a reflink.
    /// [`BlobWriter::hardlink`](crate::BlobWriter::hardlink) does.
    fn hardlink(&mut self, source: &File) -> io::Result<()> {
        let _ = source;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What was staged so far, from its beginning.
    fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// Checks the name of a batch; for backends.
///
/// # Errors
/// [`Error::BatchName`](crate::Error::BatchName).
pub fn check_batch_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(crate::Error::BatchName(name.to_owned()))
    }
}
