//! A case, played: the processes are brought to their places, let go, and what is left is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::operation::{Between, Operation};
use super::process::{Ended, Process, State, Stop};
use super::schedule::{Case, Who};
use super::stage::Stage;
use crate::attack::checker::{Facts, agree, examine, examine_settled};
use crate::attack::program::Program;

/// The exit code of a command that names what is not there.
const NOT_FOUND: i32 = 4;

/// What came of a case.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) wrong: Vec<String>,
    /// One had to wait for the other before it came to its point: there was only one order.
    pub(super) blocked: bool,
    /// The operation did not come to its point this time.
    pub(super) missed: bool,
    /// The operation was refused, as some serial order refuses it.
    pub(super) refused: bool,
}

/// Plays a case in `folder`, which is made.
pub(super) fn play(
    program: &Program,
    stage: &Stage,
    case: &Case,
    without: Option<&str>,
    folder: &Path,
) -> Result<Outcome> {
    let stage = stage.copy(folder)?;
    let start = |name: &str, args: &[String], stop: Option<&Stop>| {
        Process::start(program, &stage.store, args, stop, without, folder.join(name))
    };
    let begin = || start("operation", &(case.operation.args)(&stage), case.operation_stop.as_ref());
    let gc_args = if case.full { vec!["gc".to_owned(), "--full".to_owned()] } else { vec!["gc".to_owned()] };
    let begin_gc = || start("gc", &gc_args, case.gc_stop.as_ref());
    let between = || match case.operation.between {
        Between::Nothing => Ok(None),
        Between::Command(args) => start("between", &args(&stage), None).map(Some),
        Between::Rot => {
            let path = stage.blob(&stage.shared);
            let mut bytes = fs::read(&path)?;
            bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
            fs::write(&path, bytes)?;
            let args = ["check".to_owned(), "--read-data".to_owned()];
            start("between", &args, None).map(Some)
        }
    };
    let mut outcome = Outcome::default();
    let mut third;
    // The third begins when the operation has settled.
    let (mut operation, mut gc, operation_state, gc_state);
    if case.first == Who::Operation {
        operation = begin()?;
        operation_state = operation.settle()?;
        third = settled(between()?)?;
        gc = begin_gc()?;
        gc_state = gc.settle()?;
    } else {
        gc = begin_gc()?;
        gc_state = gc.settle()?;
        operation = begin()?;
        operation_state = operation.settle()?;
        third = settled(between()?)?;
    }
    outcome.blocked = [operation_state, gc_state].contains(&State::Blocked);
    // One who waits for the other can only come to its point when that one has gone on.
    let order = match case.released {
        Who::Operation if operation_state == State::Blocked && gc_state == State::Stopped => [Who::Gc, Who::Operation],
        Who::Operation => [Who::Operation, Who::Gc],
        Who::Gc if gc_state == State::Blocked && operation_state == State::Stopped => [Who::Operation, Who::Gc],
        Who::Gc => [Who::Gc, Who::Operation],
    };
    for (at, who) in order.into_iter().enumerate() {
        let (one, other) = if who == Who::Gc { (&mut gc, &mut operation) } else { (&mut operation, &mut gc) };
        one.release()?;
        if at == 0 {
            one.settle()?;
            other.settle()?;
        }
    }
    let ended = operation.end()?;
    let gc_ended = gc.end()?;
    let third_ended = third.as_mut().map(Process::end).transpose()?;
    outcome.missed = case.operation_stop.is_some() && !operation.reached();
    outcome.refused = ended.status.is_some_and(|status| status.code() == Some(NOT_FOUND));
    let mut expected = stage.refs();
    judge_end("gc", &gc_ended, &[], &mut outcome.wrong);
    if let Some(ended) = &third_ended {
        let rot = matches!(case.operation.between, Between::Rot);
        if !rot || ended.status.and_then(|status| status.code()) != Some(3) {
            judge_end("the third", ended, &[], &mut outcome.wrong);
        }
        set(&mut expected, &stage, case.operation.between_sets);
    }
    judge_end("it", &ended, case.operation.refusals, &mut outcome.wrong);
    let done = ended.status.is_some_and(|status| status.success());
    if done {
        set(&mut expected, &stage, case.operation.sets.map(|(name, image)| (name, Some(image))));
        set(&mut expected, &stage, case.operation.removes.map(|name| (name, None)));
        outcome.wrong.extend(judge_export(&stage, case.operation)?);
    }
    outcome.wrong.extend(look(program, &stage, case.operation, done, &expected)?);
    drop((operation, gc, third));
    fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(outcome)
}

fn settled(mut process: Option<Process>) -> Result<Option<Process>> {
    process.as_mut().map(Process::settle).transpose()?;
    Ok(process)
}

fn set(expected: &mut BTreeMap<String, String>, stage: &Stage, change: Option<(&str, Option<&str>)>) {
    match change {
        Some((name, Some(image))) => drop(expected.insert(name.to_owned(), stage.digest(image))),
        Some((name, None)) => drop(expected.remove(name)),
        None => {}
    }
}

/// It succeeded, or was refused in one line as it may be.
fn judge_end(who: &str, ended: &Ended, refusals: &[&str], wrong: &mut Vec<String>) {
    match ended.status {
        None => wrong.push(format!("I7: {who} does not come to its end: {}", ended.errors)),
        Some(status) if status.success() => {}
        Some(status) => {
            let may = status.code() == Some(NOT_FOUND)
                && ended.errors.lines().count() == 1
                && refusals.iter().any(|text| ended.errors.contains(text));
            if !may {
                wrong.push(format!("I9: {who}: {status}: {}", ended.errors));
            }
        }
    }
}

/// What an export that succeeded has written is one of the images that it may be, and whole.
fn judge_export(stage: &Stage, operation: &Operation) -> Result<Vec<String>> {
    if operation.exports.is_empty() {
        return Ok(Vec::new());
    }
    let facts = examine(&stage.out)?;
    let mut wrong: Vec<String> = facts.wrong.iter().map(|line| format!("export: {line}")).collect();
    let found = facts.refs.get("out");
    if !operation.exports.iter().any(|image| found == Some(&stage.digest(image))) {
        wrong.push(format!("I9: export: the ref names {found:?}"));
    }
    Ok(wrong)
}

/// The store as it was left, and after a full gc.
fn look(
    program: &Program,
    stage: &Stage,
    operation: &Operation,
    done: bool,
    expected: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let judge = |facts: &Facts, wrong: &mut Vec<String>| {
        wrong.extend(facts.wrong.iter().cloned());
        wrong.extend(facts.differs_from(expected));
        let pinned = operation.pins.filter(|_| done).map(|image| stage.digest(image));
        wrong.extend(pinned.filter(|pin| !facts.unnamed.contains(pin)).map(|pin| format!("I2: pin {pin}: lost")));
    };
    let facts = examine(&stage.store)?;
    judge(&facts, &mut wrong);
    wrong.extend(agree(program, &stage.store, &facts)?);
    let gc = program.run(&stage.store, ["gc", "--full"])?;
    if !gc.status.success() {
        wrong.push(format!("I7: gc --full: {}", String::from_utf8_lossy(&gc.stderr).trim()));
    }
    let settled = examine_settled(&stage.store)?;
    judge(&settled, &mut wrong);
    // A value goes with the blob that it references.
    let data = program.run(&stage.store, ["data", "get", "attack", "key"])?;
    if data.status.success() && !settled.blobs.contains_key(&stage.lonely) {
        wrong.push("I4: a value references a blob that is gone".to_owned());
    }
    wrong.sort();
    wrong.dedup();
    Ok(wrong)
}
