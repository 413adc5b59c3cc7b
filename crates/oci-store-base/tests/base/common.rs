//! A store over each backend, and short words for what the tests do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_base::{
    Collected, Condition, Edge, Extent, LeaseGuard, Link, NewBlob, OpenOptions, Result, Space, Store,
};
use oci_store_cas::{Algorithm, Digest, Expect};
use oci_store_index::{Backend, memory::MemoryBackend};
use oci_store_index_lmdb::LmdbBackend;
use oci_store_index_sqlite::SqliteBackend;
use tempfile::TempDir;

/// The type of the records that are roots.
pub(crate) const REF: &str = "ref";

/// A folder for one store, and the backends to open it with.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    dir: TempDir,
    memory: MemoryBackend,
}

/// One for each backend.
pub(crate) fn benches() -> Vec<Bench> {
    ["memory", "lmdb", "sqlite"].into_iter().map(Bench::new).collect()
}

/// Those that live on disk: other processes see them.
pub(crate) fn disk_benches() -> Vec<Bench> {
    ["lmdb", "sqlite"].into_iter().map(Bench::new).collect()
}

impl Bench {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, dir: temporary(), memory: MemoryBackend::default() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn own(&self) -> PathBuf {
        self.root().join(".oci-store")
    }

    pub(crate) fn backends(&self) -> Vec<Arc<dyn Backend>> {
        backends(self.name, &self.memory)
    }

    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        self.backends().remove(0)
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions::new("test", self.backends())
    }

    pub(crate) fn open(&self) -> Store {
        self.options().open(self.root()).unwrap()
    }
}

/// In memory where that can be: a disk's syncs are most of what the tests would wait for. `TMPDIR` has them elsewhere.
fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    match TempDir::new_in(memory) {
        Ok(dir) if std::env::var_os("TMPDIR").is_none() => dir,
        _ => tempfile::tempdir().unwrap(),
    }
}

/// All backends, with the one called `name` first.
pub(crate) fn backends(name: &str, memory: &MemoryBackend) -> Vec<Arc<dyn Backend>> {
    let mut all: Vec<Arc<dyn Backend>> = vec![Arc::new(memory.clone()), Arc::new(LmdbBackend), Arc::new(SqliteBackend)];
    all.sort_by_key(|backend| backend.name() != name);
    all
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = oci_store_cas::Hasher::new(Algorithm::Sha256).unwrap();
    hasher.update(bytes);
    hasher.finish()
}

pub(crate) fn any() -> Expect {
    Expect::any(Algorithm::Sha256)
}

/// Writes a blob under a lease.
pub(crate) fn write(lease: &LeaseGuard, bytes: &[u8]) -> NewBlob {
    lease.write(any(), "text/plain", &mut &bytes[..]).unwrap()
}

/// Writes a blob that nothing keeps.
pub(crate) fn loose(store: &Store, bytes: &[u8]) -> Digest {
    write(&store.lease("test").unwrap(), bytes).digest
}

/// Writes a blob that the record `key` keeps.
pub(crate) fn put(store: &Store, key: &str, bytes: &[u8]) -> Digest {
    let lease = store.lease("test").unwrap();
    let blob = write(&lease, bytes);
    set_ref(store, key, &blob.digest);
    blob.digest
}

pub(crate) fn set_ref(store: &Store, key: &str, blob: &Digest) {
    let set = store.update(|txn| txn.set_data(Space::Store, REF, key, b"", Some(blob), Condition::Any));
    set.unwrap();
}

pub(crate) fn drop_ref(store: &Store, key: &str) {
    store.update(|txn| txn.delete_data(Space::Store, REF, key, Condition::Any)).unwrap();
}

pub(crate) fn edge(child: &Digest, link: Link) -> Edge {
    Edge { child: child.clone(), role: 7, link }
}

pub(crate) fn link(store: &Store, parent: &Digest, edges: &[(&Digest, Link)]) {
    let edges: Vec<Edge> = edges.iter().map(|(child, link)| edge(child, *link)).collect();
    // A type for each call: edges of one are read once.
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let kind = format!("type/{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    store.update(|txn| txn.add_edges(parent, &kind, &edges)).unwrap();
}

pub(crate) fn collect(store: &Store, extent: Extent) -> Collected {
    store.collect(&[REF], extent, false).unwrap()
}

/// Both halves of a plain gc; returns what the second took.
pub(crate) fn gc(store: &Store) -> Collected {
    collect(store, Extent::Changed);
    store.unlink_pending().unwrap()
}

/// The gc after the first one, which is always full.
pub(crate) fn settle(store: &Store) {
    collect(store, Extent::Full);
    store.unlink_pending().unwrap();
}

pub(crate) fn rows(store: &Store) -> BTreeSet<Digest> {
    let blobs = store.view(|view| view.blobs(&Default::default(), None, usize::MAX)).unwrap();
    blobs.into_iter().map(|blob| blob.digest).collect()
}

pub(crate) fn files(store: &Store) -> BTreeSet<Digest> {
    let mut files = BTreeSet::new();
    let list = store.cas().list(&mut |digest, _| {
        files.insert(digest);
        ControlFlow::Continue(())
    });
    list.unwrap();
    files
}

/// What is there, as rows and as files, is exactly this.
#[track_caller]
pub(crate) fn assert_blobs(store: &Store, wanted: &[&Digest]) {
    let wanted: BTreeSet<Digest> = wanted.iter().map(|digest| (*digest).clone()).collect();
    assert_eq!(rows(store), wanted, "rows");
    assert_eq!(files(store), wanted, "files");
}

pub(crate) fn has_row(store: &Store, digest: &Digest) -> bool {
    store.view(|view| view.blob(digest)).unwrap().is_some()
}

pub(crate) fn read(store: &Store, digest: &Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut store.read_blob_verified(digest).unwrap(), &mut bytes).unwrap();
    bytes
}

/// The names in a folder; none if it is absent.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file under a folder, with its bytes.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tree.extend(self::tree(&path));
            tree.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            tree.insert(path, Some(bytes));
        }
    }
    tree
}

pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// Every row of an index, as it is on disk.
pub(crate) fn raw_rows(backend: &dyn Backend, folder: &Path) -> Vec<Row> {
    use oci_store_index::IndexExt as _;
    let mut rows = Vec::new();
    let index = backend.open(folder).unwrap();
    let read = index.read(|txn| {
        txn.scan(&[], &[], &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
    });
    read.unwrap();
    rows
}

/// The index folder that the config names now.
pub(crate) fn index_folder(own: &Path) -> PathBuf {
    own.join("index").join(config(own)["epoch"].to_string())
}

pub(crate) fn config(own: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(own.join("config.json")).unwrap()).unwrap()
}

/// Replaces one field of the config, as another version of the program would.
pub(crate) fn set_config(own: &Path, field: &str, value: serde_json::Value) {
    let mut config = config(own);
    config[field] = value;
    let new = own.join("config.new");
    fs::write(&new, serde_json::to_vec(&config).unwrap()).unwrap();
    fs::rename(new, own.join("config.json")).unwrap();
}

/// `Result::unwrap_err` for what has no `Debug`.
#[track_caller]
pub(crate) fn failure<T>(result: Result<T>) -> oci_store_base::Error {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => error,
    }
}
