use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A hash algorithm that this crate can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, the one that every OCI tool reads.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// BLAKE3 with 256 bits of output. Computed with the feature `blake3`, else only parsed.
    Blake3,
}

impl Algorithm {
    /// All of them, in the order in which digests sort.
    pub const ALL: [Self; 4] = [Self::Sha256, Self::Sha384, Self::Sha512, Self::Blake3];

    #[cfg(not(feature = "blake3"))]
    pub(crate) const KNOWN_TEXT: &'static str = "sha256, sha384, sha512";
    #[cfg(feature = "blake3")]
    pub(crate) const KNOWN_TEXT: &'static str = "sha256, sha384, sha512, blake3";

    /// The name before the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    /// The digest's length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a number of bytes that is never 0")]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The algorithm of that name, if it is one of [`ALL`](Self::ALL).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The first byte of [`Digest::to_key`]; 0 is every other algorithm.
    const fn code(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
            Self::Blake3 => 4,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A blob's name: an algorithm and a hash, as in `sha256:2c26b46b…` (image-spec, *Digests*).
///
/// Parsing is strict: registered algorithms take exactly their number of lower-case hex digits, others
/// whatever the grammar allows, up to [`Digest::MAX_TEXT`] bytes in all. No digest contains `/` or is `.` or `..`,
/// so both parts are safe as file names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Sha256([u8; 32]),
    // Boxed, as they are rare: a digest is 40 bytes and not 72, in collections of very many and in errors.
    Sha384(Box<[u8; 48]>),
    Sha512(Box<[u8; 64]>),
    Blake3([u8; 32]),
    /// The text, and where its colon is.
    Other(Arc<str>, u8),
}

impl Digest {
    /// The longest digest of an unregistered algorithm, in bytes of text.
    pub const MAX_TEXT: usize = 120;

    /// A digest from an algorithm and raw bytes; `None` if their number is not [`Algorithm::len`].
    #[must_use]
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Sha256 => Repr::Sha256(raw.try_into().ok()?),
            Algorithm::Sha384 => Repr::Sha384(Box::new(raw.try_into().ok()?)),
            Algorithm::Sha512 => Repr::Sha512(Box::new(raw.try_into().ok()?)),
            Algorithm::Blake3 => Repr::Blake3(raw.try_into().ok()?),
        }))
    }

    /// The algorithm, if it is a registered one.
    #[must_use]
    pub fn known_algorithm(&self) -> Option<Algorithm> {
        match &self.0 {
            Repr::Sha256(_) => Some(Algorithm::Sha256),
            Repr::Sha384(_) => Some(Algorithm::Sha384),
            Repr::Sha512(_) => Some(Algorithm::Sha512),
            Repr::Blake3(_) => Some(Algorithm::Blake3),
            Repr::Other(..) => None,
        }
    }

    /// What is before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        match &self.0 {
            Repr::Other(text, colon) => text.get(..usize::from(*colon)).unwrap_or_default(),
            _ => self.known_algorithm().map_or("", Algorithm::name),
        }
    }

    /// What is after the colon.
    #[must_use]
    pub fn encoded(&self) -> String {
        match &self.0 {
            Repr::Other(text, colon) => text.get(usize::from(*colon) + 1..).unwrap_or_default().to_owned(),
            _ => hex(self.raw(), &mut [0; HEX]).to_owned(),
        }
    }

    /// The hash's bytes; for unregistered algorithms, whose encoding is not known, the text's.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        match &self.0 {
            Repr::Sha256(raw) | Repr::Blake3(raw) => raw,
            Repr::Sha384(raw) => raw.as_slice(),
            Repr::Sha512(raw) => raw.as_slice(),
            Repr::Other(text, _) => text.as_bytes(),
        }
    }

    /// A compact form that sorts by algorithm, then by hash, for use in index keys: at most
    /// 1 + [`MAX_TEXT`](Self::MAX_TEXT) + 1 bytes. No key is a prefix of another one.
    #[must_use]
    pub fn to_key(&self) -> Vec<u8> {
        let raw = self.raw();
        let mut key = Vec::with_capacity(raw.len() + 2);
        key.push(self.known_algorithm().map_or(0, Algorithm::code));
        if let Repr::Other(..) = self.0 {
            // An end mark, which no digest has in its text. A length before it would sort by length first.
            key.extend_from_slice(raw);
            key.push(0);
        } else {
            key.extend_from_slice(raw);
        }
        key
    }

    /// Reads a digest from the beginning of `bytes`, as [`to_key`](Self::to_key) wrote it, and returns what is
    /// behind it.
    #[must_use]
    pub fn split_key(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&code, rest) = bytes.split_first()?;
        if let Some(algorithm) = Algorithm::ALL.into_iter().find(|algorithm| algorithm.code() == code) {
            let (raw, rest) = rest.split_at_checked(algorithm.len())?;
            return Some((Self::from_raw(algorithm, raw)?, rest));
        }
        if code != 0 {
            return None;
        }
        let end = rest.iter().take(Self::MAX_TEXT + 1).position(|&byte| byte == 0)?;
        let (text, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let digest: Self = std::str::from_utf8(text).ok()?.parse().ok()?;
        // One digest has one key: a registered algorithm is not written out.
        digest.known_algorithm().is_none().then_some((digest, rest))
    }

    /// The beginning of the keys of all digests of `algorithm`.
    #[must_use]
    pub fn key_prefix(algorithm: Algorithm) -> [u8; 1] {
        [algorithm.code()]
    }
}

