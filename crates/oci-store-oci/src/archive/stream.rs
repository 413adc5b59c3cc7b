//! An archive that is read once, from its beginning to its end: a pipe, or one that is compressed. Whatever the order of its
//! members, each blob is verified and staged in a lease as it comes, and nothing is unpacked or copied besides. What says
//! which images there are is kept in memory, and looked at in the end.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_store_base::LeaseGuard;
use oci_store_cas::Digest;

use super::codec::{self, Codec};
use super::members::{Budget, ENDS, Kind, Look, MAX_MEMBERS, Member, NO_FILE, TWICE};
use super::name::{Names, Place, normal, resolve};
use super::read_member;
use super::received::{Documents, File, Received};
use crate::layout::MAX_OCI_LAYOUT;
use crate::limits::{Limits, Most};
use crate::progress::{Progress, passed};
use crate::{Error, Result, Store, Transport};

/// A tar archive of an image layout or of `docker save`, compressed with gzip or zstd or not, that is read once. For
/// [`Store::import_stream`].
pub struct Stream {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    transport: Transport,
    limits: Limits,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(&self.path).finish()
    }
}

/// What may follow the end of an archive: `tar` fills the last of its records, which are no larger.
const MAX_TAIL: u64 = 1 << 20;

impl Stream {
    /// An archive that is still to be read; `origin` is for messages: a path, `stdin`.
    pub fn new(origin: impl Into<PathBuf>, reader: impl Read + Send + 'static) -> Self {
        let (path, reader) = (origin.into(), Box::new(reader));
        Self { path, reader, transport: Transport::Path, limits: Limits::default() }
    }

    /// With other limits than [those by default](Limits::default).
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What it is, for people.
    pub(crate) fn origin(&self) -> String {
        self.path.display().to_string()
    }

    /// One that is of what `transport` says.
    pub(crate) fn of(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// Reads all of it, into `lease`.
    pub(crate) fn receive<'s>(
        mut self,
        store: &'s Store,
        lease: &'s LeaseGuard,
        progress: &dyn Progress,
    ) -> Result<Received<'s>> {
        let path = std::mem::take(&mut self.path);
        let Self { mut reader, transport, limits, .. } = self;
        let first = codec::first(&mut reader).map_err(Error::io(&path))?;
        if let Some(why) = codec::unreadable(None, &first) {
            return Err(Error::archive(&path, why));
        }
        let whole = io::Cursor::new(first.clone()).chain(reader);
        let reader: Box<dyn Read + Send> = match Codec::of(&first) {
            Some(compression) => compression.decoder(whole).map_err(Error::io(&path))?,
            None => Box::new(whole),
        };
        let mut receiving = Receiving {
            path: &path,
            store,
            lease,
            progress,
            limits,
            may_be_docker: transport != Transport::OciArchive,
            names: Names::default(),
            documents: Documents::default(),
            blobs: HashMap::new(),
            files: HashMap::new(),
            links: Vec::new(),
        };
        receiving.read(reader)?;
        let Receiving { documents, blobs, mut files, links, .. } = receiving;
        if let Some((name, _)) = links.first().filter(|_| documents.index_json.is_some()) {
            return Err(Error::member(&path, name, NO_FILE));
        }
        resolve(&mut files, links).map_err(|name| Error::member(&path, &name, TWICE))?;
        Received::new(path, store, lease, limits, blobs).with(documents, files, transport, progress)
    }
}

