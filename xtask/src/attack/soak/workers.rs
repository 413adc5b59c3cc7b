//! The workers: real processes, each in a group of its own with the processes that it starts, so that a signal can
//! be for all of them.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::Settings;
use super::dice::Dice;
use super::figures::Figures;

/// A worker, until it is killed or has done what it was told to.
struct Worker {
    child: Child,
    number: u64,
    /// When it is to go on again.
    stopped_until: Option<Instant>,
    /// By us.
    killed: bool,
}

pub(crate) struct Workers<'s> {
    settings: &'s Settings,
    folder: &'s Path,
    seed: u64,
    workers: Vec<Worker>,
    next: u64,
    dice: Dice,
    next_signal: Instant,
    next_sample: Instant,
    pub(crate) figures: Figures,
    pub(crate) fallen: Vec<String>,
}

/// The longest that a process is stopped: far less than what counts as hanging.
const LONGEST_STOP: u64 = 1500;

impl<'s> Workers<'s> {
    pub(crate) fn new(settings: &'s Settings, folder: &'s Path, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            settings,
            folder,
            seed,
            workers: Vec::new(),
            next: 0,
            dice: Dice::new(seed),
            next_signal: now + Duration::from_millis(300),
            next_sample: now,
            figures: Figures::default(),
            fallen: Vec::new(),
        }
    }

    /// Does what is due: starts workers in place of those that are gone, stops, resumes and kills some.
    pub(crate) fn tick(&mut self) -> Result<()> {
        self.reap()?;
        while self.workers.len() < usize::from(self.settings.processes) {
            self.start()?;
        }
        let now = Instant::now();
        for worker in &mut self.workers {
            if worker.stopped_until.is_some_and(|until| until <= now) {
                worker.stopped_until = None;
                worker.signal(Signal::SIGCONT, true)?;
            }
        }
        if now >= self.next_signal {
            self.next_signal = now + Duration::from_millis(50 + self.dice.below(500));
            self.disturb()?;
        }
        if now >= self.next_sample {
            self.next_sample = now + Duration::from_millis(250);
            let config = fs::read_to_string(self.folder.join("store/.oci-store/config.json"))?;
            self.figures.looks += 1;
            self.figures.looks_at_index += u64::from(config.contains(&format!("\"{}\"", self.settings.index)));
            for worker in &self.workers {
                let (memory, descriptors) = worker.needs();
                self.figures.memory = self.figures.memory.max(memory);
                self.figures.descriptors = self.figures.descriptors.max(descriptors);
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let number = self.next;
        self.next += 1;
        // Most end by themselves before they are killed; a few stay.
        let most = if self.dice.below(8) == 0 { 5000 } else { 100 };
        let operations = 5 + self.dice.below(most);
        let errors = File::create(self.folder.join(format!("errors/{number}")))?;
        let mut command = Command::new(&self.settings.worker);
        command.arg(self.folder.join("store")).arg(self.settings.program.path()).arg(&self.settings.index);
        command.args([self.seed, u64::from(self.settings.threads), operations].map(|number| number.to_string()));
        command.arg(self.folder).arg(number.to_string());
        self.settings.surroundings(&mut command);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().with_context(|| self.settings.worker.display().to_string())?;
        self.figures.started += 1;
        self.workers.push(Worker { child, number, stopped_until: None, killed: false });
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        let mut left = Vec::new();
        for mut worker in self.workers.drain(..) {
            let Some(status) = worker.child.try_wait()? else {
                left.push(worker);
                continue;
            };
            let as_it_should = status.success() || (worker.killed && status.signal() == Some(9));
            if !as_it_should {
                let said = fs::read_to_string(self.folder.join(format!("errors/{}", worker.number)))?;
                self.fallen.push(format!(
                    "I9: worker {}: {status}: {}",
                    worker.number,
                    said.trim().replace('\n', " / ")
                ));
            }
        }
        self.workers = left;
        Ok(())
    }

    /// Kills one, or stops it for a while: alone, or with the processes that it has started.
    fn disturb(&mut self) -> Result<()> {
        let at = usize::try_from(self.dice.below(self.workers.len() as u64))?;
        let (is_kill, with_group) = (self.dice.below(3) == 0, self.dice.below(4) != 0);
        let at_most = self.dice.below(LONGEST_STOP);
        let length = Duration::from_millis(10 + self.dice.below(at_most));
        let Some(worker) = self.workers.get_mut(at) else { return Ok(()) };
        if is_kill {
            worker.kill()?;
            self.figures.kills += 1;
        } else if worker.stopped_until.is_none() {
            worker.signal(Signal::SIGSTOP, with_group)?;
            worker.stopped_until = Some(Instant::now() + length);
            self.figures.stops += 1;
        }
        Ok(())
    }

    /// Kills all at once, as a machine that fails does, and waits for them to be gone.
    pub(crate) fn kill_all(&mut self) -> Result<()> {
        self.reap()?;
        for worker in &mut self.workers {
            worker.kill()?;
            self.figures.kills += 1;
        }
        let end = Instant::now() + Duration::from_secs(30);
        while !self.workers.is_empty() {
            self.reap()?;
            if Instant::now() > end {
                bail!("workers that were killed are still there");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Workers<'_> {
    /// None is left behind, whatever went wrong here.
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.child.wait();
        }
    }
}

impl Worker {
    fn signal(&self, signal: Signal, with_group: bool) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        // It may have ended by itself, and waits to be reaped.
        let _ = if with_group { killpg(id, signal) } else { kill(id, signal) };
        Ok(())
    }

    /// What it has started goes with it: nobody would know of what that does.
    fn kill(&mut self) -> Result<()> {
        self.killed = true;
        self.signal(Signal::SIGKILL, true)
    }

    /// Anonymous memory in KiB, and open descriptors.
    fn needs(&self) -> (u64, u64) {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let memory = memory.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
        let descriptors = fs::read_dir(process.join("fd")).map_or(0, Iterator::count) as u64;
        (memory, descriptors)
    }
}
