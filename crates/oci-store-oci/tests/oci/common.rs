//! A store over each backend, and short words for what the tests do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_cas::Digest;
use oci_store_index::{Backend, memory::MemoryBackend};
use oci_store_index_lmdb::LmdbBackend;
use oci_store_index_sqlite::SqliteBackend;
use oci_store_oci::media_type::is_document;
use oci_store_oci::{
    Descriptor, Destination, Error, ExportOptions, Exported, Extent, ImageSource, ImportOptions, Imported, OpenOptions,
    Outgoing, Progress, RefName, Result, Selection, Store,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::images::{digest_with, parts};

/// A folder for one store, and the backends to open it with.
pub(crate) struct Bench {
    pub(crate) backend: &'static str,
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
    pub(crate) fn new(backend: &'static str) -> Self {
        Self { backend, dir: tempfile::tempdir().unwrap(), memory: MemoryBackend::default() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A path beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn index_json(&self) -> PathBuf {
        self.root().join("index.json")
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions::new(backends(self.backend, &self.memory))
    }

    pub(crate) fn open(&self) -> Store {
        self.options().open(self.root()).unwrap()
    }
}

/// All backends, with the one called `first` first.
pub(crate) fn backends(first: &str, memory: &MemoryBackend) -> Vec<Arc<dyn Backend>> {
    let mut all: Vec<Arc<dyn Backend>> = vec![Arc::new(memory.clone()), Arc::new(LmdbBackend), Arc::new(SqliteBackend)];
    all.sort_by_key(|backend| backend.name() != first);
    all
}

pub(crate) fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

/// Imports one image under its own name.
pub(crate) fn import(store: &Store, source: &dyn ImageSource, name: &str) -> Result<Imported> {
    import_with(store, source, name, &ImportOptions::default())
}

pub(crate) fn import_with(
    store: &Store,
    source: &dyn ImageSource,
    name: &str,
    options: &ImportOptions,
) -> Result<Imported> {
    let selection = Selection::One { source: Some(name), name: None };
    store.import(source, &selection, options, &()).map(|mut imported| imported.remove(0))
}

pub(crate) fn import_all(store: &Store, source: &dyn ImageSource) -> Result<Vec<Imported>> {
    store.import(source, &Selection::All, &ImportOptions::default(), &())
}

pub(crate) fn incomplete() -> ImportOptions {
    ImportOptions { allow_incomplete: true, ..ImportOptions::default() }
}

pub(crate) fn export(store: &Store, image: &str, to: &Path, name: &str) -> Result<()> {
    export_with(store, image, to, name, &ExportOptions::default(), &()).map(drop)
}

pub(crate) fn export_with(
    store: &Store,
    image: &str,
    to: &Path,
    name: &str,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Exported> {
    store.export(&[outgoing(image, name)], Destination::Folder(to), options, progress)
}

pub(crate) fn outgoing(image: &str, as_name: &str) -> Outgoing {
    Outgoing { image: image.to_owned(), name: name(as_name) }
}

/// A gc that looks at everything.
pub(crate) fn sweep(store: &Store) {
    store.gc(Extent::Full, false).unwrap();
}

pub(crate) fn refs(store: &Store) -> BTreeMap<String, Digest> {
    let refs = store.refs("", None, usize::MAX).unwrap();
    refs.into_iter().map(|found| (found.name.to_string(), found.target.digest)).collect()
}

/// The files under `blobs/` of a layout.
pub(crate) fn files(root: &Path) -> BTreeSet<Digest> {
    let mut files = BTreeSet::new();
    for folder in fs::read_dir(root.join("blobs")).into_iter().flatten() {
        let folder = folder.unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let (algorithm, hex) = (folder.file_name(), file.unwrap().file_name());
            files.insert(format!("{}:{}", algorithm.to_str().unwrap(), hex.to_str().unwrap()).parse().unwrap());
        }
    }
    files
}

pub(crate) fn path_of(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm()).join(digest.encoded())
}

/// Writes other bytes where a blob is.
pub(crate) fn overwrite(root: &Path, digest: &Digest, bytes: &[u8]) {
    let path = path_of(root, digest);
    fs::remove_file(&path).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn index_json(root: &Path) -> Value {
    serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap()
}

/// The entries of a layout's `index.json`.
pub(crate) fn listed(root: &Path) -> Vec<Descriptor> {
    serde_json::from_value(index_json(root)["manifests"].clone()).unwrap()
}

pub(crate) fn listed_names(root: &Path) -> BTreeMap<String, Digest> {
    let listed = listed(root).into_iter();
    listed.filter_map(|entry| Some((entry.ref_name()?.to_owned(), entry.digest))).collect()
}

pub(crate) fn unnamed(root: &Path) -> BTreeSet<Digest> {
    listed(root).into_iter().filter(|entry| entry.ref_name().is_none()).map(|entry| entry.digest).collect()
}

/// The names in a folder; none if it is absent.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything that `root` reaches in a layout, by its files alone, each hashed anew; and what is missing.
pub(crate) fn walk_files(root: &Path, image: &Descriptor) -> (BTreeSet<Digest>, BTreeSet<Digest>) {
    let (mut there, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let mut stack = vec![image.clone()];
    while let Some(next) = stack.pop() {
        if there.contains(&next.digest) && !is_document(&next.media_type) {
            continue;
        }
        let Ok(bytes) = fs::read(path_of(root, &next.digest)) else {
            missing.insert(next.digest);
            continue;
        };
        if there.insert(next.digest.clone()) {
            assert_eq!(bytes.len() as u64, next.size, "the size of {}", next.digest);
            let algorithm = next.digest.known_algorithm().unwrap();
            assert_eq!(digest_with(algorithm, &bytes), next.digest, "the bytes of {}", next.digest);
            stack.extend(parts(&next.media_type, &bytes));
        }
    }
    (there, missing)
}

/// P1 and P8: each ref is whole on disk unless it is recorded as incomplete, and `index.json` shows exactly the
/// refs, and nothing that is not there.
#[track_caller]
pub(crate) fn assert_sound(store: &Store) {
    let root = store.root();
    for found in store.refs("", None, usize::MAX).unwrap() {
        let (_, missing) = walk_files(root, &found.target);
        assert!(found.incomplete || missing.is_empty(), "{} lacks {missing:?}", found.name);
    }
    for pin in store.pins().unwrap() {
        assert!(walk_files(root, &pin).1.is_empty(), "pin {} lacks something", pin.digest);
    }
    assert_eq!(listed_names(root), refs(store), "index.json and the refs");
    let files = files(root);
    for entry in listed(root) {
        assert!(files.contains(&entry.digest), "{} is listed, and not there", entry.digest);
    }
}

/// All that an outsider can see of a store: what bad input must leave as it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    files: BTreeSet<Digest>,
    rows: BTreeSet<Digest>,
    refs: BTreeMap<String, Digest>,
    index_json: Option<Vec<u8>>,
    ingest: Vec<String>,
    leases: Vec<String>,
}

pub(crate) fn seen(store: &Store) -> Seen {
    let rows = store.base().view(|view| view.blobs(&Default::default(), None, usize::MAX)).unwrap();
    Seen {
        files: files(store.root()),
        rows: rows.into_iter().map(|blob| blob.digest).collect(),
        refs: refs(store),
        index_json: fs::read(store.root().join("index.json")).ok(),
        ingest: names(&store.base().own_folder().join("ingest")),
        leases: names(&store.base().own_folder().join("leases")),
    }
}

/// The error of what should have failed, as one line.
#[track_caller]
pub(crate) fn failure<T>(result: Result<T>) -> (Error, String) {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.chars().any(char::is_control), "not one line of plain text: {line:?}");
            assert!(line.len() < 2000, "{} characters", line.len());
            (error, line)
        }
    }
}

/// A number that follows from another, and looks random.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}
