//! The other way to cut the power: several processes work on one store, and at some moment the filesystem is told to
//! stop, and to forget what it has not written. Coarser than a log of the disk, but with many at work.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::chance::Chance;
use super::filesystem::{Filesystem, Mounted};
use super::verify::{Found, run, shown};
use super::worker::Worker;
use super::workload::{Places, State};
use crate::attack::checker::{self, examine};
use crate::attack::program::Program;
use crate::attack::{Tally, inputs};

/// So many processes at a time.
const WORKERS: usize = 4;
/// The log is not flushed: neither ext4 nor XFS writes anything more.
const NOLOGFLUSH: u32 = 2;

mod request {
    #![allow(missing_docs)]
    // The same number for ext4 and XFS.
    nix::ioctl_read!(shut_down, b'X', 125, u32);
}

/// A store on a filesystem that is shut down again and again.
pub(super) struct Shutdown<'s> {
    pub(super) filesystem: Filesystem,
    pub(super) index: &'static str,
    pub(super) seed: u64,
    pub(super) program: &'s Program,
    /// The guards that are taken out while the workers work.
    pub(super) without: Option<&'s str>,
    /// Set when all is to end.
    pub(super) stop: &'s AtomicBool,
}

impl Shutdown<'_> {
    /// Cuts the power `times` times, and calls `boot` after each. Returns how many times it was cut, and how many commands
    /// were acknowledged.
    pub(super) fn all(
        &self,
        times: usize,
        tally: &mut Tally,
        mut boot: impl FnMut() -> Result<()>,
    ) -> Result<(usize, usize)> {
        let folder = tempfile::Builder::new().prefix("oci-store-powercut-").tempdir()?;
        let (disk, sources, mountpoint) =
            (folder.path().join("disk"), folder.path().join("sources"), folder.path().join("mounted"));
        File::create(&disk)?.set_len(self.filesystem.size())?;
        self.filesystem.make(&disk)?;
        fs::create_dir(&mountpoint)?;
        let digests = inputs::overlapping(&sources, "a", 6, 4, 9_000)?.into_iter().collect::<Vec<_>>();
        let mut mounted = self.filesystem.mount(&disk, &mountpoint, None)?;
        let places = Places::new(mounted.folder(), &sources);
        self.program.must(&places.store, ["gc", "--index", self.index])?;
        let mut workers: Vec<Worker> =
            (0..WORKERS).map(|number| Worker::new(number, self.seed, &digests, self.without)).collect();
        let mut chance = Chance::new(self.seed);
        for nth in 0..times {
            if self.stop.load(Ordering::Relaxed) {
                return Ok((nth, acknowledged(&workers)));
            }
            let commands = chance.below(12 * WORKERS);
            self.cut(&mounted, &places, &mut workers, commands)?;
            drop(mounted);
            boot()?;
            mounted = self.filesystem.mount(&disk, &mountpoint, None)?;
            let found = self.look(&places, &mut workers, nth % 4 == 0)?;
            let name = format!("shutdown {}/{} seed {} cut {nth}", self.filesystem.name(), self.index, self.seed);
            tally.fell(&name, found.wrong);
        }
        Ok((times, acknowledged(&workers)))
    }

    /// Lets the workers work, until so many commands have ended, and somewhere in the next ones the filesystem is shut down.
    fn cut(&self, mounted: &Mounted, places: &Places, workers: &mut [Worker], commands: usize) -> Result<()> {
        let (over, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (over, ended) = (&over, &ended);
        std::thread::scope(|scope| {
            let threads: Vec<_> = workers
                .iter_mut()
                .map(|worker| scope.spawn(|| worker.work(self.program, places, over, ended)))
                .collect();
            while ended.load(Ordering::Relaxed) < commands && threads.iter().all(|thread| !thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // What ends from now on was not acknowledged before the cut: a sync that it comes into may still say that all
            // is well, which nobody would have heard.
            over.store(true, Ordering::SeqCst);
            let shut = shut_down(mounted.folder());
            for thread in threads {
                match thread.join() {
                    Ok(done) => done?,
                    Err(_) => anyhow::bail!("a thread panicked"),
                }
            }
            shut
        })
    }

    fn look(&self, places: &Places, workers: &mut [Worker], settle: bool) -> Result<Found> {
        let mut found = Found::default();
        let facts = examine(&places.store)?;
        found.wrong.extend(facts.wrong.into_iter().map(|line| format!("{line} (before any command)")));
        let state = shown(self.program, places, &mut found)?;
        let Some(state) = state else { return Ok(found) };
        let known = |name: &String| workers.iter().any(|worker| name.starts_with(worker.name()));
        let strange: Vec<_> = state.refs.keys().chain(state.data.keys()).filter(|name| !known(name)).collect();
        if !strange.is_empty() {
            found.wrong.push(format!("I5: {strange:?}: nobody's"));
        }
        for worker in workers {
            let mine = State {
                refs: state.refs.clone().into_iter().filter(|(name, _)| name.starts_with(worker.name())).collect(),
                data: state.data.clone().into_iter().filter(|(name, _)| name.starts_with(worker.name())).collect(),
                ..State::default()
            };
            found.wrong.extend(worker.accept(mine));
        }
        run(&mut places.command(self.program, &["gc"]), "gc", &mut found);
        let facts = examine(&places.store)?;
        found.wrong.extend(facts.differs_from(&state.refs));
        found.wrong.extend(facts.wrong.into_iter().map(|line| format!("{line} (after gc)")));
        if settle {
            run(&mut places.command(self.program, &["gc", "--full"]), "gc --full", &mut found);
            let facts = checker::examine_settled(&places.store)?;
            found.wrong.extend(facts.wrong.iter().map(|line| format!("{line} (after gc --full)")));
            found.wrong.extend(checker::agree(self.program, &places.store, &facts)?);
        }
        Ok(found)
    }
}

fn acknowledged(workers: &[Worker]) -> usize {
    workers.iter().map(|worker| worker.acknowledged).sum()
}

/// Stops the filesystem: from now on nothing is written, and every change fails.
fn shut_down(folder: &Path) -> Result<()> {
    let folder = File::open(folder)?;
    let mut flags = NOLOGFLUSH;
    // SAFETY: the descriptor is open, and the kernel reads one u32 from the address.
    unsafe { request::shut_down(folder.as_raw_fd(), &raw mut flags) }.context("the filesystem does not shut down")?;
    Ok(())
}
