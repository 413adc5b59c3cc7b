//! Where images go: into a layout's folder, or into an archive of one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::Write;
use std::path::Path;

use oci_store_base::LeaseGuard;
use oci_store_cas::Digest;

use crate::closure::Missing;
use crate::members::Members;
use crate::progress::Progress;
use crate::source::{Content, ImageSource, PlatformSpec};
use crate::{Descriptor, Error, RefName, Result, into_archive, into_folder};

/// Where images go.
pub enum Destination<'d> {
    /// The folder of an image layout, new or existing, or of another store. What it has survives.
    Folder(&'d Path),
    /// A file that becomes an archive of a layout. One that is there is replaced as a whole.
    File(&'d Path, Packing),
    /// The same bytes as into a file, one after the other. What has passed when an error is returned is no archive: it
    /// lacks its end.
    Stream(&'d mut dyn Write, Packing),
}

impl fmt::Debug for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => f.debug_tuple("Folder").field(path).finish(),
            Self::File(path, packing) => f.debug_tuple("File").field(path).field(packing).finish(),
            Self::Stream(_, packing) => f.debug_tuple("Stream").field(packing).finish(),
        }
    }
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    /// Who is to read it.
    pub form: Form,
    /// How it is compressed as a whole.
    pub compression: Compression,
}

/// Who is to read an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Readers of image layouts: `oci-archive:` of other tools.
    #[default]
    Oci,
    /// `docker load`, and `docker-archive:` of other tools: an image layout with a `manifest.json` beside `index.json`. It
    /// takes images alone, each of one platform, whole, and with a name that Docker knows.
    Docker,
}

/// How an archive is compressed. Layers mostly are already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// An image that is to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is in the store: a ref, a digest, or the beginning of one.
    pub image: String,
    /// Its name where it goes.
    pub name: RefName,
}

/// How to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Whether what is about an image (signatures, SBOMs) comes along.
    pub referrers: bool,
    /// Of an index, the manifest for this platform alone; other images must be of it.
    pub platform: Option<PlatformSpec>,
    /// Blobs that the recipient already has, to be left out. Manifests and indexes are always written. Must be empty for
    /// another store and for [`Form::Docker`].
    pub exclude: HashSet<Digest>,
    /// Whether blobs are hashed that are copied into a folder or are already there (else only sizes are compared). What
    /// goes into an archive always is.
    pub verify: bool,
    /// Whether all is made durable before the export returns.
    pub sync: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { referrers: true, platform: None, exclude: HashSet::new(), verify: false, sync: false }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The images, with the names that they have there now.
    pub images: Vec<(RefName, Descriptor)>,
    /// Blobs that were copied; the others were there.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that were left away, as they were excluded.
    pub excluded: u64,
    /// Images that are not whole there either, as they were let in with parts missing: what each lacks.
    pub incomplete: Vec<(RefName, Vec<Missing>)>,
}

/// What images consist of.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) images: Vec<Planned>,
    /// With their sizes.
    pub(crate) blobs: HashMap<Digest, u64>,
    /// What is about them, to be listed without a name.
    pub(crate) referrers: Vec<Descriptor>,
    /// What those of the images lack that were let in so.
    pub(crate) incomplete: Vec<(RefName, Vec<Missing>)>,
    /// Keeps all of it, in a store.
    pub(crate) _lease: Option<LeaseGuard>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) name: RefName,
    pub(crate) target: Descriptor,
    /// It was let in with parts missing.
    pub(crate) incomplete: bool,
}

impl Plan {
    /// Two images of one name can't both be there.
    pub(crate) fn check_names(&mut self) -> Result<()> {
        self.images.sort_by(|a, b| a.name.cmp(&b.name));
        self.images.dedup_by(|a, b| a.name == b.name && a.target.digest == b.target.digest);
        match self.images.array_windows().find(|[a, b]| a.name == b.name) {
            Some([twice, _]) => Err(Error::document(&twice.name, "two images are to have this name")),
            None => Ok(()),
        }
    }
}

impl Plan {
    /// It is carried out.
    pub(crate) fn done(self, copied: Copied, excluded: u64) -> Exported {
        let images = self.images.into_iter().map(|image| (image.name, image.target)).collect();
        let Copied { blobs, bytes } = copied;
        Exported { images, blobs, bytes, excluded, incomplete: self.incomplete }
    }

    /// Leaves away what is excluded; returns how many blobs that are.
    fn leave_away(&mut self, exclude: &HashSet<Digest>, source: &dyn ImageSource, to: &Destination<'_>) -> Result<u64> {
        if exclude.is_empty() {
            return Ok(0);
        }
        if let Destination::File(_, Packing { form: Form::Docker, .. })
        | Destination::Stream(_, Packing { form: Form::Docker, .. }) = to
        {
            let why = "Docker loads whole images alone: exclude nothing, or take oci-archive:";
            return Err(Error::document("docker-archive", why));
        }
        let before = self.blobs.len();
        let documents: HashSet<Digest> =
            Members::of(self, source)?.documents.into_iter().map(|(digest, _)| digest).collect();
        self.blobs.retain(|digest, _| !exclude.contains(digest) || documents.contains(digest));
        Ok((before - self.blobs.len()) as u64)
    }
}

/// How much was copied.
#[derive(Clone, Copy, Default)]
pub(crate) struct Copied {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

/// Writes what is planned.
pub(crate) fn write(
    mut plan: Plan,
    source: &dyn ImageSource,
    to: &mut Destination<'_>,
    options: &ExportOptions,
    progress: &dyn Progress,
) -> Result<Exported> {
    plan.check_names()?;
    let excluded = plan.leave_away(&options.exclude, source, to)?;
    let Copied { blobs, bytes } = match to {
        Destination::Folder(to) => into_folder::write(&plan, source, to, options, progress)?,
        Destination::File(file, packing) => {
            into_archive::write_file(&plan, source, file, *packing, options.sync, progress)?
        }
        Destination::Stream(out, packing) => into_archive::write(&plan, source, out, *packing, progress)?,
    };
    Ok(plan.done(Copied { blobs, bytes }, excluded))
}

/// A blob of what is exported.
pub(crate) fn content<'s>(source: &'s dyn ImageSource, digest: &Digest, size: u64) -> Result<Box<dyn Content + 's>> {
    // It was there when the images were gathered, and is kept: the file is gone, and no name is wrong.
    let gone = || Error::document(digest, "its file is missing: run `check`");
    source.fetch(&Descriptor::new("", digest.clone(), size))?.ok_or_else(gone)
}

pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    oci_store_cas::folder::sync_folder(folder).map_err(Error::io(folder))
}

/// Says what is wrong with a blob that was read for an export.
pub(crate) fn damaged(digest: &Digest, error: oci_store_cas::Error) -> Error {
    use oci_store_cas::Error as Cas;
    match error {
        Cas::DigestMismatch { .. } | Cas::SizeMismatch { .. } => Error::document(digest, DAMAGED),
        Cas::Stream(error) => Error::io(digest.to_string())(error),
        error => error.into(),
    }
}

/// What to say of a blob whose bytes are wrong.
pub(crate) const DAMAGED: &str = "its bytes are damaged: `check --repair --from SOURCE` fetches it again";