/// The digits of the longest hash.
const HEX: usize = 128;

/// Writes bytes in hex to the beginning of `text`, which has room for them.
fn hex<'t>(raw: &[u8], text: &'t mut [u8; HEX]) -> &'t str {
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(raw) {
        *pair = PAIRS[usize::from(*byte)];
    }
    let digits = text.get(..2 * raw.len()).unwrap_or_default();
    std::str::from_utf8(digits).unwrap_or_default()
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Each byte in hex.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// What digits stand for, by their code; all else for [`NO_DIGIT`].
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xff;

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no digest: {why}")]
pub struct InvalidDigest {
    text: String,
    why: &'static str,
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        parse(text).map_err(|why| InvalidDigest { text: text.chars().take(160).collect(), why })
    }
}

fn parse(text: &str) -> Result<Digest, &'static str> {
    let (algorithm, encoded) = text.split_once(':').ok_or("there is no colon in it")?;
    if let Some(known) = Algorithm::by_name(algorithm) {
        if encoded.len() != known.len() * 2 {
            return Err("the hash has the wrong length for its algorithm");
        }
        let (mut raw, mut seen) = ([0; 64], 0);
        let (pairs, _) = encoded.as_bytes().as_chunks::<2>();
        for (byte, [high, low]) in raw.iter_mut().zip(pairs) {
            let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
            *byte = high << 4 | low;
            seen |= high | low;
        }
        // No digit's value has a high bit.
        if seen > 15 {
            return Err("the hash has something other than lower-case hex digits");
        }
        let raw = raw.get(..known.len()).unwrap_or_default();
        return Digest::from_raw(known, raw).ok_or("the hash has the wrong length for its algorithm");
    }
    if text.len() > Digest::MAX_TEXT {
        return Err("it is too long");
    }
    // algorithm ::= component (separator component)*, component ::= [a-z0-9]+, separator ::= [+._-]
    let component = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !algorithm.split(['+', '.', '_', '-']).all(component) {
        return Err("its algorithm is not lower-case letters and digits, joined by + . _ or -");
    }
    let in_encoded = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-');
    if encoded.is_empty() || !encoded.bytes().all(in_encoded) {
        return Err("what follows the colon is not letters, digits, =, _ and -");
    }
    let colon = u8::try_from(algorithm.len()).map_err(|_| "it is too long")?;
    Ok(Digest(Repr::Other(text.into(), colon)))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Other(text, _) => f.pad(text),
            _ => {
                let mut digits = [0; HEX];
                let encoded = hex(self.raw(), &mut digits);
                match (f.width(), f.precision()) {
                    (None, None) => [self.algorithm(), ":", encoded].into_iter().try_for_each(|part| f.write_str(part)),
                    _ => f.pad(&format!("{}:{encoded}", self.algorithm())),
                }
            }
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// A digest's text, which is not kept.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}
