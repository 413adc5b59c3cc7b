use std::io::{self, Read};

use crate::{Digest, Error, Hasher, Result};

/// Passes bytes on and checks them: at the end of the stream, size and digest must be the expected ones, else
/// the last `read`, and each after it, fails with [`io::ErrorKind::InvalidData`] around the crate's [`Error`].
///
/// Bytes have passed before the verdict is known: do not act on them before the end was read without an error.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    digest: Digest,
    size: Option<u64>,
    passed: u64,
    hash: Hash,
}

#[derive(Debug)]
enum Hash {
    Running(Hasher),
    /// The end was reached, where reading again must say the same again.
    Ended(Digest),
}

impl<R: Read> VerifyReader<R> {
    /// Checks `inner` against `digest` and, if it is known, `size` in bytes.
    ///
    /// # Errors
    /// [`Error::UnknownAlgorithm`].
    pub fn new(inner: R, digest: &Digest, size: Option<u64>) -> Result<Self> {
        let hash = Hash::Running(Hasher::for_digest(digest)?);
        Ok(Self { inner, digest: digest.clone(), size, passed: 0, hash })
    }

    /// Reads to the end and says how many bytes there were in all; calls `passed` with the number of bytes
    /// after each piece, an error of which ends it.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`], those of reading and of `passed`.
    pub fn check(mut self, passed: &mut dyn FnMut(u64) -> Result<()>) -> Result<u64> {
        let mut buffer = vec![0; 128 << 10];
        loop {
            match self.step(&mut buffer) {
                Ok(0) => return Ok(self.passed),
                Ok(n) => passed(n as u64)?,
                Err(Error::Stream(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever is told has no path; the blob's name is what there is.
                Err(Error::Stream(error)) => return Err(Error::io(self.digest.to_string())(error)),
                Err(error) => return Err(error),
            }
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.inner.read(buffer)?;
        self.passed += n as u64;
        let wrong_size = |expected, actual, truncated| {
            Err(Error::SizeMismatch { digest: self.digest.clone(), expected, actual, truncated })
        };
        match self.size {
            Some(size) if self.passed > size => return wrong_size(size, size + 1, false),
            Some(size) if self.passed < size && n == 0 && !buffer.is_empty() => {
                return wrong_size(size, self.passed, true);
            }
            _ => {}
        }
        if let Hash::Running(hasher) = &mut self.hash {
            hasher.update(buffer.get(..n).unwrap_or_default());
            if n == 0 && !buffer.is_empty() {
                self.hash = Hash::Ended(hasher.clone().finish());
            }
        }
        match &self.hash {
            Hash::Ended(actual) if *actual != self.digest => {
                Err(Error::DigestMismatch { expected: self.digest.clone(), actual: actual.clone() })
            }
            _ => Ok(n),
        }
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step(buffer).map_err(io::Error::from)
    }
}
