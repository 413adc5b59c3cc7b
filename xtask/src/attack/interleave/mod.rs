//! Forced interleavings: a gc and an operation beside it, each stopped at each of its points while the other goes on.

mod operation;
mod play;
mod process;
mod schedule;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Result, bail};

use self::play::Outcome;
use self::schedule::Case;
use self::stage::Stage;
use super::program::{Build, Choice, Program};
use super::{INDEXES, Tally};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// lmdb, sqlite or both
    #[arg(long, default_value = "both")]
    index: String,
    /// Guards that are taken out, with commas between
    #[arg(long, value_name = "GUARD")]
    without: Option<String>,
    /// Only each Nth case; a prime number takes all sorts
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// Only the cases whose names have this in them
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Cases that are played at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    threads: usize,
    #[command(flatten)]
    program: Choice,
}

/// How to attack.
#[derive(Clone, Debug)]
pub(crate) struct Options<'o> {
    pub(crate) indexes: &'o [&'static str],
    pub(crate) without: Option<&'o str>,
    pub(crate) every: usize,
    pub(crate) only: &'o str,
    /// At the most so many cases.
    pub(crate) limit: Option<usize>,
    pub(crate) threads: usize,
    /// Ends with the first violation.
    pub(crate) until_first: bool,
}

/// What an attack has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) tally: Tally,
    pub(crate) cases: usize,
    blocked: usize,
    refused: usize,
    missed: usize,
    /// What each operation comes by, over all indexes.
    points: BTreeMap<String, Vec<String>>,
}

/// `cargo xtask interleave`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let indexes: Vec<&'static str> =
        INDEXES.into_iter().filter(|index| args.index == "both" || args.index == *index).collect();
    if indexes.is_empty() || args.every == 0 {
        bail!("--index takes lmdb, sqlite or both, and --every a number from 1");
    }
    let program = args.program.get(Build::Attack)?;
    let options = Options {
        indexes: &indexes,
        without: args.without.as_deref(),
        every: args.every,
        only: &args.only,
        limit: None,
        threads: args.threads.max(1),
        until_first: false,
    };
    let began = Instant::now();
    let seen = attack(&program, &options)?;
    for (operation, points) in &seen.points {
        println!("{operation}: {}", points.join(" "));
    }
    let never = never_reached(&seen);
    if !never.is_empty() {
        bail!("no operation comes to the points {never:?}");
    }
    let Seen { tally, cases, blocked, refused, missed, .. } = seen;
    tally.close(&format!(
        "interleave: {cases} cases in {:.0} s, in {blocked} one waited for the other, {refused} were refused, \
         {missed} did not come to their point",
        began.elapsed().as_secs_f64()
    ))
}

/// Plays the cases.
pub(crate) fn attack(program: &Program, options: &Options<'_>) -> Result<Seen> {
    let folder = scratch()?;
    let mut seen = Seen::default();
    let mut work: Vec<(Stage, Case)> = Vec::new();
    for index in options.indexes {
        let stage = Stage::set(folder.path(), program, index)?;
        let (cases, points) = schedule::cases(program, &stage, &folder.path().join(format!("{index}-probe")))?;
        work.extend(cases.into_iter().map(|case| (stage.clone(), case)));
        for (operation, stops) in points {
            let mut last: BTreeMap<String, u32> = BTreeMap::new();
            last.extend(stops.into_iter().map(|stop| (stop.point, stop.arrival)));
            let texts = last.into_iter().map(|(point, count)| format!("{point}×{count}"));
            seen.points.entry(format!("{index} {operation}")).or_default().extend(texts);
        }
    }
    work.retain(|(_, case)| case.to_string().contains(options.only));
    let work: Vec<_> = work.into_iter().step_by(options.every).take(options.limit.unwrap_or(usize::MAX)).collect();
    eprintln!("{} cases", work.len());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let shared = Mutex::new((&mut seen, None));
    let player = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((stage, case)) = work.get(at) else { return };
            let played = play::play(program, stage, case, options.without, &folder.path().join(at.to_string()));
            let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match played {
                Ok(outcome) => {
                    let fell = !outcome.wrong.is_empty();
                    guard.0.note(case, outcome);
                    stop.fetch_or(fell && options.until_first, Ordering::Relaxed);
                }
                Err(error) => {
                    guard.1.get_or_insert(error.context(case.to_string()));
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..options.threads).for_each(|_| drop(scope.spawn(player))));
    match shared.into_inner().unwrap_or_else(PoisonError::into_inner).1 {
        Some(error) => Err(error),
        None => Ok(seen),
    }
}

impl Seen {
    fn note(&mut self, case: &Case, outcome: Outcome) {
        self.cases += 1;
        self.blocked += usize::from(outcome.blocked);
        self.refused += usize::from(outcome.refused);
        self.missed += usize::from(outcome.missed);
        self.tally.fell(&case.to_string(), outcome.wrong);
    }
}

/// All points that the program has; one that nobody comes to is a mistake.
const POINTS: [&str; 15] = [
    "before-update",
    "lease-made",
    "looked",
    "gathered",
    "closure-named",
    "blob-persisted",
    "before-publish",
    "after-mark",
    "before-rows",
    "before-unlink",
    "in-unlink",
    "before-projection",
    "rendered",
    "before-copy",
    "before-switch",
];

fn never_reached(seen: &Seen) -> Vec<&'static str> {
    let reached = |point: &str| seen.points.values().flatten().any(|text| text.split('×').next() == Some(point));
    POINTS.into_iter().filter(|point| !reached(point)).collect()
}

/// A folder for the cases: in memory if there is such a place, as nothing here is about what a disk keeps.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    Ok(tempfile::Builder::new().prefix("oci-store-interleave-").tempdir_in::<&Path>(parent.as_ref())?)
}
