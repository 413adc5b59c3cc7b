//! An image layout in a folder, that is written into: blobs first, each whole or absent, and `index.json` last.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use oci_store_cas::attack::{Point, reached};
use oci_store_cas::threads::try_map;
use oci_store_cas::{Access, Cas, Digest, VerifyReader, folder::FolderCas};
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use crate::descriptor::REF_NAME;
use crate::destination::{Copied, ExportOptions, Plan, Planned, content, damaged, sync_folder};
use crate::index_json::IndexJson;
use crate::layout::read_small;
use crate::limits::{Limits, Most};
use crate::progress::{Progress, check_cancelled, passed};
use crate::source::ImageSource;
use crate::temporary::{TEMPORARY, Temporary};
use crate::{Descriptor, Error, Result};

/// The file that says what a layout's folder is.
pub(crate) const OCI_LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Writes what is planned into the layout in the folder `to`.
pub(crate) fn write(
    plan: &Plan,
    source: &dyn ImageSource,
    to: &Path,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Copied> {
    check_destination(to)?;
    fs::create_dir_all(to.join("blobs")).map_err(Error::io(to))?;
    let temporary = Temporary::make(to)?;
    let mut copied = copy_out(plan, source, to, &temporary, options, progress)?;
    // The folder itself is locked: against other exports, and against moves.
    let _alone = lock_folder(to)?;
    // A move may have taken what was there when it was looked for.
    let there = FolderCas::new(to.join("blobs"), temporary.path.clone(), Access::Private);
    let is_gone = |(digest, size): (&Digest, &u64)| Ok::<_, Error>(there.size(digest)? != Some(*size));
    if plan.blobs.iter().map(is_gone).collect::<Result<Vec<_>>>()?.contains(&true) {
        let again = copy_out(plan, source, to, &temporary, options, progress)?;
        copied.blobs += again.blobs;
        copied.bytes += again.bytes;
    }
    list(to, &temporary, plan, options.sync)?;
    Ok(copied)
}

/// Copies what the destination does not have, side by side; returns how many blobs and bytes that was.
fn copy_out(
    plan: &Plan,
    source: &dyn ImageSource,
    to: &Path,
    temporary: &Temporary,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Copied> {
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
    let copied = try_map(wanted.len(), 0, |at| {
        check_cancelled(progress)?;
        let Some((digest, size)) = wanted.get(at) else { return Ok(()) };
        copy_one(source, digest, *size, to, temporary, options, progress)
    });
    check_cancelled(progress)?;
    copied?;
    if options.sync {
        for algorithm in &algorithms {
            sync_folder(&to.join("blobs").join(algorithm))?;
        }
        sync_folder(&to.join("blobs"))?;
    }
    Ok(Copied { blobs: wanted.len() as u64, bytes })
}

fn copy_one(
    source: &dyn ImageSource,
    digest: &Digest,
    size: u64,
    to: &Path,
    temporary: &Temporary,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<()> {
    reached(Point::BeforeCopy);
    progress.begin(digest, size);
    let mut blob = content(source, digest, size)?;
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
    if options.verify {
        // What the kernel has copied, as it does not tell what passes.
        let copy = File::open(&path).map_err(Error::io(&path))?;
        progress.expect(0, size);
        let checked = VerifyReader::new(copy, digest, Some(size))?.check(&mut |bytes| passed(progress, bytes));
        checked.map_err(|error| damaged(digest, error))?;
    }
    if options.sync {
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

/// Adds the images to the destination's `index.json`. The folder is locked.
fn list(to: &Path, temporary: &Temporary, plan: &Plan, sync: bool) -> Result<()> {
    let path = to.join("index.json");
    let limits = Limits::default();
    let before = match read_small(&path, Most::index_json(limits.index_json)) {
        Ok(bytes) => Some(IndexJson::parse(&path, &bytes, limits)?),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let index = with_images(before.clone().unwrap_or_else(|| IndexJson::new(Vec::new())), plan);
    if !to.join("oci-layout").exists() {
        temporary.replace(to, "oci-layout", OCI_LAYOUT, sync)?;
    }
    if before.as_ref() != Some(&index) {
        let text = serde_json::to_vec(&index).map_err(|error| Error::document(path.display(), error))?;
        temporary.replace(to, "index.json", &text, sync)?;
    }
    if sync { sync_folder(to) } else { Ok(()) }
}

/// Keeps other exports, and moves, from a layout's `index.json` for as long as what is returned lives.
pub(crate) fn lock_folder(layout: &Path) -> Result<File> {
    let folder = File::open(layout).map_err(Error::io(layout))?;
    let locked = retry_on_intr(|| flock(&folder, FlockOperation::LockExclusive));
    locked.map_err(io::Error::from).map_err(Error::io(layout))?;
    Ok(folder)
}

/// The index with what is planned in it: each image in the place of the first entry of its name, or at the end.
pub(crate) fn with_images(mut index: IndexJson, plan: &Plan) -> IndexJson {
    let named = |image: &Planned| {
        let mut entry = image.target.clone();
        entry.set_annotation(REF_NAME, Some(image.name.as_str()));
        entry
    };
    let mut new: HashMap<&str, Option<Descriptor>> =
        plan.images.iter().map(|image| (image.name.as_str(), Some(named(image)))).collect();
    let mut entries = Vec::new();
    for old in std::mem::take(&mut index.manifests) {
        match old.ref_name().and_then(|name| new.get_mut(name)) {
            Some(replaced) => entries.extend(replaced.take()),
            None => entries.push(old),
        }
    }
    entries.extend(plan.images.iter().filter_map(|image| new.get_mut(image.name.as_str())?.take()));
    let mut listed: HashSet<Digest> = entries.iter().map(|entry| entry.digest.clone()).collect();
    entries.extend(plan.referrers.iter().filter(|about| listed.insert(about.digest.clone())).cloned());
    index.manifests = entries;
    index
}