/// A stream while it is read.
struct Receiving<'r> {
    path: &'r Path,
    store: &'r Store,
    lease: &'r LeaseGuard,
    progress: &'r dyn Progress,
    limits: Limits,
    /// Nothing was seen yet that is in image layouts alone: any file may be a layer.
    may_be_docker: bool,
    names: Names,
    documents: Documents,
    blobs: HashMap<Digest, u64>,
    files: HashMap<Vec<u8>, File>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Receiving<'_> {
    fn read(&mut self, reader: Box<dyn Read + Send>) -> Result<()> {
        let budget = Budget::new();
        let mut archive = tar::Archive::new(Once { reader, budget: budget.clone(), is_at_end: false });
        let mut look = Look::new(self.path, MAX_MEMBERS);
        for entry in archive.entries().map_err(Error::io(self.path))? {
            if let (Some(member), entry) = look.at(entry)? {
                budget.body();
                self.take(&member, &mut Body { entry, left: member.size })?;
            }
            budget.headers();
        }
        budget.body();
        let mut rest = archive.into_inner();
        if rest.is_at_end {
            return Err(Error::archive(self.path, "it was cut off: there is no end of the archive"));
        }
        // Who writes into a pipe should get rid of all; and what is compressed tells only there that it is whole.
        let tail = io::copy(&mut (&mut rest).take(MAX_TAIL), &mut io::sink());
        tail.map(drop).map_err(|error| Error::archive(self.path, format!("behind its last member: {error}")))
    }

    fn take(&mut self, member: &Member, body: &mut Body<'_>) -> Result<()> {
        let Member { name, place, kind, size } = member;
        let path = self.path;
        if *place != Place::Other && *place != Place::ManifestJson {
            self.may_be_docker = false;
        }
        match (kind, place) {
            (Kind::Folder, _) => Ok(()),
            (Kind::Link(_), _) if !self.may_be_docker => Err(Error::member(path, name, NO_FILE)),
            (Kind::Link(target), _) => {
                self.names.add(name).map_err(|why| Error::member(path, name, why))?;
                self.links.push((normal(name), target.clone()));
                Ok(())
            }
            (Kind::File, Place::Blob(digest)) => self.blob(name, digest, *size, body),
            (Kind::File, Place::Other) if self.may_be_docker => self.file(name, *size, body),
            (Kind::File, Place::Other) => self.pass(name, body),
            (Kind::File, place) => {
                let most = match place {
                    Place::OciLayout => MAX_OCI_LAYOUT,
                    _ => Most::index_json(self.limits.index_json),
                };
                let text = String::from_utf8_lossy(&normal(name)).into_owned();
                let bytes = read_member(path, &text, *size, body, most)?;
                let document = match place {
                    Place::IndexJson => &mut self.documents.index_json,
                    Place::OciLayout => &mut self.documents.oci_layout,
                    _ => &mut self.documents.manifest_json,
                };
                document.replace(bytes).map_or(Ok(()), |_| Err(Error::member(path, name, TWICE)))
            }
        }
    }

    /// Stages a blob that is named by its digest, if the store does not have it.
    fn blob(&mut self, name: &[u8], digest: &Digest, size: u64, body: &mut Body<'_>) -> Result<()> {
        if digest.known_algorithm().is_none() {
            return self.pass(name, body);
        }
        if self.blobs.insert(digest.clone(), size).is_some() {
            return Err(Error::member(self.path, name, TWICE));
        }
        // Named before it is looked for: what is there then stays.
        self.lease.name(std::slice::from_ref(digest))?;
        if self.has(digest, size)? {
            return self.pass(name, body);
        }
        self.progress.expect(1, size);
        let passed = &mut |bytes| passed(self.progress, bytes);
        self.lease.stage(digest, size, body, passed).map_err(|error| self.failed(name, error))?;
        self.progress.blob_done();
        Ok(())
    }

    /// Stages a file that `manifest.json` may name.
    fn file(&mut self, name: &[u8], size: u64, body: &mut Body<'_>) -> Result<()> {
        let plain = normal(name);
        self.names.add(&plain).map_err(|why| Error::member(self.path, name, why))?;
        self.progress.expect(1, size);
        let passed = &mut |bytes| passed(self.progress, bytes);
        let (digest, size) = self.lease.stage_unknown(body, passed).map_err(|error| self.failed(name, error))?;
        if self.has(&digest, size)? {
            self.lease.discard(&digest)?;
        }
        self.progress.blob_done();
        let file = File { digest, size };
        self.files.insert(plain, file).map_or(Ok(()), |_| Err(Error::member(self.path, name, TWICE)))
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        let base = self.store.base();
        let row = base.view(|view| view.blob(digest))?;
        Ok(row.is_some_and(|row| row.size == size) && base.has(digest)?)
    }

    fn pass(&self, name: &[u8], body: &mut Body<'_>) -> Result<()> {
        let mut buffer = vec![0; 128 << 10];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) if self.progress.cancelled() => return Err(oci_store_base::Error::Cancelled.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::member(self.path, name, error)),
            }
        }
    }

    /// Says whose fault it is that a member could not be staged.
    fn failed(&self, name: &[u8], error: oci_store_base::Error) -> Error {
        use oci_store_cas::Error as Cas;
        match error {
            _ if self.progress.cancelled() => oci_store_base::Error::Cancelled.into(),
            oci_store_base::Error::Cas(Cas::Stream(error)) => Error::member(self.path, name, error),
            oci_store_base::Error::Cas(error @ (Cas::DigestMismatch { .. } | Cas::SizeMismatch { .. })) => {
                Error::Source { origin: self.path.display().to_string(), error: Box::new(error.into()) }
            }
            error => error.into(),
        }
    }
}

/// The archive as `tar` reads it.
struct Once {
    reader: Box<dyn Read + Send>,
    budget: Budget,
    is_at_end: bool,
}

impl Read for Once {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.is_at_end |= n == 0 && !buffer.is_empty();
        self.budget.take(n)
    }
}

/// A member's bytes; it is an error if there are too few.
struct Body<'a> {
    entry: tar::Entry<'a, Once>,
    left: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.entry.read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ENDS));
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}
