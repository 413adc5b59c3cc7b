use std::io;
use std::path::{Path, PathBuf};

use oci_store_base as base;
use oci_store_cas::{self as cas, Digest};

use crate::closure::Missing;
use crate::{Imported, Limit};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no ref name by the image-spec's grammar.
    #[error("{name:?} is no ref name: {why}")]
    InvalidRef {
        /// The beginning of it.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A text names no place for images.
    #[error("{}: {why}; it takes PATH, oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF] or -", plain(.place, NAME))]
    InvalidPlace {
        /// The text.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// There is no such ref.
    #[error("{}: no such ref", plain(.0, NAME))]
    RefNotFound(String),

    /// A ref that was to be made is there already, or has changed meanwhile.
    #[error("{0}: the ref is there already, or has changed meanwhile")]
    RefConflict(String),

    /// There is no change of refs that could be undone: none of the ref of this name, or none at all.
    #[error("{}", match .0 { Some(name) => format!("{}: no change of this ref is known", plain(name, NAME)), None => "no change of a ref is known".to_owned() })]
    NothingToUndo(Option<String>),

    /// A change of a ref can't be undone.
    #[error("the last change of {name} can't be undone: {error}")]
    NotUndone {
        /// The ref.
        name: String,
        /// Why.
        error: Box<Error>,
    },

    /// A source has no entry of that name.
    #[error("{}: no such ref in {origin}{}", plain(.name, NAME), hint(.has))]
    NotInSource {
        /// What was asked for.
        name: String,
        /// Where.
        origin: String,
        /// The first names that it has.
        has: Vec<String>,
    },

    /// A source has several images and none was named.
    #[error("{origin} has {} refs{}: say which with --sref, or take --all", .has.len(), hint(.has))]
    SeveralInSource {
        /// Where.
        origin: String,
        /// The names that it has.
        has: Vec<String>,
    },

    /// A source has no image with a name, and none was named by its digest.
    #[error("{origin} has {}", unnamed(.has))]
    NoName {
        /// Where.
        origin: String,
        /// The images that it has, by their digests.
        has: Vec<String>,
    },

    /// An entry's name is no ref name, and no other name was given.
    #[error("{}: give it one with --dref", if .name.is_empty() { format!("the image in {origin} has no name") } else { format!("{name:?} in {origin} is no ref name") })]
    NeedsName {
        /// The entry's name, or nothing.
        name: String,
        /// Where.
        origin: String,
    },

    /// A source can't be imported in the way that was asked for.
    #[error("{origin}: {why}")]
    NotForThis {
        /// The source.
        origin: String,
        /// What is for others.
        why: &'static str,
    },

    /// A document (image index, manifest, config, layout) can't be read.
    #[error("{what}: {why}")]
    Document {
        /// Its digest or path.
        what: String,
        /// What is wrong with it.
        why: String,
    },

    /// A document has more than [`Limits`](crate::Limits) let in, and others could let it in. One that none can let in is
    /// an [`Error::Document`].
    #[error("{what}: {why}")]
    OverLimit {
        /// Its digest or path.
        what: String,
        /// How much it has.
        why: String,
        /// Which of the limits.
        limit: Limit,
    },

    /// An image is not complete.
    #[error("{}{}", .0.first().map(ToString::to_string).unwrap_or_default(), if .0.len() > 1 { format!(" (and {} more)", .0.len() - 1) } else { String::new() })]
    Incomplete(Vec<Missing>),

    /// An image is not there for the platform that was asked for.
    #[error("{}: not for {platform}{}", plain(.name, NAME), hint(.has))]
    NoPlatform {
        /// The image.
        name: String,
        /// What was asked for.
        platform: String,
        /// What there is.
        has: Vec<String>,
    },

    /// Bytes from a source are not what they should be.
    #[error("{origin}: {error}")]
    Source {
        /// The source.
        origin: String,
        /// What is wrong.
        error: Box<Error>,
    },

    /// A blob could not be copied; the text says why.
    #[error("{0}")]
    Copy(String),

    /// A folder or an archive is no image layout.
    #[error("{}: not an image layout: {why}", .path.display())]
    NotALayout {
        /// The folder, or the archive.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },

    /// A layout that was to be adopted is not whole.
    #[error("{}: not adopted: {}{}", .path.display(), .problems.first().map(String::as_str).unwrap_or_default(), if .problems.len() > 1 { format!(" (and {} more)", .problems.len() - 1) } else { String::new() })]
    NotWhole {
        /// Its folder.
        path: PathBuf,
        /// What is missing or damaged, each in a line.
        problems: Vec<String>,
    },

    /// An archive is none that can be read.
    #[error("{}: {why}", .path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which member.
        why: String,
    },

    /// Some of several images failed; the others are in.
    #[error("{} of {total} images failed: {}", .failed.len(), .failed.first().map(|(name, error)| format!("{}: {error}", plain(name, NAME))).unwrap_or_default())]
    Several {
        /// Those that are in.
        imported: Vec<Imported>,
        /// How many there were.
        total: usize,
        /// Names and errors of those that failed.
        failed: Vec<(String, Error)>,
    },

    /// An import of several images was ended by something that would have failed the others as well: a full disk, an
    /// index that can't be written, a lock that was not to be had.
    #[error("{error} ({} of {total} images were imported before, {} were not tried or not finished)", .imported.len(), .total - .imported.len())]
    Stopped {
        /// What it was.
        error: Box<Error>,
        /// Those that are in.
        imported: Vec<Imported>,
        /// How many there were to be.
        total: usize,
    },

    /// What was asked for is done, and lasts; but `index.json`, which other tools read, does not show it yet. The next
    /// command that can write it brings it up to date.
    #[error("{done}, but index.json could not be brought up to date: {error}; the next command does it")]
    NotShown {
        /// What is done: `the ref v1 is set`.
        done: String,
        /// Why it does not show.
        error: Box<Error>,
    },

    /// All of an import is in the store, but what was taken is still in its source, or a part of it.
    #[error(
        "all is in the store, but not all that was taken could be removed from {origin}: {error}; what its index.json still lists, the same again removes"
    )]
    NotRemoved {
        /// What came in.
        imported: Vec<Imported>,
        /// The source.
        origin: String,
        /// Why it is still there.
        error: Box<Error>,
    },

    /// The base store: [`base::Error`]. Who was [cancelled](crate::Progress::cancelled) gets
    /// [`base::Error::Cancelled`].
    #[error(transparent)]
    Base(#[from] base::Error),

    /// Blobs: [`cas::Error`].
    #[error(transparent)]
    Cas(cas::Error),

    /// The operating system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl From<cas::Error> for Error {
    fn from(error: cas::Error) -> Self {
        match error {
            cas::Error::Cancelled => Self::Base(base::Error::Cancelled),
            error => Self::Cas(error),
        }
    }
}

