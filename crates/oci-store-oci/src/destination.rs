//! An image layout that is written into: blobs first, each whole or absent, and `index.json` last.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_store_base::LeaseGuard;
use oci_store_cas::attack::{Point, reached};
use oci_store_cas::{Access, Cas, Digest, VerifyReader, folder::FolderCas};
use rustix::fs::{FlockOperation, flock};

use crate::index_json::IndexJson;
use crate::layout::read_small;
use crate::progress::{Progress, passed};
use crate::source::{Content, Limits};
use crate::threads::side_by_side;
use crate::{Descriptor, Error, RefName, Result};

/// How to export.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// Whether what is about an image (signatures, SBOMs) comes along.
    pub referrers: bool,
    /// Whether blobs that the destination has already are hashed, and not only their sizes looked at.
    pub verify: bool,
    /// Whether all is made durable before the export returns.
    pub sync: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { referrers: true, verify: false, sync: false }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The image.
    pub target: Descriptor,
    /// Blobs that were copied; the others were there.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What an image consists of.
pub(crate) struct Plan {
    pub(crate) target: Descriptor,
    pub(crate) incomplete: bool,
    /// With their sizes.
    pub(crate) blobs: HashMap<Digest, u64>,
    /// What is about it, to be listed without a name.
    pub(crate) referrers: Vec<Descriptor>,
    /// Keeps all of it, in a store.
    pub(crate) _lease: Option<LeaseGuard>,
}

/// The beginning of the names of folders in which exports put blobs that are not whole yet.
const TEMPORARY: &str = ".oci-store-export-";

/// Opens a blob of what is exported.
pub(crate) type Open<'o> = dyn Fn(&Digest) -> Result<Box<dyn Content + 'o>> + Sync + 'o;

/// Writes what is planned into the layout in the folder `to`, under `name`.
pub(crate) fn write(
    plan: Plan,
    open: &Open<'_>,
    to: &Path,
    name: &RefName,
    options: ExportOptions,
    progress: &dyn Progress,
) -> Result<Exported> {
    check_destination(to)?;
    fs::create_dir_all(to.join("blobs")).map_err(Error::io(to))?;
    let temporary = Temporary::make(to)?;
    let (blobs, bytes) = copy_out(&plan, open, to, &temporary, options, progress)?;
    list(to, &temporary, &plan, name, options.sync)?;
    Ok(Exported { target: plan.target, blobs, bytes })
}

