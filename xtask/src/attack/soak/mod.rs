//! `cargo xtask soak`: many processes with many threads do everything at once to one store, while some are killed and
//! some are stopped, collections run, and other tools write into the folder. Afterwards it is looked at whether
//! anything was lost, and whether what each was told can be true.

mod beside;
mod dice;
mod figures;
mod history;
mod linear;
mod round;
mod verdict;
mod workers;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::figures::Figures;
use crate::attack::program::{Build, Choice, Program, cargo_build};
use crate::attack::{INDEXES, Tally};

/// How long, how wide, over what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Processes at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=64))]
    processes: u8,
    /// Threads in each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    threads: u8,
    /// Operations over each index
    #[arg(long, default_value_t = 2000, conflicts_with = "minutes")]
    operations: u64,
    /// Minutes over each index, instead of a number of operations
    #[arg(long)]
    minutes: Option<u64>,
    /// Operations on one store; then all are killed, it is judged, and another is made
    #[arg(long, value_name = "OPERATIONS", default_value_t = 25_000)]
    round: u64,
    /// lmdb, sqlite or both
    #[arg(long, default_value = "both")]
    index: String,
    /// Of all choices; what the processes do at the same time is not repeated by it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the stores are, a folder that exists [default: that for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Take a guard out of the store: something must fall, and then it ends
    #[arg(long, value_name = "GUARD")]
    without: Option<String>,
    /// Over a build for attacks, which `interleave` makes too: it is built faster, and claims blobs of any size
    #[arg(long)]
    doors: bool,
    /// The worker; by default it is built here, with both indexes
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
    #[command(flatten)]
    program: Choice,
}

/// What all rounds over an index have in common.
pub(crate) struct Settings {
    pub(crate) program: Program,
    pub(crate) worker: PathBuf,
    pub(crate) processes: u8,
    pub(crate) threads: u8,
    pub(crate) index: String,
    pub(crate) scratch: PathBuf,
    pub(crate) without: Option<String>,
    pub(crate) tools: Vec<&'static str>,
}

impl Settings {
    /// What a process of the store is to find around it.
    pub(crate) fn surroundings(&self, command: &mut Command) {
        for name in ["OCI_STORE_PATH", "OCI_STORE_STOP", "OCI_STORE_WITHOUT", "RUST_LOG"] {
            command.env_remove(name);
        }
        if let Some(guard) = &self.without {
            command.env("OCI_STORE_WITHOUT", guard);
        }
    }
}

/// Soaks; an error if anything fell, or, without a guard, if nothing did.
pub(crate) fn run(args: &Args) -> Result<()> {
    let build = if args.doors || args.without.is_some() { Build::Attack } else { Build::Plain };
    let indexes: Vec<&str> = INDEXES.into_iter().filter(|index| args.index == "both" || args.index == *index).collect();
    if indexes.is_empty() {
        bail!("{}: no such index", args.index);
    }
    let tools = beside::tools();
    for missing in ["skopeo", "umoci"].iter().filter(|tool| !tools.contains(tool)) {
        println!("{missing} is not there: nothing is written with it");
    }
    let program = args.program.get(build)?;
    let worker = args.worker.clone().map_or_else(|| build_worker(build), Ok)?;
    let mut tally = Tally::default();
    let mut all = Figures::default();
    for index in indexes {
        let settings = Settings {
            program: program.clone(),
            worker: worker.clone(),
            processes: args.processes,
            threads: args.threads,
            index: index.to_owned(),
            scratch: args.scratch.clone().unwrap_or_else(std::env::temp_dir),
            without: args.without.clone(),
            tools: tools.clone(),
        };
        let figures = over_index(args, &settings, &mut tally)?;
        println!("{index}: {}\n{figures}", figures.summary());
        all.add(figures);
        if args.without.is_some() {
            if tally.violations.is_empty() {
                bail!("{index}: without {} nothing fell", args.without.as_deref().unwrap_or_default());
            }
            tally.violations.clear();
        }
    }
    tally.close(&format!("soak: {}", all.summary()))
}

/// Rounds until there were enough operations, or time is over, or a guard that is taken out was missed.
fn over_index(args: &Args, settings: &Settings, tally: &mut Tally) -> Result<Figures> {
    let begin = Instant::now();
    let mut figures = Figures::default();
    let mut seed = args.seed;
    loop {
        let left = match args.minutes {
            Some(minutes) if begin.elapsed() >= Duration::from_secs(minutes * 60) => 0,
            Some(_) => args.round,
            None => args.operations.saturating_sub(figures.total()).min(args.round),
        };
        if left == 0 || (args.without.is_some() && !tally.violations.is_empty()) {
            return Ok(figures);
        }
        let case = format!("soak --index {} --seed {seed}", settings.index);
        let outcome = match round::run(settings, seed, left) {
            // A store without a guard may be so broken that it can't even be judged.
            Err(error) if settings.without.is_some() => round::Outcome::of_error(&error),
            outcome => outcome.with_context(|| case.clone())?,
        };
        figures.add(outcome.figures);
        let fell = !outcome.fallen.is_empty();
        tally.fell(&case, outcome.fallen);
        if fell {
            println!("{case}: fell after {:.1} s and {} operations", begin.elapsed().as_secs_f64(), figures.total());
        }
        if args.minutes.is_some() || args.operations > args.round {
            println!("{} --seed {seed}: {}, {} fallen", settings.index, figures.summary(), tally.violations.len());
        }
        seed += 1;
    }
}

/// Builds the worker as the program is built.
fn build_worker(build: Build) -> Result<PathBuf> {
    Ok(cargo_build(build, &["-p", "oci-store", "--example", "soak-worker"])?.join("examples/soak-worker"))
}
