//! One run of a work, with the kernel's own figures of it.
//!
//! The work is run by a process of its own, this program once more: what the kernel says of a process's children is the
//! sum over all that it ever had, and their peak.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};

/// Commands to measure, one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Work {
    /// Each with its arguments.
    pub(super) commands: Vec<Vec<String>>,
    /// Where what they wrote is to be durable at the end.
    pub(super) written: PathBuf,
}

/// What a run took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// From the first start to the last end, in milliseconds.
    pub(super) wall: f64,
    /// Of each command.
    pub(super) each: Vec<f64>,
    /// User and system time of all, in milliseconds.
    pub(super) cpu: f64,
    /// The largest resident set of any, in KiB, mapped files included.
    pub(super) peak: i64,
    /// What it took to flush what was left unflushed, in milliseconds.
    pub(super) flush: f64,
}

/// `cargo xtask bench` calls itself so; the work is JSON, in a file.
#[derive(clap::Args)]
pub(crate) struct Args {
    work: PathBuf,
}

/// Runs a work and prints what it took.
pub(crate) fn run(args: &Args) -> Result<()> {
    let work: Work = serde_json::from_slice(&std::fs::read(&args.work)?)?;
    let mut each = Vec::new();
    let began = Instant::now();
    for words in &work.commands {
        let one = Instant::now();
        let status = command(words)?.status().with_context(|| words.join(" "))?;
        if !status.success() {
            bail!("{}: {status}", words.join(" "));
        }
        each.push(millis(one.elapsed()));
    }
    let wall = millis(began.elapsed());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64;
    let began = Instant::now();
    rustix::fs::syncfs(std::fs::File::open(&work.written)?)?;
    let flush = millis(began.elapsed());
    let sample = Sample { wall, each, cpu: micros / 1e3, peak: usage.max_rss(), flush };
    std::io::stdout().write_all(&serde_json::to_vec(&sample)?)?;
    Ok(())
}

/// Has a work run, on a disk that has nothing else to write.
pub(super) fn measure(work: &Work) -> Result<Sample> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&serde_json::to_vec(work)?)?;
    rustix::fs::sync();
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg("bench-sample").arg(file.path()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{} failed", work.commands.first().map(|words| words.join(" ")).unwrap_or_default());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn command(words: &[String]) -> Result<Command> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env_remove("OCI_STORE_PATH").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
