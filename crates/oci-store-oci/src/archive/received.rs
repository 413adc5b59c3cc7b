//! What came with a stream, as a source: its blobs are staged in a lease, or were in the store already.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_store_base::LeaseGuard;
use oci_store_cas::{Blob, Digest, Hasher};

use super::codec::{self, Codec};
use super::docker::{self, Layer};
use super::name::{Place, normal, place};
use super::{InMemory, NO_INDEX, not, read_member};
use crate::index_json::{IndexJson, check_version};
use crate::limits::{Limits, Most};
use crate::progress::{Progress, check_cancelled};
use crate::referrers::Referrers;
use crate::source::{Content, Entry, ImageSource};
use crate::{Descriptor, Error, Result, Store, Transport};

/// The documents that say which images there are.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) index_json: Option<Vec<u8>>,
    pub(super) oci_layout: Option<Vec<u8>>,
    pub(super) manifest_json: Option<Vec<u8>>,
}

/// A file that is named by something else than its digest.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// A stream that was read to its end.
#[derive(Debug)]
pub(crate) struct Received<'s> {
    path: PathBuf,
    store: &'s Store,
    lease: &'s LeaseGuard,
    limits: Limits,
    blobs: HashMap<Digest, u64>,
    entries: Vec<Entry>,
    /// Manifests that were made.
    manifests: HashMap<Digest, Vec<u8>>,
    referrers: Referrers,
}

impl<'s> Received<'s> {
    pub(super) fn new(
        path: PathBuf,
        store: &'s Store,
        lease: &'s LeaseGuard,
        limits: Limits,
        blobs: HashMap<Digest, u64>,
    ) -> Self {
        let (entries, manifests, referrers) = (Vec::new(), HashMap::new(), Referrers::default());
        Self { path, store, lease, limits, blobs, entries, manifests, referrers }
    }

    /// Reads what says which images there are.
    pub(super) fn with(
        mut self,
        documents: Documents,
        files: HashMap<Vec<u8>, File>,
        transport: Transport,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let manifest_json = documents.manifest_json.filter(|_| transport != Transport::OciArchive);
        if transport == Transport::DockerArchive && manifest_json.is_none() {
            return Err(not(&self.path, docker::NO_MANIFEST));
        }
        let path = self.path.join("manifest.json");
        let items = manifest_json.map(|bytes| docker::items(&path, &bytes)).transpose()?;
        let Some(index_json) = documents.index_json else {
            let items = items.ok_or_else(|| not(&self.path, NO_INDEX))?;
            let mut files = Staged { received: &self, files, progress, verified: HashSet::new() };
            let made = docker::make(&path, &items, self.limits, &mut files)?;
            let files = files.files;
            self.blobs.extend(files.into_values().map(|File { digest, size }| (digest, size)));
            self.entries = made.entries;
            self.manifests = made.manifests;
            return Ok(self);
        };
        if let Some(bytes) = &documents.oci_layout {
            check_version(&self.path.join("oci-layout"), bytes)?;
        }
        let entries = IndexJson::parse(&self.path.join("index.json"), &index_json, self.limits)?.into_entries();
        self.entries = match items {
            Some(items) => docker::names(&self, entries, &items),
            None => entries,
        };
        Ok(self)
    }

    /// A blob that came, or that the store had and the lease keeps.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Blob>>> {
        match self.lease.read_staged(digest)? {
            Some(blob) => Ok(Some(blob)),
            None => Ok(self.store.base().cas().open(digest)?),
        }
    }
}

impl ImageSource for Received<'_> {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.entries.clone())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        let digest = &descriptor.digest;
        if let Some(bytes) = self.manifests.get(digest) {
            return Ok(Some(Box::new(InMemory(bytes))));
        }
        if digest.known_algorithm().is_none() {
            return Err(oci_store_cas::Error::UnknownAlgorithm(digest.clone()).into());
        }
        if !self.blobs.contains_key(digest) {
            return Ok(None);
        }
        Ok(self.open(digest)?.map(|blob| Box::new(blob) as Box<dyn Content>))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referrers.of(self, subject)
    }

    fn max_manifest(&self) -> u64 {
        self.limits.manifest
    }

    fn max_descriptors(&self) -> u64 {
        self.limits.descriptors
    }
}

/// The files of an archive of `docker save` that came with a stream.
struct Staged<'r, 's> {
    received: &'r Received<'s>,
    files: HashMap<Vec<u8>, File>,
    progress: &'r dyn Progress,
    /// Layers, each with its diff_id: several images may share them.
    verified: HashSet<(Digest, Digest)>,
}

impl Staged<'_, '_> {
    fn find(&self, name: &str) -> Option<File> {
        if let Ok(Place::Blob(digest)) = place(name.as_bytes(), false) {
            let size = *self.received.blobs.get(&digest)?;
            return Some(File { digest, size });
        }
        self.files.get(&normal(name.as_bytes())).cloned()
    }

    /// What a layer is called whose bytes, decompressed, are `bytes`, as `diff_id` would call it.
    fn diff_id(&self, path: &Path, diff_id: &Digest, mut bytes: Box<dyn Read + Send + '_>) -> Result<Digest> {
        let mut hasher = Hasher::for_digest(diff_id)?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            check_cancelled(self.progress)?;
            match bytes.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.update(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
    }
}

impl docker::Files for Staged<'_, '_> {
    fn config(&mut self, name: &str, most: Most) -> Result<Option<Vec<u8>>> {
        let Some(File { digest, size }) = self.find(name) else { return Ok(None) };
        let Some(mut blob) = self.received.open(&digest)? else { return Ok(None) };
        read_member(&self.received.path, name, size, &mut blob, most).map(Some)
    }

    fn layer(&mut self, name: &str, diff_id: &Digest) -> Result<Option<Layer>> {
        let Some(File { digest, size }) = self.find(name) else { return Ok(None) };
        let Some(mut blob) = self.received.open(&digest)? else { return Ok(None) };
        let path = self.received.path.join(name);
        let compression = Codec::of(&codec::first(&mut blob).map_err(Error::io(&path))?);
        if self.verified.contains(&(digest.clone(), diff_id.clone())) || (compression.is_none() && digest == *diff_id) {
            return Ok(Some(Layer { digest, size, compression }));
        }
        blob.rewind().map_err(Error::io(&path))?;
        let bytes = match compression {
            Some(compression) => compression.decoder(blob).map_err(Error::io(&path))?,
            None => blob,
        };
        let actual = self.diff_id(&path, diff_id, bytes)?;
        if actual != *diff_id {
            return Err(docker::other_layer(&self.received.path, name, diff_id, &actual));
        }
        self.verified.insert((digest.clone(), diff_id.clone()));
        Ok(Some(Layer { digest, size, compression }))
    }
}
