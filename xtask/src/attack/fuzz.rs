//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz/`, each for a while, with the address sanitizer.
//!
//! What was found interesting is kept under `target/fuzz/corpus/`, and the next run begins with it. An input that
//! breaks something is kept under `target/fuzz/artifacts/`, and fails the run.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Tally;
use crate::workspace_root;

const TARGETS: [&str; 7] = ["archive", "config", "descriptor", "digest", "index", "manifest", "ref_name"];

/// Bytes of the largest input. Those of archives begin to be interesting at a few blocks of 512.
const LONGEST: usize = 16 << 10;

/// MiB that one allocation may have, and all of a target; the sanitizer's own are in it.
const ALLOCATION: usize = 32;
const MEMORY: usize = 1024;

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target alone [default: all]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// How many targets run side by side
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Install cargo-fuzz if it is missing
    #[arg(long)]
    install: bool,
}

/// What a target has done.
struct Ran {
    target: String,
    executions: u64,
    seconds: f64,
    /// Inputs that broke something.
    findings: Vec<PathBuf>,
    /// Why it ended, if not because its time was over.
    failure: Option<String>,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = target_folder().join("fuzz");
    build(args, &folder)?;
    let programs = folder.join(host()?).join("release");
    let chosen = TARGETS.iter().filter(|name| args.target.as_deref().is_none_or(|wanted| wanted == **name));
    let queue: Mutex<VecDeque<&str>> = Mutex::new(chosen.copied().collect());
    let ran = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(target) = next else { return };
                    let outcome = fuzz(target, args.seconds, &programs, &folder);
                    if let Ok(Ran { executions, seconds, .. }) = &outcome {
                        println!("{target}: {executions} executions in {seconds:.0} s");
                    }
                    ran.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut tally = Tally::default();
    let (mut executions, mut seconds) = (0, 0.0);
    for ran in ran.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let ran = ran?;
        executions += ran.executions;
        seconds += ran.seconds;
        tally.fell(&ran.target, ran.findings.iter().map(|path| path.display().to_string()).chain(ran.failure));
    }
    tally.close(&format!("fuzz: {executions} executions in {seconds:.0} s"))
}

fn build(args: &Args, folder: &Path) -> Result<()> {
    let is_there = cargo(&["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success();
    if !is_there && !args.install {
        bail!("cargo-fuzz is missing: cargo install cargo-fuzz --locked (or --install)");
    }
    if !is_there {
        succeed(&mut cargo(&["install", "cargo-fuzz", "--locked"]))?;
    }
    // The sanitizer's flags are the nightly compiler's, but this one has them too.
    let mut command = cargo(&["fuzz", "build", "--fuzz-dir", "tests/fuzz", "--target-dir"]);
    succeed(command.arg(folder).args(args.target.as_ref()).env("RUSTC_BOOTSTRAP", "1"))
}

fn fuzz(target: &str, seconds: u64, programs: &Path, folder: &Path) -> Result<Ran> {
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    let log = folder.join(format!("{target}.log"));
    for made in [&corpus, &artifacts] {
        fs::create_dir_all(made).with_context(|| made.display().to_string())?;
    }
    if target == "archive" {
        seed_archive(&corpus)?;
    }
    let before = files(&artifacts)?;
    let output = File::create(&log).with_context(|| log.display().to_string())?;
    let mut command = Command::new(programs.join(target));
    command.arg(&corpus);
    let seeds = workspace_root().join("tests/fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST}"));
    command.arg(format!("-malloc_limit_mb={ALLOCATION}")).arg(format!("-rss_limit_mb={MEMORY}"));
    command.args(["-print_final_stats=1", "-timeout=10", "-use_value_profile=1"]);
    let begin = Instant::now();
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).status().context(target.to_owned())?;
    let took = begin.elapsed();
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let executions = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executions = executions.and_then(|number| number.trim().parse().ok());
    let mut findings = files(&artifacts)?;
    findings.retain(|path| !before.contains(path));
    let failure = match executions {
        _ if !status.success() => Some(format!("{status}: see {}", log.display())),
        // No input was tried, or not for as long as it was to be: then it says nothing.
        None | Some(0) => Some(format!("nothing was executed: see {}", log.display())),
        _ if took + Duration::from_secs(1) < Duration::from_secs(seconds) => Some("it ended too early".to_owned()),
        _ => None,
    };
    let executions = executions.unwrap_or_default();
    Ok(Ran { target: target.to_owned(), executions, seconds: took.as_secs_f64(), findings, failure })
}

/// An archive of the image in the repository, in two forms. The first byte is the target's.
fn seed_archive(corpus: &Path) -> Result<()> {
    let image = workspace_root().join("tests/images/hello");
    for (name, prefix, first) in [("plain", "", 0), ("dotted", "./", 1)] {
        let mut tar = tar::Builder::new(vec![first]);
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        let mut paths = vec![image.join("oci-layout"), image.join("index.json")];
        paths.extend(files(&image.join("blobs/sha256"))?);
        for path in paths {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            header.set_size(bytes.len() as u64);
            let name = format!("{prefix}{}", path.strip_prefix(&image)?.display());
            tar.append_data(&mut header, name, bytes.as_slice())?;
        }
        fs::write(corpus.join(name), tar.into_inner()?)?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

/// The triple that this compiler builds for: cargo-fuzz puts its programs into a folder of that name.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc does not start")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV says no host")?.to_owned())
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(workspace_root()).stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cargo does not start")?;
    if status.success() { Ok(()) } else { bail!("{command:?}: {status}") }
}
