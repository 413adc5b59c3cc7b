use std::io::{self, Write};

use digest::Digest as _;

use crate::{Algorithm, Digest, Error, Result};

/// Computes a [`Digest`] as bytes pass.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    #[cfg(feature = "blake3")]
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// A hasher for `algorithm`, or `None` if this build can't compute it.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            #[cfg(feature = "blake3")]
            Algorithm::Blake3 => State::Blake3(Box::default()),
            #[cfg(not(feature = "blake3"))]
            Algorithm::Blake3 => return None,
        }))
    }

    /// A hasher that can check bytes against `digest`.
    ///
    /// # Errors
    /// [`Error::UnknownAlgorithm`].
    pub fn for_digest(digest: &Digest) -> Result<Self> {
        digest.known_algorithm().and_then(Self::new).ok_or_else(|| Error::UnknownAlgorithm(digest.clone()))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha384(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
            #[cfg(feature = "blake3")]
            State::Blake3(hash) => {
                hash.update(bytes);
            }
        }
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        let digest = match self.0 {
            State::Sha256(hash) => Digest::from_raw(Algorithm::Sha256, &hash.finalize()),
            State::Sha384(hash) => Digest::from_raw(Algorithm::Sha384, &hash.finalize()),
            State::Sha512(hash) => Digest::from_raw(Algorithm::Sha512, &hash.finalize()),
            #[cfg(feature = "blake3")]
            State::Blake3(hash) => Digest::from_raw(Algorithm::Blake3, hash.finalize().as_bytes()),
        };
        // A hash function's output has the length of its algorithm: there is no input that could reach this.
        digest.unwrap_or_else(|| unreachable!("a hash of the wrong length"))
    }
}

/// Takes what is written; never fails.
impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
