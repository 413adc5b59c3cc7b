//! One command alone: killed before its N-th call, for every N, and perhaps what comes next as well.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;

use super::Args;
use crate::attack::Tally;
use crate::attack::commands::{Order, Ready};
use crate::attack::patience::LIMIT;
use crate::attack::trace::{self, Answer, Ended};

/// A kill, and perhaps one of what comes next.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: u64,
    second: Option<u64>,
}

/// Goes on until the command comes to its end unharmed; returns how often it was killed.
pub(super) fn run(args: &Args, ready: &Ready<'_>, tally: &mut Tally) -> Result<u64> {
    let next = AtomicU64::new(0);
    let kills = AtomicU64::new(0);
    let finished = AtomicBool::new(false);
    let tally = Mutex::new(tally);
    let work = |job: usize| -> Result<()> {
        let folder = ready.lab.path().join(format!("case-{job}"));
        while !finished.load(Ordering::SeqCst) {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let first = args.at.unwrap_or(1 + number * args.every);
            let mut second = args.second.map(|_| 1);
            loop {
                let place = Place { first, second };
                let outcome = kill(args, ready, &folder, place)?;
                kills.fetch_add(outcome.kills, Ordering::SeqCst);
                let name = match second {
                    None => format!("crash --index {} --command {} --at {first}", ready.index, ready.scenario.name),
                    Some(then) => format!("{} {} killed at {first}, then at {then}", ready.index, ready.scenario.name),
                };
                if let Ok(mut tally) = tally.lock() {
                    tally.fell(&name, outcome.lines);
                }
                if outcome.kills == 0 || args.at.is_some() {
                    finished.store(true, Ordering::SeqCst);
                }
                match (second, args.second) {
                    (Some(before), Some(step)) if outcome.kills == 2 => second = Some(before + step),
                    _ => break,
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs.max(1))
            .map(|job| {
                scope.spawn({
                    let work = &work;
                    move || work(job)
                })
            })
            .collect();
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| anyhow::bail!("a case has panicked")))
    })?;
    Ok(kills.into_inner())
}

struct Outcome {
    kills: u64,
    lines: Vec<String>,
}

fn kill(args: &Args, ready: &Ready<'_>, folder: &std::path::Path, place: Place) -> Result<Outcome> {
    let case = ready.case(folder)?;
    let mut lines = Vec::new();
    // By turns; a second kill hits either.
    let order = if place.first.is_multiple_of(2) { Order::CollectFirst } else { Order::AgainFirst };
    let mut command = ready.command(&case);
    if let Some(guard) = &args.without {
        command.env("OCI_STORE_WITHOUT", guard);
    }
    let ended = before_call(&mut command, place.first, args.changing || args.second.is_some())?;
    lines.extend(wrong(&ended));
    let mut kills = u64::from(ended.killed);
    if let Some(at) = place.second.filter(|_| ended.killed) {
        let mut next = match order {
            Order::AgainFirst => ready.command(&case),
            Order::CollectFirst => ready.line(&case, "gc"),
        };
        let ended = before_call(&mut next, at, true)?;
        lines.extend(wrong(&ended).map(|wrong| format!("what came next: {wrong}")));
        kills += u64::from(ended.killed);
    }
    lines.extend(ready.aftermath(&case, !ended.killed && ended.code == Some(0), order)?);
    Ok(Outcome { kills, lines })
}

/// Runs a command, and kills it before its call of that number.
pub(super) fn before_call(command: &mut Command, number: u64, changing: bool) -> Result<Ended> {
    let mut calls = 0;
    trace::run(command, LIMIT, &mut |call| {
        if !changing || call.changes() {
            calls += 1;
        }
        if calls == number { Answer::Kill } else { Answer::Go }
    })
}

/// What is wrong with how it ended, whether it was killed or not.
pub(super) fn wrong(ended: &Ended) -> Option<String> {
    match (ended.killed, ended.code, ended.signal) {
        _ if ended.hung => Some(format!("I7: hung: {}", ended.stderr.trim())),
        (true, ..) | (false, Some(0), _) => None,
        (false, Some(code), _) => Some(format!("I9: exit code {code}: {}", ended.stderr.trim())),
        (false, None, signal) => Some(format!("I9: died by {signal:?}: {}", ended.stderr.trim())),
    }
}
