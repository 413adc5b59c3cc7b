//! One layer: a tar stream, hashed, compressed and hashed again while it is written.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// 2026-01-01, the time of everything here.
const TIME: u64 = 1_767_225_600;

/// What was written.
pub(super) struct Written {
    /// Of the compressed bytes, as the manifest names them.
    pub(super) digest: String,
    pub(super) size: u64,
    /// Of the tar stream, as the config names it.
    pub(super) diff_id: String,
}

type Inner = Hashed<GzEncoder<Hashed<BufWriter<File>>>>;

/// A layer that is being written.
pub(super) struct Layer(tar::Builder<Inner>);

impl Layer {
    /// gzip's fastest level, at which the large layers are still written faster than a disk takes them.
    pub(super) fn create(file: &Path) -> Result<Self> {
        let file = Hashed::new(BufWriter::new(File::create(file)?));
        Ok(Self(tar::Builder::new(Hashed::new(GzEncoder::new(file, Compression::fast())))))
    }

    pub(super) fn add(&mut self, path: &str, contents: impl Read, size: u64) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        Ok(self.0.append_data(&mut header, path, contents.take(size))?)
    }

    pub(super) fn finish(self) -> Result<Written> {
        let tar = self.0.into_inner()?;
        let diff_id = name(tar.hasher.finalize().as_slice());
        let mut file = tar.to.finish()?;
        file.flush()?;
        Ok(Written { digest: name(file.hasher.finalize().as_slice()), size: file.count, diff_id })
    }
}

/// The digest of these bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    name(Sha256::digest(bytes).as_slice())
}

fn name(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Passes bytes on, hashed and counted.
struct Hashed<W> {
    to: W,
    hasher: Sha256,
    count: u64,
}

impl<W> Hashed<W> {
    fn new(to: W) -> Self {
        Self { to, hasher: Sha256::new(), count: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
