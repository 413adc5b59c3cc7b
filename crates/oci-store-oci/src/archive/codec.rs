//! Codec, told by the first bytes.

use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

/// How bytes are compressed, as far as they can be decompressed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
}

/// So many bytes tell.
const MAGIC: u64 = 6;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Those that are only told: their magic, name, and how to decompress them.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz", "xz -dc"),
    (b"BZh", "bzip2", "bzip2 -dc"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4", "lz4 -dc"),
];

impl Codec {
    /// What begins with `first`.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        match first {
            first if first.starts_with(GZIP) => Some(Self::Gzip),
            first if first.starts_with(ZSTD) => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The decompressed bytes. A window of more than 128 MiB is refused, as it is held in memory.
    pub(super) fn decoder<'r>(self, bytes: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
        let buffered = BufReader::with_capacity(BUFFER, bytes);
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(buffered)),
            Self::Zstd => Box::new(Decoder::with_buffer(buffered)?),
        })
    }
}

const BUFFER: usize = 128 << 10;

/// What to say about an archive that is empty, or compressed in a way that can't be read here; `from` is the file that it
/// is in, if it can be read again.
pub(super) fn unreadable(from: Option<&Path>, first: &[u8]) -> Option<String> {
    if first.is_empty() {
        return Some("it is empty".to_owned());
    }
    let (_, name, command) = OTHERS.iter().find(|(magic, ..)| first.starts_with(magic))?;
    let from = from.map(|from| format!(" {}", from.display())).unwrap_or_default();
    Some(format!("it is compressed with {name}: `{command}{from} | oci-store import -` takes it"))
}

/// Reads the first bytes that there are, up to [`MAGIC`].
pub(super) fn first(bytes: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    bytes.take(MAGIC).read_to_end(&mut first)?;
    Ok(first)
}
