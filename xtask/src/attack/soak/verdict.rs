//! What is left after all were killed, and whether it is what it should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::Settings;
use super::beside::{Seen, now};
use super::figures::Figures;
use super::history::{Count, History};
use super::linear::{Call, Effect, Verdict, judge, up_to_first_lie};
use super::round::Outcome;
use crate::attack::checker::{Facts, agree, examine, examine_settled};

/// A command after all were killed must come back in this time.
const PROMPT: Duration = Duration::from_secs(10);
/// The most that a worker may need, whatever was done with it: KiB, and descriptors for itself and for each thread.
const MOST_MEMORY: u64 = 64 << 10;
const MOST_DESCRIPTORS: (u64, u64) = (64, 32);
/// Lines that are shown of one kind.
const SHOWN: usize = 10;

/// Judges a round; what fell is noted in `outcome`.
pub(crate) fn judge_all(
    settings: &Settings,
    folder: &Path,
    seen: Vec<Seen>,
    before: &BTreeMap<String, String>,
    outcome: &mut Outcome,
) -> Result<()> {
    let store = folder.join("store");
    let mut history = History::read(&folder.join("history"))?;
    for seen in seen {
        outcome.figures.add(seen.figures);
        outcome.fallen.extend(seen.fallen);
        for (object, mut calls) in seen.calls {
            history.calls.entry(object).or_default().append(&mut calls);
        }
    }
    outcome.figures.operations = std::mem::take(&mut history.operations);
    outcome.fallen.extend(few(std::mem::take(&mut history.bad)));

    // As the crash has left it, before any command has mended anything.
    let crashed = examine(&store)?;
    outcome.fallen.extend(few(crashed.wrong.into_iter().map(|line| format!("after the crash: {line}"))));
    for args in [&["list"] as &[&str], &["data", "set", "soak", "next", "command"], &["check"]] {
        let begin = Instant::now();
        let output = run(settings, &store, args)?;
        outcome.figures.recovery = outcome.figures.recovery.max(begin.elapsed());
        if !output.status.success() || begin.elapsed() > PROMPT {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            outcome.fallen.push(format!(
                "I7: {args:?} after the crash, {:.1?}: {}: {said}",
                begin.elapsed(),
                output.status
            ));
        }
    }
    let facts = examine(&store)?;
    outcome.fallen.extend(few(facts.wrong.iter().cloned()));
    outcome.fallen.extend(few(agree(&settings.program, &store, &facts)?));
    let lines = histories(folder, &mut history, &facts, &mut outcome.figures)?;
    outcome.fallen.extend(few(lines));
    outcome.fallen.extend(counters(settings, &store, &history)?);

    must(settings, &store, &["gc"])?;
    for left in ["leases", "ingest"] {
        let count = fs::read_dir(store.join(".oci-store").join(left)).map_or(0, Iterator::count);
        if count > 0 {
            outcome.fallen.push(format!("I6: {count} left in {left}/ after a gc"));
        }
    }
    must(settings, &store, &["gc", "--full"])?;
    let settled = examine_settled(&store)?;
    outcome.fallen.extend(few(settled.wrong.iter().cloned()));
    outcome
        .fallen
        .extend(few(settled.differs_from(&facts.refs).into_iter().map(|line| format!("by gc --full: {line}"))));
    outcome.fallen.extend(few(agree(&settings.program, &store, &settled)?));

    if untouched(folder)? != *before {
        outcome.fallen.push("I8: a source, or what lies beside the store, was changed".to_owned());
    }
    let (of_all, of_each) = MOST_DESCRIPTORS;
    let most = of_all + of_each * u64::from(settings.threads);
    if outcome.figures.memory > MOST_MEMORY || outcome.figures.descriptors > most {
        let (memory, descriptors) = (outcome.figures.memory, outcome.figures.descriptors);
        outcome.fallen.push(format!("I8: a worker had {memory} KiB and {descriptors} descriptors"));
    }
    Ok(())
}

