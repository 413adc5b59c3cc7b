//! An archive of an image layout, that is written: the same images give the same bytes, whichever store they come from.
//!
//! No member has a time, an owner or a mode of its own, and their order says what is to come: `oci-layout`, `index.json`,
//! for Docker `manifest.json`, then manifests and indexes, parents before children, configs by digest, and all else by
//! digest.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use oci_store_cas::attack::{Point, reached};
use oci_store_cas::{Digest, VerifyReader};
use tar::{EntryType, Header};

use crate::destination::{Compression, Copied, Form, Packing, Plan, content, damaged, sync_folder};
use crate::docker;
use crate::index_json::IndexJson;
use crate::into_folder::{OCI_LAYOUT, with_images};
use crate::members::Members;
use crate::progress::{Progress, check_cancelled};
use crate::source::ImageSource;
use crate::temporary::Temporary;
use crate::{Error, Result};

/// What is read at once.
const PIECE: usize = 256 << 10;

/// Writes what is planned into the file `path`: beside it first, then in its place.
pub(crate) fn write_file(
    plan: &Plan,
    source: &dyn ImageSource,
    path: &Path,
    packing: Packing,
    sync: bool,
    progress: &dyn Progress,
) -> Result<Copied> {
    let (folder, target) = place(path)?;
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let temporary = Temporary::make(&folder)?;
    let part = temporary.path.join("archive");
    let file = File::create(&part).map_err(Error::io(&part))?;
    let copied = write(plan, source, &mut &file, packing, progress)
        // What is known of the temporary file helps nobody.
        .map_err(|error| match error {
            Error::Cas(oci_store_cas::Error::Stream(source)) => Error::io(path)(source),
            error => error,
        })?;
    if sync {
        file.sync_all().map_err(Error::io(path))?;
    }
    drop(file);
    fs::rename(&part, &target).map_err(Error::io(path))?;
    if sync {
        sync_folder(&folder)?;
    }
    Ok(copied)
}

/// The folder in which an archive is made, and what it replaces: where a link leads to, and nothing but an archive.
fn place(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let target = match path.canonicalize() {
        Ok(real) => {
            check_replaced(path, &real)?;
            real
        }
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder.to_owned(), target))
}

/// An archive replaces an archive, or an empty file.
fn check_replaced(path: &Path, real: &Path) -> Result<()> {
    if real.is_dir() {
        return Err(Error::archive(path, "is a folder: an archive is a file"));
    }
    let file = crate::layout::open_regular(real).map_err(Error::io(path))?;
    let mut first = Vec::new();
    file.take(512).read_to_end(&mut first).map_err(Error::io(path))?;
    let known: [&[u8]; 2] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd]];
    let is_tar = first.get(257..262) == Some(b"ustar");
    if first.is_empty() || is_tar || known.iter().any(|magic| first.starts_with(magic)) {
        return Ok(());
    }
    Err(Error::archive(path, "is a file that is no archive, and is left alone: remove it, or name another"))
}

/// Writes what is planned into a stream.
pub(crate) fn write(
    plan: &Plan,
    source: &dyn ImageSource,
    to: &mut dyn Write,
    packing: Packing,
    progress: &dyn Progress,
) -> Result<Copied> {
    let members = Members::of(plan, source)?;
    let mut index = with_images(IndexJson::new(Vec::new()), plan);
    let manifest_json = match packing.form {
        Form::Oci => None,
        Form::Docker => Some(docker::manifest_json(plan, source, &mut index)?),
    };
    let index = serde_json::to_vec(&index).map_err(|error| Error::document("index.json", error))?;
    let blobs = members.all().count() as u64;
    let bytes = members.all().map(|(_, size)| size).sum();
    progress.expect(blobs, bytes);
    let mut out = Out::new(BufWriter::with_capacity(PIECE, to), packing.compression).map_err(stream)?;
    file(&mut out, "oci-layout", OCI_LAYOUT)?;
    file(&mut out, "index.json", &index)?;
    if let Some(bytes) = manifest_json {
        file(&mut out, "manifest.json", &bytes)?;
    }
    folder(&mut out, "blobs/")?;
    let algorithms: BTreeSet<&str> = members.all().map(|(digest, _)| digest.algorithm()).collect();
    for algorithm in algorithms {
        folder(&mut out, &format!("blobs/{algorithm}/"))?;
    }
    let mut buffer = vec![0; PIECE];
    for (digest, size) in members.all() {
        reached(Point::BeforeCopy);
        progress.begin(digest, *size);
        blob(&mut out, source, digest, *size, &mut buffer, progress)?;
        progress.blob_done();
    }
    out.write_all(&[0; 1024]).and_then(|()| out.finish()).map_err(stream)?;
    Ok(Copied { blobs, bytes })
}

fn stream(error: io::Error) -> Error {
    Error::Cas(oci_store_cas::Error::Stream(error))
}

/// Copies a blob, verified. Its bytes are read in full anyway, and an archive is looked at by nobody before it is far away.
fn blob(
    out: &mut dyn Write,
    source: &dyn ImageSource,
    digest: &Digest,
    size: u64,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Result<()> {
    let name = format!("blobs/{}/{}", digest.algorithm(), digest.encoded());
    out.write_all(&header(&name, EntryType::Regular, size).map_err(stream)?).map_err(stream)?;
    let mut reader = VerifyReader::new(content(source, digest, size)?, digest, Some(size))?;
    loop {
        let n = match reader.read(buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(digest, error.into())),
        };
        out.write_all(buffer.get(..n).unwrap_or_default()).map_err(stream)?;
        progress.passed(n as u64);
        check_cancelled(progress)?;
    }
    pad(out, size).map_err(stream)
}

fn file(out: &mut dyn Write, name: &str, bytes: &[u8]) -> Result<()> {
    let size = bytes.len() as u64;
    let header = header(name, EntryType::Regular, size).map_err(stream)?;
    out.write_all(&header).and_then(|()| out.write_all(bytes)).and_then(|()| pad(out, size)).map_err(stream)
}

fn folder(out: &mut dyn Write, name: &str) -> Result<()> {
    header(name, EntryType::Directory, 0).and_then(|header| out.write_all(&header)).map_err(stream)
}

/// A member's header, with what goes before it where its name is long. `tar` writes headers; what follows them is
/// written here, as its builder ends an archive also where there was an error.
fn header(name: &str, kind: EntryType, size: u64) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, io::empty())?;
    Ok(std::mem::take(builder.get_mut()))
}

/// Members fill blocks of 512 bytes.
fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let rest = usize::try_from(size % 512).unwrap_or_default();
    out.write_all([0; 512].get(..(512 - rest) % 512).unwrap_or_default())
}

/// What compresses, or does not.
enum Out<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Out<W> {
    fn new(to: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(to),
            // Without a name and a time in its header.
            Compression::Gzip => Self::Gzip(GzEncoder::new(to, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    fn finish(self) -> io::Result<()> {
        let mut to = match self {
            Self::Plain(to) => to,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        to.flush()
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
