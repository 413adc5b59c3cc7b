//! What a process took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    pub(super) seconds: f64,
    /// Of the processor, user and system.
    pub(super) cpu: f64,
    /// The most anonymous memory that was seen, in KiB: pages of mapped files are not in it.
    pub(super) memory: u64,
}

/// Runs a command that must succeed.
pub(super) fn took(command: &mut Command) -> Result<Took> {
    let before = cpu()?;
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    // Longer and longer, so that what is short is not disturbed, and not rounded up.
    let mut pause = Duration::from_micros(100);
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        memory = memory.max(anonymous(&text).unwrap_or(0));
        std::thread::sleep(pause);
        pause = (pause * 11 / 10).min(Duration::from_millis(10));
    };
    if !ended.success() {
        bail!("{command:?}: {ended}");
    }
    Ok(Took { seconds: began.elapsed().as_secs_f64(), cpu: cpu()? - before, memory })
}

/// Of all children that have ended.
fn cpu() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}

fn anonymous(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bytes that the files in a folder take on the disk.
pub(super) fn allocated(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { allocated(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(sum)
}
