//! Rows of blobs: what the store knows of each, lists of them in pages, and partial digests.

use std::ops::ControlFlow;

use oci_store_cas::{Algorithm, Digest};

use crate::edges::scan;
use crate::schema::{self, BlobRow};
use crate::time::{TIME_GRANULARITY, now};
use crate::{Error, Result, Txn, View};

/// What the store knows of a blob. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// As the first descriptor that named it said; empty if none did.
    pub media_type: String,
    /// When it came into the store.
    pub created: u64,
    /// When an image with it was last imported or, of what a ref names itself, tagged; accurate to an hour. Exports
    /// write nothing, so they do not count.
    pub used: u64,
    /// When its bytes were last found to be right: at the latest when they came in, or were checked since.
    /// `None` after a `reindex` that did not hash.
    pub verified: Option<u64>,
    /// Its bytes were found to be wrong. The next import that has it replaces it.
    pub damaged: bool,
}

impl BlobInfo {
    fn new(digest: Digest, row: BlobRow) -> Self {
        let BlobRow { size, created, used, verified, damaged, media_type } = row;
        Self { digest, size, media_type, created, used, verified: (verified > 0).then_some(verified), damaged }
    }

    fn row(&self) -> BlobRow {
        BlobRow {
            size: self.size,
            created: self.created,
            used: self.used,
            verified: self.verified.unwrap_or_default(),
            damaged: self.damaged,
            media_type: self.media_type.clone(),
        }
    }
}

/// Which blobs to list. The default is all.
#[derive(Clone, Debug, Default)]
pub struct BlobFilter {
    /// Of this media type.
    pub media_type: Option<String>,
    /// Of this algorithm.
    pub algorithm: Option<String>,
    /// At least so many bytes.
    pub min_size: Option<u64>,
    /// At most so many bytes.
    pub max_size: Option<u64>,
    /// Came in at this time or later, in seconds since 1970.
    pub created_since: Option<u64>,
    /// Came in before this time.
    pub created_before: Option<u64>,
    /// Was last used before this time.
    pub used_before: Option<u64>,
}

impl BlobFilter {
    fn takes(&self, blob: &BlobInfo) -> bool {
        self.media_type.as_ref().is_none_or(|t| *t == blob.media_type)
            && self.algorithm.as_ref().is_none_or(|a| a == blob.digest.algorithm())
            && self.min_size.is_none_or(|n| blob.size >= n)
            && self.max_size.is_none_or(|n| blob.size <= n)
            && self.created_since.is_none_or(|t| blob.created >= t)
            && self.created_before.is_none_or(|t| blob.created < t)
            && self.used_before.is_none_or(|t| blob.used < t)
    }
}

/// How many candidates an [`Error::Ambiguous`] lists.
const CANDIDATES: usize = 16;

