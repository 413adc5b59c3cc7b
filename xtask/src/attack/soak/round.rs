//! One round: a store, sources, workers and what goes on beside them, until there were enough operations; then all are
//! killed, and it is judged what is left.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Settings;
use super::beside::{self, Seen};
use super::figures::Figures;
use super::verdict;
use super::workers::Workers;
use crate::attack::inputs::overlapping;

/// What came of a round.
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) fallen: Vec<String>,
}

impl Outcome {
    /// Of a round that could not go on.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        Self { figures: Figures::default(), fallen: vec![format!("{error:#}")] }
    }
}

/// Nothing at all was done for so long: they wait for each other.
const DEADLOCK: Duration = Duration::from_secs(60);

/// Sources: images of each, layers of each image, bytes of each layer.
const SOURCES: &[(u64, u64, usize)] =
    &[(8, 1, 1 << 10), (8, 3, 4 << 10), (8, 5, 2 << 10), (6, 2, 64 << 10), (8, 4, 16 << 10), (6, 12, 1 << 10)];

/// Runs a round in a folder of its own; it is kept if anything falls.
pub(crate) fn run(settings: &Settings, seed: u64, operations: u64) -> Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("oci-store-soak-").tempdir_in(&settings.scratch)?;
    let mut outcome = round(settings, seed, operations, folder.path());
    let fell = outcome.as_ref().map_or(true, |outcome| !outcome.fallen.is_empty());
    if fell && settings.without.is_none() {
        let kept = folder.keep();
        let note = format!("store and history are kept in {}", kept.display());
        match &mut outcome {
            Ok(outcome) => outcome.fallen.push(note),
            Err(_) => eprintln!("{note}"),
        }
    }
    outcome
}

fn round(settings: &Settings, seed: u64, operations: u64, folder: &Path) -> Result<Outcome> {
    for name in ["sources", "exports", "exported", "together", "history", "errors", "canary"] {
        fs::create_dir(folder.join(name))?;
    }
    for (number, &(count, layers, size)) in SOURCES.iter().enumerate() {
        let prefix = format!("s{seed}x{number}");
        overlapping(&folder.join("sources").join(&prefix), &prefix, count, layers, size)?;
    }
    fs::write(folder.join("canary/file"), "nobody writes here")?;
    fs::write(folder.join("progress"), "")?;
    settings.program.must(&folder.join("store"), ["--index", &settings.index, "gc"])?;
    let before = verdict::untouched(folder)?;
    let begin = Instant::now();
    let mut workers = Workers::new(settings, folder, seed);
    let (over, last) = (AtomicBool::new(false), AtomicBool::new(false));
    let seen = thread::scope(|scope| {
        let loops = [
            scope.spawn(|| beside::collections(settings, folder, seed, &over)),
            scope.spawn(|| beside::other_tools(settings, folder, seed, &over)),
        ];
        let exports = scope.spawn(|| beside::exports(folder, &last));
        let soaked = soak(&mut workers, folder, operations);
        over.store(true, Ordering::Relaxed);
        let mut seen: Vec<Result<Seen>> = Vec::new();
        for thread in loops {
            seen.push(thread.join().map_err(|_| anyhow!("a thread panicked")).flatten());
        }
        last.store(true, Ordering::Relaxed);
        seen.push(exports.join().map_err(|_| anyhow!("a thread panicked")).flatten());
        soaked?;
        seen.into_iter().collect::<Result<Vec<Seen>>>()
    })?;
    let time = begin.elapsed();
    let mut outcome = Outcome { figures: Figures { rounds: 1, time, ..Figures::default() }, fallen: Vec::new() };
    outcome.fallen.append(&mut workers.fallen);
    outcome.figures.add(std::mem::take(&mut workers.figures));
    drop(workers);
    verdict::judge_all(settings, folder, seen, &before, &mut outcome)?;
    Ok(outcome)
}

/// Until there were enough operations; then all are killed.
fn soak(workers: &mut Workers<'_>, folder: &Path, operations: u64) -> Result<()> {
    let progress = folder.join("progress");
    let (mut done, mut since) = (0, Instant::now());
    while done < operations {
        workers.tick()?;
        let now = fs::metadata(&progress).context("progress")?.len();
        if now > done {
            (done, since) = (now, Instant::now());
        }
        if since.elapsed() > DEADLOCK {
            workers.fallen.push(format!("nothing was done for {} s", DEADLOCK.as_secs()));
            break;
        }
        // Something is wrong with all of them.
        if workers.fallen.len() > 20 {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    workers.kill_all()
}
