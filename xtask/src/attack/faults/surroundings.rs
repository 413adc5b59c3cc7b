//! Disks that are really full, out of inodes or read-only, and processes with real limits. Then there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::attack::Tally;
use crate::attack::commands::{Case, Order, Ready};
use crate::attack::patience::{self, Ended};

/// What is scarce.
#[derive(Clone, Copy, Debug)]
enum Scarce {
    /// KiB of a disk, beyond what is in use.
    Space(u64),
    /// Inodes of a disk, beyond what is in use.
    Inodes(u64),
    /// The disk can't be written.
    ReadOnly,
    /// The longest file that the process may write, in bytes.
    FileSize(u64),
    /// The descriptors that the process may have.
    Descriptors(u64),
}

fn all() -> Vec<Scarce> {
    let mut all: Vec<Scarce> = (0..16).map(|step| Scarce::Space(step * 64)).collect();
    all.extend((0..12).chain([16, 24, 32]).map(Scarce::Inodes));
    all.push(Scarce::ReadOnly);
    all.extend([0, 100, 1000, 4096, 10_000, 100_000, 1 << 20].map(Scarce::FileSize));
    all.extend((4..24).map(Scarce::Descriptors));
    all
}

/// All of it, for one command; returns how many cases that was.
pub(super) fn run(ready: &Ready<'_>, tally: &mut Tally) -> Result<usize> {
    let all = all();
    for scarce in &all {
        let disk = Disk::mount(ready.lab.path().join("disk"))?;
        let case = ready.case(&disk.path.join("case"))?;
        let ended = scarce.run(ready, &disk, &case)?;
        let mut lines: Vec<String> = judge(*scarce, &ended).into_iter().collect();
        // There is room again.
        disk.remount("rw,size=1g,nr_inodes=1m")?;
        lines.extend(ready.aftermath(&case, ended.code == Some(0), Order::AgainFirst)?);
        let name = format!("faults --real --index {} --command {}: {scarce:?}", ready.index, ready.scenario.name);
        tally.fell(&name, lines);
    }
    Ok(all.len())
}

impl Scarce {
    fn run(self, ready: &Ready<'_>, disk: &Disk, case: &Case) -> Result<Ended> {
        let mut command = ready.command(case);
        match self {
            Self::Space(more) => disk.remount(&format!("size={}k", disk.used("--output=used")? + more))?,
            Self::Inodes(more) => disk.remount(&format!("nr_inodes={}", disk.used("--output=iused")? + more))?,
            Self::ReadOnly => disk.remount("ro")?,
            Self::FileSize(bytes) => command = limited(&format!("--fsize={bytes}"), &command),
            Self::Descriptors(most) => command = limited(&format!("--nofile={most}"), &command),
        }
        patience::run(&mut command)
    }
}

/// The same command, under a limit.
fn limited(limit: &str, command: &Command) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(limit).arg("--").arg(command.get_program()).args(command.get_args());
    limited
}

fn judge(scarce: Scarce, ended: &Ended) -> Option<String> {
    // With so few descriptors a program can't even be loaded, and it is the loader that says so.
    let is_loader = matches!(scarce, Scarce::Descriptors(_)) && ended.stderr.contains("error while loading shared");
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    let lines =
        || (ended.code != Some(0) && errors != 1).then(|| format!("I9: {errors} error lines: {:?}", ended.stderr));
    if is_loader { None } else { ended.wrong.clone().or_else(lines) }
}

/// A disk in memory.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        run_to_success(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1g", "oci-store-attack"]).arg(&path))?;
        Ok(Self { path })
    }

    fn remount(&self, options: &str) -> Result<()> {
        run_to_success(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.path))
    }

    /// What is in use, as `df` tells: KiB or inodes.
    fn used(&self, column: &str) -> Result<u64> {
        let output = Command::new("df").arg("-k").arg(column).arg(&self.path).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().last().unwrap_or_default().trim().parse()?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(&self.path);
    }
}

fn unmount(path: &Path) -> Result<()> {
    run_to_success(Command::new("umount").arg(path))
}

fn run_to_success(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
