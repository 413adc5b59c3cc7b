//! Builds crash images, mounts them and looks, on several threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use super::case::{Case, Cursor, KINDS};
use super::place::Place;
use super::recording::Recording;
use super::verify::{Found, moment, verify};
use super::workload::{Places, Step};
use crate::attack::Tally;
use crate::attack::program::Program;

/// So many neighbours go to one thread.
const RUN: usize = 16;
/// So often a case is settled by `gc --full` and compared with what the program says.
const SETTLED: usize = 8;

/// What replays need besides the cases.
pub(super) struct Replay<'r> {
    pub(super) recording: &'r Recording,
    pub(super) steps: &'r [Step],
    pub(super) sources: &'r Path,
    pub(super) program: &'r Program,
    pub(super) options: Option<&'r str>,
    /// Set when all is to end.
    pub(super) stop: &'r AtomicBool,
}

/// How many there were.
#[derive(Default)]
pub(super) struct Counts {
    /// By the name of the kind.
    pub(super) images: BTreeMap<&'static str, usize>,
    /// The filesystem itself refused the image.
    pub(super) unmountable: usize,
    /// Something fell.
    pub(super) fallen: usize,
    /// `index.json` was behind the refs.
    pub(super) behind: usize,
}

impl Replay<'_> {
    /// Replays the cases, which are in the order of their positions.
    pub(super) fn all(&self, cases: &[Case], threads: usize, tally: &mut Tally) -> Result<Counts> {
        let next = AtomicUsize::new(0);
        let shared = Mutex::new((Counts::default(), tally));
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads.max(1)).map(|_| scope.spawn(|| self.some(cases, &next, &shared))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => anyhow::bail!("a thread panicked"),
            })
        })?;
        Ok(shared.into_inner().unwrap_or_else(PoisonError::into_inner).0)
    }

    fn some(&self, cases: &[Case], next: &AtomicUsize, shared: &Mutex<(Counts, &mut Tally)>) -> Result<()> {
        let place = Place::new(self.recording.filesystem.size())?;
        let mut cursor = Cursor::new(self.recording);
        while let from = next.fetch_add(RUN, Ordering::Relaxed)
            && from < cases.len()
        {
            for (nth, case) in cases.iter().enumerate().skip(from).take(RUN) {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let found = self.one(*case, &mut cursor, &place, nth % SETTLED == 0);
                let found = found.with_context(|| format!("{} {case}", self.recording.name()))?;
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let (counts, tally) = &mut *shared;
                *counts.images.entry(case.kind.name()).or_default() += 1;
                let Some(mut found) = found else {
                    counts.unmountable += 1;
                    continue;
                };
                counts.behind += usize::from(found.behind);
                counts.fallen += usize::from(!found.wrong.is_empty());
                // One guard less can spoil all images; a few lines tell.
                found.wrong.truncate(4);
                tally.fell(&format!("{} seed {} case {case}", self.recording.name(), self.recording.seed), found.wrong);
            }
        }
        Ok(())
    }

    /// None if the filesystem does not mount.
    fn one(&self, case: Case, cursor: &mut Cursor, place: &Place, settle: bool) -> Result<Option<Found>> {
        let moment = moment(&self.recording.ran, self.steps, case.position).context("no steps")?;
        place.served.disk.lock().pages = cursor.build(case);
        let filesystem = self.recording.filesystem;
        let mounted = match filesystem.mount(&place.served.file(), &place.mountpoint, self.options) {
            Ok(mounted) => mounted,
            Err(error) => {
                eprintln!("{} case {case}: {error:#}", self.recording.name());
                return Ok(None);
            }
        };
        let places = Places::new(mounted.folder(), self.sources);
        verify(self.program, &places, &moment, settle).map(Some)
    }
}

/// The counts of a recording, in words.
pub(super) fn words(counts: &Counts) -> String {
    let images: Vec<String> =
        KINDS.iter().map(|kind| format!("{} {}", counts.images.get(kind.name()).unwrap_or(&0), kind.name())).collect();
    let Counts { unmountable, fallen, behind, .. } = counts;
    format!("{}; {unmountable} unmountable, {behind} with index.json behind, {fallen} fallen", images.join(", "))
}
