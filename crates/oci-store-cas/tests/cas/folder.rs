//! What the suite can't see: files, modes, descriptors, and things that are no blobs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use oci_store_cas::folder::FolderCas;
use oci_store_cas::{Access, Algorithm, Batch, BlobWriter, Cas, Digest, Error, Expect};
use tempfile::TempDir;

pub(crate) struct Store {
    pub(crate) dir: TempDir,
    pub(crate) cas: FolderCas,
}

impl Store {
    pub(crate) fn new(access: Access) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cas = FolderCas::new(dir.path().join("blobs"), dir.path().join("ingest"), access);
        Self { dir, cas }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs").join(digest.algorithm()).join(digest.encoded())
    }

    pub(crate) fn put(&self, bytes: &[u8]) -> Digest {
        let batch = self.cas.batch("put").unwrap();
        let digest = seal(&*batch, bytes);
        batch.persist().unwrap();
        digest
    }

    fn listed(&self) -> BTreeSet<(Digest, u64)> {
        let mut blobs = BTreeSet::new();
        let mut visit = |digest, size| {
            blobs.insert((digest, size));
            ControlFlow::Continue(())
        };
        self.cas.list(&mut visit).unwrap();
        blobs
    }
}

pub(crate) fn seal(batch: &dyn Batch, bytes: &[u8]) -> Digest {
    let mut blob = BlobWriter::new(batch, Expect::any(Algorithm::Sha256)).unwrap();
    blob.write_all(bytes).unwrap();
    blob.finish().unwrap().0
}

/// All files and folders below, by their relative path.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn making_one_and_reading_writes_nothing() {
    let store = Store::new(Access::Private);
    let digest = "sha256:".to_owned() + &"ab".repeat(32);
    assert_eq!(store.cas.size(&digest.parse().unwrap()).unwrap(), None);
    assert!(store.listed().is_empty());
    store.cas.sync().unwrap();
    drop(store.cas.batch("b").unwrap());
    assert!(tree(store.dir.path()).is_empty());
}

#[test]
fn layout_is_flat_and_nothing_else_is_left() {
    let store = Store::new(Access::Private);
    let digest = store.put(b"abc");
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(tree(store.dir.path()), ["blobs", "blobs/sha256", &format!("blobs/sha256/{hex}"), "ingest"]);
    assert_eq!(fs::read(store.blob_path(&digest)).unwrap(), b"abc");
    assert!(store.cas.open(&digest).unwrap().unwrap().as_file().is_some());
}

#[test]
fn dropped_batch_leaves_no_file() {
    let store = Store::new(Access::Private);
    let batch = store.cas.batch("b").unwrap();
    seal(&*batch, b"one");
    seal(&*batch, b"one");
    seal(&*batch, b"two");
    let mut open = batch.stage().unwrap();
    open.write_all(b"three").unwrap();
    assert_eq!(tree(&store.path("ingest")).len(), 4, "the folder, and a file for each blob");
    drop(open);
    assert_eq!(tree(&store.path("ingest")).len(), 3);
    drop(batch);
    assert_eq!(tree(store.dir.path()), ["ingest"]);
}

#[test]
fn sealed_blobs_hold_no_descriptors() {
    let store = Store::new(Access::Private);
    let batch = store.cas.batch("b").unwrap();
    // Other tests may be running in this process, so this is about the order of magnitude.
    let before = open_descriptors();
    for n in 0..2000_u32 {
        let mut stage = batch.stage().unwrap();
        stage.write_all(&n.to_le_bytes()).unwrap();
        stage.seal(&format!("test:{n}").parse().unwrap()).unwrap();
    }
    assert!(open_descriptors() < before + 500, "{before} before, {} after", open_descriptors());
    batch.persist().unwrap();
    assert_eq!(store.listed().len(), 2000);
}

#[test]
fn modes_do_not_depend_on_what_is_there() {
    let store = Store::new(Access::Group);
    let digest = store.put(b"mode");
    assert_eq!(fs::metadata(store.blob_path(&digest)).unwrap().mode() & 0o7777, 0o440);
    // A folder that is there keeps the mode that somebody gave it.
    let other = Store::new(Access::Group);
    fs::create_dir(other.path("blobs")).unwrap();
    let given = fs::metadata(other.path("blobs")).unwrap().mode();
    other.put(b"mode");
    assert_eq!(fs::metadata(other.path("blobs")).unwrap().mode(), given);
}

/// Puts something at a path.
type Make<'a> = &'a dyn Fn(&Path);

