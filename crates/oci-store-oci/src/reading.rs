//! Which blobs a check reads, and the reading: what was read and is right is remembered with its time.

use std::time::{Duration, Instant};

use oci_store_base::{Error as BaseError, Txn};
use oci_store_cas::Digest;
use rustix::io::Errno;

use crate::progress::{Progress, check_cancelled, passed};
use crate::seen::Seen;
use crate::{Result, Store};

/// Which blobs of the images that it looks at a check reads and hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// None: that they are there, with the right size, is all.
    #[default]
    Nothing,
    /// Each.
    All,
    /// One share of `of`, counted from 1: which share a blob is in follows from its digest, so that all shares together
    /// are all blobs, whatever comes and goes meanwhile.
    Share {
        /// Which.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// As many as can be read in this time, those first that were verified longest ago. The one that is being read when
    /// it is over is read to its end, so that a large one is read some time, too.
    Within(Duration),
}

impl From<bool> for Reading {
    /// `true`: each.
    fn from(all: bool) -> Self {
        if all { Self::All } else { Self::Nothing }
    }
}

impl Reading {
    /// Whether the blob is in the share, if that is what is asked for.
    pub(crate) fn takes(self, digest: &Digest) -> bool {
        match self {
            Self::Nothing => false,
            Self::All | Self::Within(_) => true,
            Self::Share { part, of } => {
                let place = digest.raw().iter().take(8).fold(0, |place: u64, byte| place << 8 | u64::from(*byte));
                place % u64::from(of.max(1)) + 1 == u64::from(part)
            }
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    /// How many of them are not what they should be, or went meanwhile.
    pub(crate) bad: u64,
}

/// Good outcomes are noted so many at once, or after so long: each note is a commit.
const NOTED: usize = 256;
const NOTED_AFTER: Duration = Duration::from_secs(5);

impl Store {
    /// Reads what is to be read, and notes the outcomes.
    pub(crate) fn read_blobs(&self, seen: &Seen, reading: Reading, progress: &dyn Progress) -> Result<Read> {
        let began = Instant::now();
        let blobs: Box<dyn Iterator<Item = usize> + '_> = match reading {
            Reading::Within(_) => Box::new(self.oldest_first(seen)?.into_iter()),
            _ => Box::new(seen.to_read()),
        };
        progress.expect(seen.to_read.0, seen.to_read.1);
        let mut read = Read::default();
        let mut notes = Notes { store: self, good: Vec::new(), since: began };
        let done = blobs.filter_map(|id| seen.digest(id)).try_for_each(|digest| {
            let digest = &digest;
            if matches!(reading, Reading::Within(limit) if began.elapsed() >= limit) {
                return Ok(());
            }
            check_cancelled(progress)?;
            let known = self.base().view(|view| view.blob(digest))?;
            let (size, was_damaged) = known.map_or((0, false), |known| (known.size, known.damaged));
            progress.begin(digest, size);
            match self.base().verify_blob(digest, &mut |bytes| passed(progress, bytes)) {
                Ok(true) => notes.good(digest, was_damaged)?,
                Ok(false) => {
                    read.bad += 1;
                    self.note_outcomes(|txn| txn.note_check(digest, false))?;
                }
                // As disks rot, mostly: it is not to keep the others from being read, or itself from being replaced.
                Err(error) if is_rotten(&error) => {
                    tracing::warn!("{digest}: {error}");
                    read.bad += 1;
                    self.note_outcomes(|txn| txn.note_check(digest, false))?;
                }
                // It went just now.
                Err(BaseError::BlobNotFound(_)) => read.bad += 1,
                Err(error) => return Err(error.into()),
            }
            read.blobs += 1;
            read.bytes += size;
            progress.blob_done();
            Ok(())
        });
        // What was read until then need not be read again.
        notes.write()?;
        done.map(|()| read)
    }

    /// Notes what was read: also on a full disk, as long as the reserve lasts.
    fn note_outcomes(&self, mut body: impl FnMut(&mut Txn<'_>) -> oci_store_base::Result<()>) -> Result<()> {
        let base = self.base();
        Ok(base.with_reserve(BaseError::is_no_space, || base.update(&mut body))?)
    }

    fn oldest_first(&self, seen: &Seen) -> Result<Vec<usize>> {
        self.base().view(|view| {
            let verified = |id| {
                let blob = seen.digest(id).map(|digest| view.blob(&digest)).transpose()?.flatten();
                Ok::<_, crate::Error>(blob.and_then(|blob| blob.verified))
            };
            let mut timed = seen.to_read().map(|id| Ok((verified(id)?, id))).collect::<Result<Vec<_>>>()?;
            timed.sort_unstable();
            Ok(timed.into_iter().map(|(_, id)| id).collect())
        })
    }
}

/// Good outcomes that are still to be noted.
struct Notes<'s> {
    store: &'s Store,
    /// With whether they were said to be damaged before they were read.
    good: Vec<(Digest, bool)>,
    since: Instant,
}

impl Notes<'_> {
    fn good(&mut self, digest: &Digest, was_damaged: bool) -> Result<()> {
        self.good.push((digest.clone(), was_damaged));
        if self.good.len() >= NOTED || self.since.elapsed() >= NOTED_AFTER { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let good = std::mem::take(&mut self.good);
        self.since = Instant::now();
        if good.is_empty() {
            return Ok(());
        }
        self.store.note_outcomes(|txn| {
            good.iter().try_for_each(|(digest, was_damaged)| {
                // Somebody else has read it later, and found it so.
                let is_newly_damaged = !was_damaged && txn.view().blob(digest)?.is_some_and(|blob| blob.damaged);
                if is_newly_damaged { Ok(()) } else { txn.note_check(digest, true) }
            })
        })
    }
}

/// Whether the disk has lost what it was to keep: of the blob, not of the index, nor of what else is looked at on the way.
fn is_rotten(error: &BaseError) -> bool {
    let errno = error.as_io().and_then(std::io::Error::raw_os_error).map(Errno::from_raw_os_error);
    matches!(error, BaseError::Cas(_)) && matches!(errno, Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG))
}

#[cfg(test)]
mod tests {
    use oci_store_cas::{Algorithm, Hasher};

    use super::*;

    #[test]
    fn what_fails_beside_a_blob_is_not_its_rot() {
        let failed = || std::io::Error::from(Errno::IO);
        let of_blob = oci_store_cas::Error::Io { path: "blobs/sha256/00".into(), source: failed() };
        assert!(is_rotten(&BaseError::Cas(of_blob)));
        assert!(!is_rotten(&BaseError::Io { path: "config.json".into(), source: failed() }));
    }

    #[test]
    fn each_blob_is_in_one_share() {
        for of in [1, 2, 7] {
            let mut sizes = vec![0; of as usize];
            for n in 0..200_u32 {
                let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
                hasher.update(&n.to_be_bytes());
                let digest = hasher.finish();
                let shares: Vec<u32> =
                    (1..=of).filter(|part| Reading::Share { part: *part, of }.takes(&digest)).collect();
                let [share] = shares.as_slice() else { panic!("{digest}: {shares:?}") };
                sizes[*share as usize - 1] += 1;
            }
            assert!(sizes.iter().all(|size| *size >= 100 / of), "{sizes:?}");
        }
    }
}