/// Copies what the destination does not have, side by side; returns how many blobs and bytes that was.
fn copy_out(
    plan: &Plan,
    open: &Open<'_>,
    to: &Path,
    temporary: &Temporary,
    options: ExportOptions,
    progress: &dyn Progress,
) -> Result<(u64, u64)> {
    let there = FolderCas::new(to.join("blobs"), temporary.path.clone(), Access::Private);
    let mut wanted: Vec<(&Digest, u64)> = Vec::new();
    for (digest, size) in &plan.blobs {
        if !is_there(&there, digest, *size, options.verify, progress)? {
            wanted.push((digest, *size));
        }
    }
    wanted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let bytes = wanted.iter().map(|(_, size)| size).sum();
    progress.expect(wanted.len() as u64, bytes);
    let algorithms: HashSet<&str> = plan.blobs.keys().map(Digest::algorithm).collect();
    for algorithm in &algorithms {
        let folder = to.join("blobs").join(algorithm);
        fs::create_dir_all(&folder).map_err(Error::io(folder))?;
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let has_failed = || failed.lock().map_or(true, |failed: std::sync::MutexGuard<'_, Option<Error>>| failed.is_some());
    let work = || {
        while let Some((digest, size)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            if has_failed() || progress.cancelled() {
                return;
            }
            if let Err(error) = copy_one(open, digest, *size, to, temporary, options.sync, progress)
                && let Ok(mut failed) = failed.lock()
            {
                failed.get_or_insert(error);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
    side_by_side(threads, work);
    if progress.cancelled() {
        return Err(oci_store_base::Error::Cancelled.into());
    }
    if let Ok(Some(error)) = failed.into_inner() {
        return Err(error);
    }
    if options.sync {
        for algorithm in &algorithms {
            sync_folder(&to.join("blobs").join(algorithm))?;
        }
        sync_folder(&to.join("blobs"))?;
    }
    Ok((wanted.len() as u64, bytes))
}

fn copy_one(
    open: &Open<'_>,
    digest: &Digest,
    size: u64,
    to: &Path,
    temporary: &Temporary,
    sync: bool,
    progress: &dyn Progress,
) -> Result<()> {
    reached(Point::BeforeCopy);
    progress.begin(digest, size);
    let mut blob = open(digest)?;
    let encoded = digest.encoded();
    let path = temporary.path.join(&encoded);
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    let copied = match blob.as_file() {
        Some(source) if rustix::fs::ioctl_ficlone(&file, source).is_ok() => {
            progress.passed(size);
            file.metadata().map_err(Error::io(&path))?.len()
        }
        // The kernel copies, in pieces, so that progress shows.
        Some(source) => {
            let mut source = source;
            copy_in_pieces(&mut source, &mut file, progress).map_err(Error::io(&path))?
        }
        None => io::copy(&mut blob, &mut file).map_err(Error::io(&path))?,
    };
    if copied != size {
        let what = Error::document(digest, format!("its file has {copied} bytes, not {size}: run `check`"));
        return Err(what);
    }
    if sync {
        file.sync_all().map_err(Error::io(&path))?;
    }
    drop(file);
    let target = to.join("blobs").join(digest.algorithm()).join(encoded);
    fs::rename(&path, &target).map_err(Error::io(target))?;
    progress.blob_done();
    Ok(())
}

/// `io::copy` between files is a copy by the kernel; this is that, sixteen MiB at a time.
fn copy_in_pieces(source: &mut &File, to: &mut File, progress: &dyn Progress) -> io::Result<u64> {
    let mut copied = 0;
    loop {
        let piece = io::copy(&mut io::Read::take(&mut *source, 16 << 20), to)?;
        if piece == 0 {
            return Ok(copied);
        }
        copied += piece;
        passed(progress, piece).map_err(io::Error::from)?;
    }
}

fn is_there(there: &FolderCas, digest: &Digest, size: u64, verify: bool, progress: &dyn Progress) -> Result<bool> {
    if there.size(digest)? != Some(size) {
        return Ok(false);
    }
    if !verify {
        return Ok(true);
    }
    let Some(blob) = there.open(digest)? else { return Ok(false) };
    progress.expect(1, size);
    match VerifyReader::new(blob, digest, Some(size))?.check(&mut |bytes| passed(progress, bytes)) {
        Ok(_) => Ok(true),
        Err(oci_store_cas::Error::DigestMismatch { .. } | oci_store_cas::Error::SizeMismatch { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A destination is absent, empty, or a layout, whole or begun.
fn check_destination(to: &Path) -> Result<()> {
    let entries = match fs::read_dir(to) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(to)(error)),
    };
    let mut other = false;
    for entry in entries {
        let name = entry.map_err(Error::io(to))?.file_name();
        if name == "index.json" || name == "oci-layout" {
            return Ok(());
        }
        other |= name != "blobs" && !name.to_string_lossy().starts_with(TEMPORARY);
    }
    let path = to.to_owned();
    if other { Err(Error::NotALayout { path, why: "it is not empty and has no index.json" }) } else { Ok(()) }
}

/// A folder of one export in the destination, for what is not whole yet. It is locked as long as the export lives,
/// so that the next one knows which are left by the dead.
struct Temporary {
    path: PathBuf,
    _lock: File,
}

impl Temporary {
    fn make(to: &Path) -> Result<Self> {
        Self::remove_dead(to);
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(to).map_err(Error::io(to))?;
        let lock = File::open(folder.path()).map_err(Error::io(folder.path()))?;
        // Waits: another export may be looking at this very moment whether it is one of the dead.
        flock(&lock, FlockOperation::LockShared).map_err(io::Error::from).map_err(Error::io(to))?;
        Ok(Self { path: folder.keep(), _lock: lock })
    }

    /// Removes what dead exports left. A folder made in this very moment is empty, and not locked yet: it is only
    /// removed if it has been there for a while.
    fn remove_dead(to: &Path) {
        let Ok(entries) = fs::read_dir(to) else { return };
        for entry in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(TEMPORARY)) {
            let is_old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok().map(|age| age.as_secs() > 60);
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Ok(lock) = File::open(entry.path()) else { continue };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && is_old() == Some(true) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Adds the image to the destination's `index.json`, alone: the folder itself is locked.
fn list(to: &Path, temporary: &Temporary, plan: &Plan, name: &RefName, sync: bool) -> Result<()> {
    let folder = File::open(to).map_err(Error::io(to))?;
    flock(&folder, FlockOperation::LockExclusive).map_err(io::Error::from).map_err(Error::io(to))?;
    let path = to.join("index.json");
    let mut index = match read_small(&path, Limits::default().index_json) {
        Ok(bytes) => IndexJson::parse(&path, &bytes)?,
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => IndexJson::new(Vec::new()),
        Err(error) => return Err(error),
    };
    let before = index.clone();
    let mut entry = plan.target.clone();
    entry.set_annotation(crate::descriptor::REF_NAME, Some(name.as_str()));
    let old = index.manifests.iter().position(|entry| entry.ref_name() == Some(name.as_str()));
    index.manifests.retain(|entry| entry.ref_name() != Some(name.as_str()));
    index.manifests.insert(old.unwrap_or(index.manifests.len()).min(index.manifests.len()), entry);
    for referrer in &plan.referrers {
        if !index.manifests.iter().any(|entry| entry.digest == referrer.digest) {
            index.manifests.push(referrer.clone());
        }
    }
    let write = |name: &str, bytes: &[u8]| {
        let temporary = temporary.path.join(name);
        let mut file = File::create(&temporary).map_err(Error::io(&temporary))?;
        file.write_all(bytes).map_err(Error::io(&temporary))?;
        if sync {
            file.sync_all().map_err(Error::io(&temporary))?;
        }
        fs::rename(&temporary, to.join(name)).map_err(Error::io(to.join(name)))
    };
    if !to.join("oci-layout").exists() {
        write("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
    }
    if index != before || !path.exists() {
        let text = serde_json::to_vec(&index).map_err(|error| Error::document(path.display(), error))?;
        write("index.json", &text)?;
    }
    if sync { sync_folder(to) } else { Ok(()) }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))
}
