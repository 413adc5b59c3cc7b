//! The copying of an import: what the store has not, side by side, and not what somebody else is copying already.

use std::time::{Duration, Instant};

use oci_store_base::{Guard, NewBlob};
use oci_store_cas::threads::try_map;

use crate::intake::{At, Blob, Bytes, Intake, State};
use crate::progress::check_cancelled;
use crate::progress::passed;
use crate::source::{Content, check_size};
use crate::{Descriptor, Result};

/// Blobs of fewer bytes are copied at once, as waiting would take longer. Attacks are made with small ones.
const CLAIMED: u64 = if cfg!(oci_store_attack) { 1 } else { 1 << 20 };
/// How long to wait for somebody else's copy, at least; and how many bytes a second it may take beyond that.
const PATIENCE: Duration = Duration::from_secs(2);
const SLOW: u64 = 50 << 20;
const PAUSE: Duration = Duration::from_millis(3);

/// What has become of a blob, and the claim to it until it has a row.
type Copied = (State, Option<Box<dyn Guard>>);
type Copy<'c, 'i> = dyn Fn(&Intake<'i>, &Descriptor) -> Result<Option<Copied>> + Sync + 'c;

impl<'i> Intake<'i> {
    /// Copies what is wanted, side by side. What fails is noted with the blob: only the images that need it fail. An
    /// error that would fail all that is still to come, a full disk, ends it and is returned.
    ///
    /// What others are copying at this moment is left to them. When all else is here, it is given a row, so that those
    /// who wait for it may go on, and then theirs is waited for.
    pub(crate) fn copy(&mut self) -> Result<()> {
        let wanted = self.wanted();
        if self.resume {
            let blobs = wanted.iter().filter_map(|at| self.blobs.get(*at));
            self.lease.take_over(blobs.map(|blob| (blob.digest.clone(), blob.size)))?;
        }
        let left = self.copy_all(wanted, &|this, wanted| this.copy_unless_claimed(wanted))?;
        if left.is_empty() {
            return Ok(());
        }
        tracing::debug!("{} blobs are being copied by others", left.len());
        let here = self.claims.values().filter_map(|(at, _)| self.blobs.get(*at));
        let here: Vec<NewBlob> = here.filter(|blob| blob.state == State::Here).map(Blob::new_blob).collect();
        if !here.is_empty() {
            match self.lease.publish(&here, |_| Ok(())) {
                // What is gone is fetched again when the images are published.
                Ok(()) | Err(oci_store_base::Error::Gone(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.claims.clear();
        self.copy_all(left, &|this, wanted| this.copy_after_others(wanted).map(Some)).map(drop)
    }

    /// The largest first, so that no thread is left alone with one at the end.
    fn wanted(&self) -> Vec<At> {
        let mut wanted: Vec<(At, &Blob)> = self.blobs.iter().filter(|(_, blob)| blob.state == State::Wanted).collect();
        wanted.sort_by(|(_, a), (_, b)| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
        wanted.into_iter().map(|(at, _)| at).collect()
    }

    /// Brings each of `wanted` to its state by `copy`; returns those that it left, for which it said `None`.
    fn copy_all(&mut self, wanted: Vec<At>, copy: &Copy<'_, 'i>) -> Result<Vec<At>> {
        let this = &*self;
        let outcomes = try_map(wanted.len(), 0, |place| {
            check_cancelled(this.progress)?;
            let blob = wanted.get(place).and_then(|at| this.blobs.get(*at));
            let Some(descriptor) = blob.map(Blob::descriptor) else { return Ok(None) };
            match copy(this, &descriptor).map_err(|error| this.blame(error)) {
                Err(error) if !error.hinders_all() => Ok(Some((State::Failed(error.to_string()), None))),
                outcome => outcome,
            }
        });
        check_cancelled(self.progress)?;
        let mut left = Vec::new();
        for (at, outcome) in wanted.into_iter().zip(outcomes?) {
            let Some((state, claim)) = outcome else {
                left.push(at);
                continue;
            };
            if let (Some(claim), Some(blob)) = (claim, self.blobs.get(at)) {
                self.claims.insert(blob.digest.clone(), (at, claim));
            }
            self.set(at, state);
        }
        Ok(left)
    }

    /// `None` if somebody else is copying it.
    fn copy_unless_claimed(&self, descriptor: &Descriptor) -> Result<Option<Copied>> {
        let is_worth_it = descriptor.size >= CLAIMED && !self.in_place && !self.claims.contains_key(&descriptor.digest);
        if !is_worth_it {
            return Ok(Some((self.copy_one(descriptor)?, None)));
        }
        let Some(claim) = self.lease.claim(&descriptor.digest)? else { return Ok(None) };
        self.copy_claimed(descriptor, claim).map(Some)
    }

    /// Whoever had the claim before may have brought it.
    fn copy_claimed(&self, descriptor: &Descriptor, claim: Box<dyn Guard>) -> Result<Copied> {
        match self.brought(descriptor)? {
            Some(brought) => Ok(brought),
            // What can't be had, nobody need wait for: also not this process, for another digest with the same beginning.
            None => Ok(match self.copy_one(descriptor)? {
                State::Here => (State::Here, Some(claim)),
                state => (state, None),
            }),
        }
    }

    /// What somebody else has brought has passed, too.
    fn brought(&self, descriptor: &Descriptor) -> Result<Option<Copied>> {
        if !self.has(descriptor)? {
            return Ok(None);
        }
        passed(self.progress, descriptor.size)?;
        self.progress.blob_done();
        Ok(Some((State::Here, None)))
    }

    /// Waits for who is copying it. Not for ever: it may have been stopped, and this process can do the same work.
    fn copy_after_others(&self, descriptor: &Descriptor) -> Result<Copied> {
        let patience = PATIENCE + Duration::from_secs(descriptor.size / SLOW);
        let began = Instant::now();
        while began.elapsed() < patience && !self.progress.cancelled() {
            if let Some(claim) = self.lease.claim(&descriptor.digest)? {
                tracing::debug!("{}: waited {:.1?} for somebody else's copy", descriptor.digest, began.elapsed());
                return self.copy_claimed(descriptor, claim);
            }
            if let Some(brought) = self.brought(descriptor)? {
                tracing::debug!("{}: waited {:.1?} for somebody else's copy", descriptor.digest, began.elapsed());
                return Ok(brought);
            }
            std::thread::sleep(PAUSE);
        }
        tracing::debug!("{}: is being copied by somebody else for too long", descriptor.digest);
        Ok((self.copy_one(descriptor)?, None))
    }

    fn copy_one(&self, descriptor: &Descriptor) -> Result<State> {
        let Some(content) = self.source.fetch(descriptor)? else { return Ok(State::Absent) };
        check_size(&*content, descriptor)?;
        self.progress.begin(&descriptor.digest, descriptor.size);
        self.stage(descriptor, Bytes::Of(content))?;
        Ok(State::Here)
    }

    /// Goes on with what a dead import has left of a blob, and reads from the source what comes behind. `false`: there is
    /// nothing, or it is not the blob's beginning; then the source stands at its own.
    pub(crate) fn go_on(&self, descriptor: &Descriptor, content: &mut dyn Content) -> Result<bool> {
        let passed = &mut |bytes| passed(self.progress, bytes);
        let Descriptor { digest, size, .. } = descriptor;
        let Some(resumed) = self.lease.resume(digest, *size, passed)? else { return Ok(false) };
        let have = resumed.have();
        let here = |error: std::io::Error| self.blame(oci_store_cas::Error::from(error).into());
        if content.skip_to(have).map_err(here)? {
            if resumed.finish(&mut *content, passed)? {
                tracing::info!("{digest}: {have} of {size} bytes were there");
                return Ok(true);
            }
            content.skip_to(0).map_err(here)?;
        }
        tracing::info!("{digest}: the {have} bytes that were there are no use");
        self.progress.expect(0, *size);
        Ok(false)
    }
}