/// The most characters of a name, and of a reason, that a message has: both may be somebody else's.
const NAME: usize = 80;
const WHY: usize = 400;

/// Text of others in a message: one line, without control characters, and not long.
fn plain(text: &str, most: usize) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let shown: String = text.chars().take(most).map(escape).collect();
    if text.chars().nth(most).is_some() { format!("{shown}…") } else { shown }
}

fn hint(has: &[String]) -> String {
    let few: Vec<String> = has.iter().take(5).map(|name| plain(name, NAME)).collect();
    match has.len() {
        0 => String::new(),
        1..=5 => format!(" (it has: {})", few.join(", ")),
        _ => format!(" (it has: {}, …)", few.join(", ")),
    }
}

fn unnamed(has: &[String]) -> String {
    match has.len() {
        0 => "no image".to_owned(),
        1 => format!("1 image without a name: take it with --sref DIGEST --dref NAME{}", hint(has)),
        n => format!("{n} images without a name: take one with --sref DIGEST --dref NAME{}", hint(has)),
    }
}

impl Error {
    /// Names the path that an operating system's error is about; made for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether the disk is full: see [`base::Error::is_no_space`].
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        self.by_base(&base::Error::is_no_space)
    }

    /// Whether a right is lacking: see [`base::Error::is_denied`].
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.by_base(&base::Error::is_denied)
    }

    /// The same, of the disk that the files in `folder` are on: see [`base::Error::is_no_space_in`].
    #[must_use]
    pub fn is_no_space_in(&self, folder: &Path) -> bool {
        self.by_base(&|error| error.is_no_space_in(folder))
    }

    /// Whether what comes next would fail by it, too: see [`base::Error::hinders_all`].
    #[must_use]
    pub fn hinders_all(&self) -> bool {
        self.by_base(&base::Error::hinders_all)
    }

    /// The images of an import that are in although it failed.
    #[must_use]
    pub fn imported(&self) -> &[Imported] {
        match self {
            Self::Several { imported, .. } | Self::Stopped { imported, .. } | Self::NotRemoved { imported, .. } => {
                imported
            }
            _ => &[],
        }
    }

    /// What the base store says of an error of the system's, whichever way it came.
    fn by_base(&self, says: &dyn Fn(&base::Error) -> bool) -> bool {
        let io = |path: &PathBuf, source: &io::Error| {
            let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
            says(&base::Error::Io { path: path.clone(), source })
        };
        match self {
            Self::Base(error) => says(error),
            Self::Io { path, source } | Self::Cas(cas::Error::Io { path, source }) => io(path, source),
            Self::NotShown { error, .. }
            | Self::NotRemoved { error, .. }
            | Self::Stopped { error, .. }
            | Self::NotUndone { error, .. } => error.by_base(says),
            _ => false,
        }
    }

    /// For `map_err` where only `index.json` was still to be written.
    pub(crate) fn not_shown(done: impl ToString) -> impl FnOnce(Self) -> Self {
        move |error| Self::NotShown { done: done.to_string(), error: Box::new(error) }
    }

    pub(crate) fn document(what: impl ToString, why: impl ToString) -> Self {
        Self::Document { what: what.to_string(), why: plain(&why.to_string(), WHY) }
    }

    pub(crate) fn archive(path: &Path, why: impl ToString) -> Self {
        Self::Archive { path: path.to_owned(), why: plain(&why.to_string(), WHY) }
    }

    /// The same, of one of its members.
    pub(crate) fn member(path: &Path, name: &[u8], why: impl ToString) -> Self {
        let name = plain(&String::from_utf8_lossy(name), NAME);
        Self::archive(path, format!("{name}: {}", why.to_string()))
    }

    /// The blobs that have gone between a look and a publish, if that is what this says.
    pub(crate) fn gone(&self) -> Option<&[Digest]> {
        match self {
            Self::Base(base::Error::Gone(digests)) => Some(digests),
            _ => None,
        }
    }
}
