//! A process of a case: it stops where it is told to, waits for a lock that another one holds, or ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::attack::program::Program;

/// A process that does nothing for so long waits for another, though no lock file shows it.
const QUIET: Duration = Duration::from_secs(2);

/// Longer than any of these commands takes: what has not ended by then never will.
const TOO_LONG: Duration = Duration::from_secs(90);

/// A place to stop at: a point, and the arrival there that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) point: String,
    pub(super) arrival: u32,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.point, self.arrival)
    }
}

/// What has become of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits where it was told to.
    Stopped,
    /// It waits for a lock that another process holds.
    Blocked,
    /// It has ended.
    Ended,
}

/// How it ended, and what it said.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// `None`: it had to be killed.
    pub(super) status: Option<ExitStatus>,
    pub(super) errors: String,
}

/// A process of a case.
pub(super) struct Process {
    child: Child,
    folder: PathBuf,
    stops: bool,
    released: bool,
}

impl Process {
    /// Starts a command of the program; `folder` is for its output and its stop, and is made.
    pub(super) fn start(
        program: &Program,
        store: &Path,
        args: &[String],
        stop: Option<&Stop>,
        without: Option<&str>,
        folder: PathBuf,
    ) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut command = program.command(store, args);
        if let Some(stop) = stop {
            command.env("OCI_STORE_STOP", format!("{stop}={}", folder.display()));
        }
        if let Some(without) = without {
            command.env("OCI_STORE_WITHOUT", without);
        }
        command.stdout(Stdio::null()).stderr(File::create(folder.join("errors"))?);
        let child = command.spawn().with_context(|| program.path().display().to_string())?;
        Ok(Self { child, folder, stops: stop.is_some(), released: false })
    }

    /// Waits until it has stopped, waits for somebody, or has ended. All others must have settled before.
    pub(super) fn settle(&mut self) -> Result<State> {
        let began = Instant::now();
        let mut waits = 0;
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(State::Ended);
            }
            if self.stops && !self.released && self.folder.join("reached").exists() {
                return Ok(State::Stopped);
            }
            // Seen waiting three times in a row, while nobody else does anything: that will last.
            waits = if waits_for_lock(self.child.id()) { waits + 1 } else { 0 };
            if waits == 3 || began.elapsed() > QUIET {
                return Ok(State::Blocked);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets it go on from where it stopped, or will come to.
    pub(super) fn release(&mut self) -> Result<()> {
        self.released = true;
        fs::write(self.folder.join("go"), "").context("can't release a process")
    }

    /// Waits for its end; a process that does not come to it is killed.
    pub(super) fn end(&mut self) -> Result<Ended> {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break Some(status),
                None if began.elapsed() > TOO_LONG => {
                    self.child.kill()?;
                    self.child.wait()?;
                    break None;
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let errors = fs::read(self.folder.join("errors"))?;
        Ok(Ended { status, errors: String::from_utf8_lossy(&errors).trim().to_owned() })
    }

    /// Whether it came to where it was to stop.
    pub(super) fn reached(&self) -> bool {
        self.folder.join("reached").exists()
    }
}

impl Drop for Process {
    /// Of a case that could not be brought to its end.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a thread of a process sleeps in the kernel until it gets a lock on a file. (`/proc/locks` tells it too, but
/// reading that holds up every lock of the machine.)
fn waits_for_lock(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let place = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        place.contains("flock") || place.contains("locks_lock")
    })
}
