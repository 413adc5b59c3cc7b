use std::fs::File;
use std::io::{self, Read, Write};

use crate::{Algorithm, Batch, Digest, Error, Hasher, Result, Stage};

/// What is known of a blob before its bytes are.
#[derive(Clone, Debug)]
pub struct Expect {
    digest: Option<Digest>,
    size: Option<u64>,
    algorithm: Algorithm,
}

impl Expect {
    /// Nothing is known; its digest is to be computed with `algorithm`.
    #[must_use]
    pub fn any(algorithm: Algorithm) -> Self {
        Self { digest: None, size: None, algorithm }
    }

    /// Its digest is known.
    #[must_use]
    pub fn digest(digest: Digest) -> Self {
        // The fall-back is never used: `BlobWriter::new` refuses such a digest.
        let algorithm = digest.known_algorithm().unwrap_or(Algorithm::Sha256);
        Self { digest: Some(digest), size: None, algorithm }
    }

    /// Its size in bytes is known too.
    #[must_use]
    pub fn size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// Refuses the first byte too many. Not if the digest is unknown: the blob has no name yet to complain of.
    fn check_room(&self, total: u64) -> Result<()> {
        match (&self.digest, self.size) {
            (Some(digest), Some(size)) if total > size => {
                Err(Error::SizeMismatch { digest: digest.clone(), expected: size, actual: size + 1, truncated: false })
            }
            _ => Ok(()),
        }
    }
}

/// Writes one blob into a [`Batch`], hashing as the bytes pass; nothing gets in whose digest or size is not the
/// expected one. Dropping it without [`finish`](BlobWriter::finish) leaves nothing behind.
#[derive(Debug)]
#[must_use = "a blob that is not finished is dropped"]
pub struct BlobWriter<'b> {
    stage: Box<dyn Stage + 'b>,
    hasher: Hasher,
    expect: Expect,
    written: u64,
    /// The stage may hold bytes that were not hashed.
    broken: bool,
}

impl<'b> BlobWriter<'b> {
    /// Begins a blob.
    ///
    /// # Errors
    /// [`Error::UnknownAlgorithm`] if its digest can't be checked; what [`Batch::stage`] returns.
    pub fn new(batch: &'b dyn Batch, expect: Expect) -> Result<Self> {
        let (hasher, stage) = match &expect.digest {
            Some(digest) => (Hasher::for_digest(digest)?, batch.stage_as(digest)?),
            None => {
                let unknown = || Error::Stream(io::Error::other(format!("can't compute {}", expect.algorithm)));
                (Hasher::new(expect.algorithm).ok_or_else(unknown)?, batch.stage()?)
            }
        };
        Ok(Self { stage, hasher, expect, written: 0, broken: false })
    }

    /// Goes on with a blob of known digest of which the batch has [taken over](Batch::take_over) the beginning, and hashes what
    /// is there; [`written`](Self::written) tells how much that is. `None` if there is nothing.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`copy`](Self::copy).
    pub fn resume(
        batch: &'b dyn Batch,
        digest: &Digest,
        size: u64,
        passed: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Option<Self>> {
        let hasher = Hasher::for_digest(digest)?;
        let Some(stage) = batch.resume(digest)? else { return Ok(None) };
        let expect = Expect::digest(digest.clone()).size(size);
        let mut writer = Self { stage, hasher, expect, written: 0, broken: false };
        writer.hash_staged(passed)?;
        Ok(Some(writer))
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Copies all of `source` in, in pieces of 128 KiB; calls `passed` with the number of bytes after each.
    /// Stops at the first byte too many. An error of `passed` ends the copy.
    ///
    /// # Errors
    /// Those of reading, writing and `passed`; [`Error::SizeMismatch`] if there are too many bytes.
    pub fn copy(&mut self, source: &mut dyn Read, passed: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        pieces(source, &mut |piece| {
            self.write_all(piece)?;
            passed(piece.len() as u64)
        })
    }

    /// Takes all of `source` in by a reflink, which copies nothing, and hashes it as [`copy`](Self::copy) does.
    /// `Ok(false)`: not possible here, or something was written already; nothing was changed.
    ///
    /// # Errors
    /// Those of `copy`. The blob can't be finished after one.
    pub fn reflink(&mut self, source: &File, passed: &mut dyn FnMut(u64) -> Result<()>) -> Result<bool> {
        if self.written > 0 || self.broken || !self.stage.reflink(source)? {
            return Ok(false);
        }
        self.hash_staged(passed)?;
        Ok(true)
    }

    /// Takes `source` in as a hard link, see [`Stage::hardlink`], and hashes it as [`copy`](Self::copy) does. The inner
    /// error says why there can be no link, or that something was written already; nothing was changed then.
    ///
    /// # Errors
    /// Those of `copy`. The blob can't be finished after one.
    pub fn hardlink(&mut self, source: &File, passed: &mut dyn FnMut(u64) -> Result<()>) -> Result<io::Result<()>> {
        if self.written > 0 || self.broken {
            return Ok(Err(io::Error::other("something was written already")));
        }
        match self.stage.hardlink(source) {
            Ok(()) => self.hash_staged(passed).map(Ok),
            Err(why) => Ok(Err(why)),
        }
    }

    /// Hashes what is staged and was not written through here.
    fn hash_staged(&mut self, passed: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        // Until the hash has caught up with the stage.
        self.broken = true;
        pieces(&mut *self.stage.reader()?, &mut |piece| {
            let total = self.written + piece.len() as u64;
            self.expect.check_room(total)?;
            self.hasher.update(piece);
            self.written = total;
            passed(piece.len() as u64)
        })?;
        self.broken = false;
        Ok(())
    }

    /// Verifies digest and size, and seals the blob in its batch; returns both. It becomes visible with
    /// [`Batch::persist`].
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`], in which case nothing is left of it; what
    /// [`Stage::seal`] returns.
    pub fn finish(self) -> Result<(Digest, u64)> {
        if self.broken {
            return Err(Error::Stream(io::Error::other("a blob can't be finished after an error")));
        }
        let actual = self.hasher.finish();
        if let Some(expected) = self.expect.size
            && expected != self.written
        {
            let digest = self.expect.digest.unwrap_or(actual);
            let truncated = self.written < expected;
            return Err(Error::SizeMismatch { digest, expected, actual: self.written, truncated });
        }
        if let Some(expected) = self.expect.digest
            && expected != actual
        {
            return Err(Error::DigestMismatch { expected, actual });
        }
        self.stage.seal(&actual)?;
        Ok((actual, self.written))
    }
}

impl Write for BlobWriter<'_> {
    /// Refuses the first byte too many. What was hashed is what was staged, also after an error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.expect.check_room(self.written + bytes.len() as u64)?;
        let n = self.stage.write(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stage.flush()
    }
}

/// Reads to the end, in pieces of 128 KiB.
fn pieces(source: &mut dyn Read, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(buffer.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
