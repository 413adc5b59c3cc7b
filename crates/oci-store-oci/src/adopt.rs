//! Adoption: an image layout in a folder becomes a store where it lies, and no blob is copied.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use oci_store_base::OWN_FOLDER;
use oci_store_cas::threads::try_map;
use oci_store_cas::{Access, Cas, Digest, VerifyReader, folder::FolderCas};

use crate::into_folder::lock_folder;
use crate::note::NOTE;
use crate::progress::{Progress, check_cancelled, passed};
use crate::store::OpenOptions;
use crate::{Error, ImageSource, Layout, RefName, Report, Result, Store};

/// What an adoption has made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Adopted {
    /// The store.
    pub store: Store,
    /// What its index was made of; `None` if the folder was a store already.
    pub report: Option<Report>,
}

/// Rows that one transaction marks as verified.
const GROUP: usize = 1024;

impl OpenOptions {
    /// Makes a store of the image layout in the folder `root`, in place: an index beside its blobs. Named entries become
    /// refs; entries without a name that are about nothing become pins.
    ///
    /// First it is looked whether each entry is whole: manifests and indexes are read, of all else it is seen that it is
    /// there and how large it is; and whether its name can be a ref's. With `verify`, all blobs are hashed, also those that no entry reaches. If anything is
    /// wrong, the folder is left as it is.
    ///
    /// Until the store is there, which is one step, the folder is nothing but a layout: what a crash leaves in it is taken
    /// up by the next adoption. A folder that is a store already is opened. What the layout's writer had not made durable
    /// is, before the store is there.
    ///
    /// # Errors
    /// [`Error::NotALayout`]; [`Error::NotWhole`]; [`Error::Document`] if a folder that is to be verified is a store
    /// already; as [`reindex`](Self::reindex).
    pub fn adopt(self, root: impl AsRef<Path>, verify: bool, progress: &dyn Progress) -> Result<Adopted> {
        let root = root.as_ref();
        if root.join(OWN_FOLDER).join("config.json").exists() {
            if verify {
                let why = "is a store already: `check --read-data` verifies it";
                return Err(Error::document(root.display(), why));
            }
            return Ok(Adopted { store: self.create(false).open(root)?, report: None });
        }
        let layout = Layout::open(root)?.with_limits(crate::Limits::OWN);
        // Nobody moves anything out of it meanwhile.
        let _alone = lock_folder(root)?;
        if !layout.is_v1() {
            return Err(Error::NotALayout { path: root.to_owned(), why: "it has the form of 2016: import it" });
        }
        let checked = layout.check(&[], false, progress)?;
        let mut problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        for name in layout.entries()?.into_iter().filter_map(|entry| entry.name) {
            if let Err(error) = name.parse::<RefName>() {
                problems.push(format!("{error}; `import --sref … --dref …` takes it under another name"));
            }
        }
        let verified = if verify { hash_all(root, progress, &mut problems)? } else { Vec::new() };
        if !problems.is_empty() {
            return Err(Error::NotWhole { path: root.to_owned(), problems });
        }
        let folder = File::open(root).map_err(Error::io(root))?;
        rustix::fs::syncfs(&folder).map_err(std::io::Error::from).map_err(Error::io(root))?;
        // Else there was no index before, and nothing in it: at the most that of an adoption that did not get to its end.
        let was_store = root.join(OWN_FOLDER).join(NOTE).exists();
        let (store, report) = self.reindex(root)?;
        let report = Report { lost: report.lost.filter(|_| was_store), ..report };
        for group in verified.chunks(GROUP) {
            store.base().update(|txn| group.iter().try_for_each(|digest| txn.note_check(digest, true)))?;
        }
        Ok(Adopted { store, report: Some(report) })
    }
}

/// Hashes all blobs of a layout, side by side; returns those that are good.
fn hash_all(root: &Path, progress: &dyn Progress, problems: &mut Vec<String>) -> Result<Vec<Digest>> {
    let cas = FolderCas::new(root.join("blobs"), root.join("blobs"), Access::Private);
    let mut blobs: Vec<(Digest, u64)> = Vec::new();
    cas.list(&mut |digest, size| {
        blobs.push((digest, size));
        ControlFlow::Continue(())
    })?;
    blobs.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    progress.expect(blobs.len() as u64, blobs.iter().map(|(_, size)| size).sum());
    let verdicts = try_map(blobs.len(), 0, |at| {
        check_cancelled(progress)?;
        let Some((digest, size)) = blobs.get(at) else { return Ok(true) };
        progress.begin(digest, *size);
        let is_good = hash(&cas, digest, progress);
        progress.blob_done();
        is_good
    });
    check_cancelled(progress)?;
    let mut bad = Vec::new();
    let mut good = Vec::new();
    for ((digest, _), is_good) in blobs.into_iter().zip(verdicts?) {
        if is_good { good.push(digest) } else { bad.push(digest) }
    }
    bad.sort();
    problems.extend(bad.into_iter().map(|digest| format!("{digest}: its bytes are damaged")));
    Ok(good)
}

/// Whether a blob's bytes are those that its digest names. One that went meanwhile was not needed, or is told as missing.
fn hash(cas: &FolderCas, digest: &Digest, progress: &dyn Progress) -> Result<bool> {
    let Some(blob) = cas.open(digest)? else { return Ok(true) };
    let reader = match VerifyReader::new(blob, digest, None) {
        Ok(reader) => reader,
        // Nobody can say of these.
        Err(oci_store_cas::Error::UnknownAlgorithm(_)) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    match reader.check(&mut |bytes| passed(progress, bytes)) {
        Ok(_) => Ok(true),
        Err(oci_store_cas::Error::DigestMismatch { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