/// Whether what each was told of refs, pins, values and exports can be true, and led to what is there now.
fn histories(folder: &Path, history: &mut History, facts: &Facts, figures: &mut Figures) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let strange = facts.refs.keys().filter(|name| !history.calls.contains_key(&format!("ref:{name}")));
    lines.extend(strange.map(|name| format!("I5: ref {name}: nobody set it")));
    let strange = facts.unnamed.iter().filter(|digest| !history.calls.contains_key(&format!("pin:{digest}")));
    lines.extend(strange.map(|digest| format!("I5: entry {digest}: nobody pinned it")));
    let mut together = BTreeMap::new();
    for entry in fs::read_dir(folder.join("together"))? {
        let path = entry?.path();
        // One that nobody has finished has no index.json yet.
        if path.join("index.json").exists() {
            let found = examine(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            lines.extend(found.wrong.iter().map(|wrong| format!("exports together {name}: {wrong}")));
            together.extend(found.refs.into_iter().map(|(as_name, d)| (format!("{name}:{as_name}"), d)));
        }
    }
    for (object, calls) in &mut history.calls {
        let last = match object.split_once(':') {
            Some(("ref", name)) => Some(facts.refs.get(name).cloned()),
            Some(("pin", digest)) => Some(facts.unnamed.contains(digest).then(|| "pin".to_owned())),
            Some(("exported", place)) if is_together(place) => Some(together.get(place).cloned()),
            _ => None,
        };
        if let Some(value) = last {
            let effect = value.map_or(Effect::SawNone, Effect::Saw);
            calls.push(Call { begin: now(), end: Some(now()), effect });
        }
        figures.registers += 1;
        figures.calls += calls.len() as u64;
        figures.open_calls += calls.iter().filter(|call| call.end.is_none()).count() as u64;
        match judge(calls) {
            Verdict::Linearisable => {}
            Verdict::Not => lines.push(format!("I5: {object}: what was answered can't be true: {}", shown(calls))),
            Verdict::Open => figures.undecided += 1,
        }
    }
    Ok(lines)
}

/// `FOLDER:REF` of a folder that many export into; others have folders named by who made them.
fn is_together(place: &str) -> bool {
    place.split(':').next().is_some_and(|folder| folder.parse::<u64>().is_ok())
}

/// The last calls of a history that can't be, for people: microseconds, and the beginnings of values.
fn shown(calls: &[Call]) -> String {
    let calls = up_to_first_lie(calls);
    let base = calls.first().map_or(0, |call| call.begin);
    let micros = |time: u128| (time - base) / 1000;
    let each = calls.iter().map(|call| {
        let end = call.end.map_or_else(|| "?".to_owned(), |end| micros(end).to_string());
        let effect = format!("{:?}", call.effect);
        let short: Vec<&str> =
            effect.split("sha256:").map(|part| part.get(..6).filter(|_| part.len() > 60).unwrap_or(part)).collect();
        format!("{}..{end} {}", micros(call.begin), short.concat())
    });
    let each: Vec<String> = each.collect();
    each.get(each.len().saturating_sub(SHOWN * 2)..).unwrap_or_default().join("; ")
}

fn counters(settings: &Settings, store: &Path, history: &History) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (object, counts) in &history.counts {
        let key = object.trim_start_matches("count:");
        let output = run(settings, store, &["data", "get", "count", key])?;
        let last = String::from_utf8_lossy(&output.stdout).parse().unwrap_or_default();
        lines.extend(Count::problems(object, counts, last));
    }
    Ok(lines)
}

fn run(settings: &Settings, store: &Path, args: &[&str]) -> Result<Output> {
    let mut command = settings.program.command(store, args);
    settings.surroundings(&mut command);
    command.output().with_context(|| format!("{command:?}"))
}

fn must(settings: &Settings, store: &Path, args: &[&str]) -> Result<()> {
    let output = run(settings, store, args)?;
    if !output.status.success() {
        bail!("{args:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The first of many lines, and how many there were.
fn few(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().collect();
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("… and {more} more like these"));
    }
    lines
}

/// The hashes of what nobody may change.
pub(crate) fn untouched(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    let mut stack = vec![folder.join("sources"), folder.join("canary")];
    while let Some(next) = stack.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                stack.push(path);
                continue;
            }
            let hash = Sha256::digest(fs::read(&path)?);
            hashes.insert(path.display().to_string(), hash.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    Ok(hashes)
}