/// Anything that is not a regular file is an error that names it, at once: opening a FIFO must not wait.
#[test]
fn other_things_in_a_blobs_place_are_errors() {
    let store = Store::new(Access::Private);
    let elsewhere = store.path("elsewhere");
    fs::write(&elsewhere, b"abc").unwrap();
    let things: [(&str, Make<'_>); 5] = [
        ("symlink", &|path| symlink(&elsewhere, path).unwrap()),
        ("dangling", &|path| symlink("nowhere", path).unwrap()),
        ("folder", &|path| fs::create_dir(path).unwrap()),
        ("fifo", &|path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        }),
        ("socket", &|path| drop(UnixListener::bind(path).unwrap())),
    ];
    fs::create_dir_all(store.path("blobs/t")).unwrap();
    for (what, make) in things {
        let digest: Digest = format!("t:{what}").parse().unwrap();
        let path = store.blob_path(&digest);
        make(&path);
        for error in [store.cas.open(&digest).unwrap_err(), store.cas.size(&digest).unwrap_err()] {
            assert_eq!(error.to_string(), format!("{}: is not a regular file", path.display()), "{what}");
            let Error::Io { source, .. } = error else { panic!("{what}: {error:?}") };
            assert_eq!(source.kind(), ErrorKind::InvalidData, "{what}");
        }
    }
    assert!(store.listed().is_empty(), "none of them is a blob");

    // Persisting puts the blob there; what the symlink was to stays as it was.
    let batch = store.cas.batch("b").unwrap();
    for what in ["symlink", "dangling", "fifo", "socket"] {
        let mut stage = batch.stage().unwrap();
        stage.write_all(b"blob").unwrap();
        stage.seal(&format!("t:{what}").parse().unwrap()).unwrap();
    }
    batch.persist().unwrap();
    assert_eq!(store.listed().len(), 4);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"abc");
}

#[test]
fn list_skips_what_is_no_blob() {
    let store = Store::new(Access::Private);
    let digest = store.put(b"abc");
    let upper = digest.encoded().to_uppercase();
    for name in ["README", "sha256/short", "sha256/.tmp-1", "sha256/ba7816bf:x", &format!("sha256/{upper}")] {
        fs::write(store.path("blobs").join(name), b"no blob").unwrap();
    }
    for name in ["sha256/folder", "UPPER", "sha512"] {
        fs::create_dir(store.path("blobs").join(name)).unwrap();
    }
    fs::write(store.path("blobs/UPPER/abc"), b"no blob").unwrap();
    assert_eq!(store.listed(), BTreeSet::from([(digest, 3)]));
    store.cas.sync().unwrap();
}

#[test]
fn a_file_in_a_folders_place() {
    let store = Store::new(Access::Private);
    fs::create_dir(store.path("blobs")).unwrap();
    fs::write(store.path("blobs/t"), b"no folder").unwrap();
    let digest: Digest = "t:x".parse().unwrap();
    assert!(store.cas.open(&digest).unwrap().is_none());
    assert_eq!(store.cas.size(&digest).unwrap(), None);
    assert!(!store.cas.delete(&digest).unwrap());
    let batch = store.cas.batch("b").unwrap();
    batch.stage().unwrap().seal(&digest).unwrap();
    batch.stage().unwrap().seal(&"u:x".parse().unwrap()).unwrap();
    let error = batch.persist().unwrap_err().to_string();
    assert!(error.starts_with(store.path("blobs/t").to_str().unwrap()), "{error}");
    assert_eq!(tree(&store.path("ingest")), ["b"], "after an error, what was sealed is gone");
    batch.persist().unwrap();
    assert!(store.listed().is_empty());
}

#[test]
fn folders_above_are_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let cas = FolderCas::new(dir.path().join("gone/blobs"), dir.path().join("gone/ingest"), Access::Private);
    let error = cas.batch("b").unwrap().stage().unwrap_err().to_string();
    assert!(error.starts_with(dir.path().join("gone/ingest").to_str().unwrap()), "{error}");
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn left_files_of_a_dead_process_with_this_ones_number_are_kept() {
    let store = Store::new(Access::Private);
    fs::create_dir_all(store.path("ingest/b")).unwrap();
    for n in 0..5000 {
        fs::write(store.path(&format!("ingest/b/{}-{n}.tmp", std::process::id())), b"left").unwrap();
    }
    let batch = store.cas.batch("b").unwrap();
    let digest = seal(&*batch, b"new");
    batch.persist().unwrap();
    assert_eq!(fs::read(store.blob_path(&digest)).unwrap(), b"new");
    let left = tree(&store.path("ingest/b"));
    assert_eq!(left.len(), 5000);
    assert!(left.iter().all(|name| fs::read(store.path("ingest/b").join(name)).unwrap() == b"left"));
}

#[test]
fn reflink_takes_regular_files_only() {
    let store = Store::new(Access::Private);
    fs::write(store.path("source"), vec![7; 100_000]).unwrap();
    let batch = store.cas.batch("b").unwrap();
    let mut stage = batch.stage().unwrap();
    assert!(!stage.reflink(&File::open("/dev/null").unwrap()).unwrap());
    assert!(!stage.reflink(&File::open(store.dir.path()).unwrap()).unwrap());

    let mut staged = Vec::new();
    let done = stage.reflink(&File::open(store.path("source")).unwrap()).unwrap();
    stage.reader().unwrap().read_to_end(&mut staged).unwrap();
    assert_eq!(staged, vec![7; if done { 100_000 } else { 0 }]);
    stage.write_all(b"end").unwrap();
    staged.clear();
    stage.reader().unwrap().read_to_end(&mut staged).unwrap();
    assert!(staged.ends_with(b"end") && staged.len() == if done { 100_003 } else { 3 }, "writing goes on behind it");
}

#[test]
fn delete_takes_what_is_no_regular_file_too() {
    let store = Store::new(Access::Private);
    fs::create_dir_all(store.path("blobs/t")).unwrap();
    symlink("/dev/null", store.path("blobs/t/link")).unwrap();
    assert!(store.cas.delete(&"t:link".parse().unwrap()).unwrap());
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}