impl View<'_> {
    /// What the store knows of a blob, or `None`: no row, no blob.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn blob(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        let row = self.0.get(&schema::of_digest(schema::BLOB, digest))?;
        row.map(|row| Ok(BlobInfo::new(digest.clone(), schema::decode("blob", &row)?.0))).transpose()
    }

    /// Visits blobs in the order of their digests, beginning behind `after`.
    ///
    /// # Errors
    /// Those of `visit`; [`Error::Row`], [`Error::Index`].
    pub fn each_blob(
        &self,
        after: Option<&Digest>,
        visit: &mut dyn FnMut(BlobInfo) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let from = after.map(|digest| schema::of_digest(schema::BLOB, digest)).unwrap_or_default();
        scan(self.0, &[schema::BLOB], &from, &mut |key, value| {
            if key == from.as_slice() {
                return Ok(ControlFlow::Continue(()));
            }
            visit(BlobInfo::new(schema::digest_of("blob", key)?, schema::decode("blob", value)?.0))
        })
    }

    /// A page of at most `limit` blobs, in the order of their digests; the next page begins behind the last
    /// one of this. A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn blobs(&self, filter: &BlobFilter, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>> {
        let mut page = Vec::new();
        if limit == 0 {
            return Ok(page);
        }
        self.each_blob(after, &mut |blob| {
            if filter.takes(&blob) {
                page.push(blob);
            }
            Ok(if page.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(page)
    }

    /// The one blob whose digest is `text` or begins so: `sha256:0c45`, `sha256-0c45` or `0c45`, with at least
    /// two lower-case hex digits. Costs a range scan of the matches, never a walk over all.
    ///
    /// # Errors
    /// [`Error::InvalidPrefix`], [`Error::BlobNotFound`], [`Error::Ambiguous`] with the candidates;
    /// [`Error::Row`], [`Error::Index`].
    pub fn resolve(&self, text: &str) -> Result<Digest> {
        if let Ok(digest) = text.parse::<Digest>() {
            let found = self.0.get(&schema::of_digest(schema::BLOB, &digest))?;
            return found.map(|_| digest).ok_or_else(|| Error::BlobNotFound(text.to_owned()));
        }
        let (algorithms, hex) = split_prefix(text)?;
        let mut found = Vec::new();
        for algorithm in algorithms {
            // An odd digit is half a byte: the scan is over whole bytes, and compares it.
            let mut prefix = vec![schema::BLOB];
            prefix.extend(Digest::key_prefix(algorithm));
            let whole = hex.len() / 2 * 2;
            prefix.extend(
                hex.as_bytes().chunks_exact(2).filter_map(|pair| {
                    std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
                }),
            );
            let mut from = prefix.clone();
            let odd = hex.get(whole..).and_then(|digit| u8::from_str_radix(digit, 16).ok());
            from.extend(odd.map(|digit| digit << 4));
            let at = prefix.len();
            scan(self.0, &prefix, &from, &mut |key, _| {
                let nibble = key.get(at).map(|byte| byte >> 4);
                if odd.is_some() && nibble != odd {
                    return Ok(ControlFlow::Break(()));
                }
                found.push(schema::digest_of("blob", key)?);
                Ok(if found.len() > CANDIDATES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        the_only(text, found)
    }
}

/// Of the digests that begin so, sorted, the only one.
///
/// # Errors
/// [`Error::BlobNotFound`]; [`Error::Ambiguous`], which names the first of them.
pub fn the_only(text: &str, mut found: Vec<Digest>) -> Result<Digest> {
    let more = found.len() > CANDIDATES;
    found.truncate(CANDIDATES);
    match <[Digest; 1]>::try_from(found) {
        Ok([only]) => Ok(only),
        Err(none) if none.is_empty() => Err(Error::BlobNotFound(text.to_owned())),
        Err(candidates) => Err(Error::Ambiguous { prefix: text.to_owned(), candidates, more }),
    }
}

/// The algorithms that a partial digest may mean, in the order of digests, and its hex digits.
///
/// # Errors
/// [`Error::InvalidPrefix`].
pub fn split_prefix(text: &str) -> Result<(Vec<Algorithm>, &str)> {
    let invalid = |why| Error::InvalidPrefix { text: text.chars().take(160).collect(), why };
    let (algorithms, hex) = match text.split_once([':', '-']) {
        Some((name, hex)) => {
            let known = Algorithm::by_name(name);
            (vec![known.ok_or_else(|| invalid("neither a digest nor the beginning of one"))?], hex)
        }
        None => (Algorithm::ALL.to_vec(), text),
    };
    if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(invalid("neither a digest nor the beginning of one: those are lower-case hex digits"));
    }
    if hex.len() < 2 {
        return Err(invalid("a partial digest takes at least two hex digits"));
    }
    Ok((algorithms, hex))
}

impl Txn<'_> {
    /// Adds the row of a blob whose file is in the store, verified, with its name durable. It is dirty until
    /// a gc has seen that something keeps it. A row that is there keeps its time of creation and, unless it is
    /// empty, its media type, and is no longer damaged.
    pub(crate) fn put_blob(&mut self, digest: &Digest, size: u64, media_type: &str) -> Result<()> {
        let now = now();
        let old = self.view().blob(digest)?;
        let (created, known_type) = old.map_or((now, String::new()), |old| (old.created, old.media_type));
        let media_type = if known_type.is_empty() { media_type.to_owned() } else { known_type };
        let digest = digest.clone();
        let info = BlobInfo { digest, size, media_type, created, used: now, verified: Some(now), damaged: false };
        self.write_blob(&info)?;
        self.0.delete(&schema::of_digest(schema::PENDING, &info.digest))?;
        self.mark_dirty(&info.digest)
    }

    pub(crate) fn write_blob(&mut self, info: &BlobInfo) -> Result<()> {
        let row = schema::encode("blob", &info.row(), &[])?;
        self.0.put(&schema::of_digest(schema::BLOB, &info.digest), &row)?;
        Ok(())
    }

    /// Notes that a blob is in use now. Writes at most once an hour for a blob. No row: nothing happens.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn touch_blob(&mut self, digest: &Digest) -> Result<()> {
        let now = now();
        match self.view().blob(digest)? {
            Some(info) if info.used + TIME_GRANULARITY <= now => self.write_blob(&BlobInfo { used: now, ..info }),
            _ => Ok(()),
        }
    }

    /// Notes a blob's media type, if none is known. No row: nothing happens.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn set_media_type(&mut self, digest: &Digest, media_type: &str) -> Result<()> {
        match self.view().blob(digest)? {
            Some(info) if info.media_type.is_empty() => {
                self.write_blob(&BlobInfo { media_type: media_type.to_owned(), ..info })
            }
            _ => Ok(()),
        }
    }

    /// Notes the outcome of a check of a blob's bytes. No row: nothing happens.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn note_check(&mut self, digest: &Digest, good: bool) -> Result<()> {
        let Some(info) = self.view().blob(digest)? else { return Ok(()) };
        let verified = if good { Some(now()) } else { info.verified };
        self.write_blob(&BlobInfo { verified, damaged: !good, ..info })
    }

    /// Asks the next gc to look whether anything keeps this blob: whoever stops keeping one says so here.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn mark_dirty(&mut self, digest: &Digest) -> Result<()> {
        self.0.put(&schema::of_digest(schema::DIRTY, digest), &[])?;
        Ok(())
    }

    /// Removes a blob's row and all that hangs on it; its file is pending. Returns what it pointed at, and how many
    /// records of the store on top went with it.
    pub(crate) fn remove_blob(&mut self, blob: &BlobInfo) -> Result<(Vec<crate::Edge>, u64)> {
        self.0.delete(&schema::of_digest(schema::BLOB, &blob.digest))?;
        self.0.delete(&schema::of_digest(schema::DIRTY, &blob.digest))?;
        self.remove_blob_data(&blob.digest)?;
        let records = self.remove_references(&blob.digest)?;
        self.mark_pending(&blob.digest, blob.size)?;
        Ok((self.remove_edges(&blob.digest)?, records))
    }

    pub(crate) fn mark_pending(&mut self, digest: &Digest, size: u64) -> Result<()> {
        self.0.put(&schema::of_digest(schema::PENDING, digest), &size.to_be_bytes())?;
        Ok(())
    }
}
