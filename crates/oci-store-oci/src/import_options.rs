//! How to import, and what of it goes with which source.

use oci_store_base::LinkMode;

use crate::import::ref_for;
use crate::moving::Origin;
use crate::source::{ImageSource, PlatformSpec, pick};
use crate::{Error, Result, Selection, Source, Stream};

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Of an index, the manifest for this platform alone; of several entries with one name, the one for it.
    pub platform: Option<PlatformSpec>,
    /// Whether what is about an image (signatures, SBOMs: whatever names it as its subject) comes along.
    pub referrers: bool,
    /// Whether an image may lack blobs. The ref records it.
    pub allow_incomplete: bool,
    /// How blobs come out of the files of an image layout's folder. What comes out of anything else is copied.
    ///
    /// With [`LinkMode::Move`], what was taken is removed there once all of the import is durable in the store: the entries
    /// of `index.json` that were imported, with what is about them, and the blobs that nothing left there refers to. If
    /// any image fails, nothing is removed; nor if a folder of the source was exchanged for another meanwhile. What stays there
    /// is never a hard link of the store's, but after a kill or such an exchange.
    pub link: LinkMode,
    /// Whether to go on with what imports that died have staged of blobs, as long as no gc has removed it. What is there is
    /// hashed, and of the source only the rest is read; if the whole is not the blob, all of it.
    pub resume: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { platform: None, referrers: true, allow_incomplete: false, link: LinkMode::Auto, resume: false }
    }
}

const NO_FILES: &str = "--move, --link reflink and --link hardlink are for image layouts in folders";
const NO_MIDDLE: &str = "--resume is for what can be read from its middle: image layouts in folders, and archives that are not compressed and no pipe";
const NO_PART: &str =
    "--move takes images as a whole, and of an index --platform takes a part: import it without --move";
const NO_COPY: &str = "--resume is for copies: of --link reflink and --link hardlink nothing is left half done";

impl ImportOptions {
    /// Whether a source can be imported so, as far as that can be said beforehand. An import looks itself, too.
    ///
    /// # Errors
    /// [`Error::NotForThis`].
    pub fn check_source(&self, source: &Source<'_>) -> Result<()> {
        match source {
            Source::InPlace(source) => self.check(&**source).map(drop),
            Source::Stream(stream) => self.check_stream(stream),
        }
    }

    /// Whether a source has what is selected of it, as far as that can be said beforehand: not of a stream.
    ///
    /// # Errors
    /// [`Error::NotInSource`], [`Error::SeveralInSource`], [`Error::NoName`], [`Error::NeedsName`], [`Error::NoPlatform`];
    /// [`Error::Source`], [`Error::Document`], [`Error::OverLimit`].
    pub fn check_selection(&self, source: &Source<'_>, selection: &Selection<'_>) -> Result<()> {
        match (source, selection) {
            (Source::InPlace(source), Selection::One { source: from, name }) => {
                let entry = pick(&**source, *from, self.platform.as_ref())?;
                ref_for(&**source, &entry, *name).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The same for what can be read again; returns whence things are moved, if they are.
    pub(crate) fn check(&self, source: &dyn ImageSource) -> Result<Option<Origin>> {
        if self.resume && matches!(self.link, LinkMode::Reflink | LinkMode::Hardlink) {
            return Err(Error::NotForThis { origin: source.origin(), why: NO_COPY });
        }
        if self.link == LinkMode::Move && self.platform.is_some() {
            return Err(Error::NotForThis { origin: source.origin(), why: NO_PART });
        }
        match (self.link, source.as_layout()) {
            (LinkMode::Move, Some(layout)) => Origin::open(layout).map(Some),
            (link, None) if link.shares() => Err(Error::NotForThis { origin: source.origin(), why: NO_FILES }),
            _ => Ok(None),
        }
    }

    pub(crate) fn check_stream(&self, stream: &Stream) -> Result<()> {
        let refused = |why| Err(Error::NotForThis { origin: stream.origin(), why });
        match self {
            _ if self.link.shares() => refused(NO_FILES),
            _ if self.resume => refused(NO_MIDDLE),
            _ => Ok(()),
        }
    }
}
