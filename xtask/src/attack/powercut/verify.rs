//! What must hold after a power cut: what was acknowledged is there, what was under way is there or not, and the program
//! goes on by itself.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::workload::{Places, State, Step};
use crate::attack::checker::{self, examine};
use crate::attack::program::Program;

/// How long a command may take after a crash (I7); the machine may be busy.
const PROMPTLY: Duration = Duration::from_secs(60);

/// What was known when the power went.
pub(super) struct Moment<'m> {
    /// What the last acknowledged command left.
    pub(super) acknowledged: &'m State,
    /// The command that was under way.
    pub(super) under_way: Option<&'m Step>,
    /// The store had been made.
    pub(super) made: bool,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) wrong: Vec<String>,
    /// index.json did not show the refs yet, or still those of before; the next command brings it up to date.
    pub(super) behind: bool,
}

/// Looks at a store after a power cut, lets the program go on, and looks again. With `settle`, also after `gc --full`.
pub(super) fn verify(program: &Program, places: &Places, moment: &Moment, settle: bool) -> Result<Found> {
    let mut found = Found::default();
    if moment.made {
        let facts = examine(&places.store)?;
        found.behind = is_one_of(&facts.refs, moment, |state| &state.refs).is_some();
        found.wrong.extend(facts.wrong.into_iter().map(|line| format!("{line} (before any command)")));
    }
    look_at_export(places, moment, &mut found)?;
    if let (false, Some(step)) = (moment.made, moment.under_way) {
        run(&mut step.command(program, places), &step.name(), &mut found);
    }
    let Some(state) = shown(program, places, &mut found)? else { return Ok(found) };
    found.wrong.extend(is_one_of(&state.refs, moment, |state| &state.refs).map(|line| format!("I2: refs: {line}")));
    found.wrong.extend(is_one_of(&state.data, moment, |state| &state.data).map(|line| format!("I2: data: {line}")));
    let target = match moment.under_way {
        None => state,
        Some(step) => {
            let done = state.refs == step.after.refs && state.data == step.after.data;
            if !done || step.repeats {
                run(&mut step.command(program, places), &step.name(), &mut found);
            }
            step.after.clone()
        }
    };
    run(&mut places.command(program, &["gc"]), "gc", &mut found);
    let facts = examine(&places.store)?;
    found.wrong.extend(facts.differs_from(&target.refs));
    found.wrong.extend(facts.wrong.into_iter().map(|line| format!("{line} (after gc)")));
    if settle {
        run(&mut places.command(program, &["gc", "--full"]), "gc --full", &mut found);
        let facts = checker::examine_settled(&places.store)?;
        found.wrong.extend(facts.differs_from(&target.refs));
        found.wrong.extend(facts.wrong.iter().map(|line| format!("{line} (after gc --full)")));
        match checker::agree(program, &places.store, &facts) {
            Ok(lines) => found.wrong.extend(lines),
            Err(error) => found.wrong.push(format!("I7: {error:#}")),
        }
    }
    Ok(found)
}

/// The refs and the data that the program shows, if it does; and whether it finds all that it has whole.
pub(super) fn shown(program: &Program, places: &Places, found: &mut Found) -> Result<Option<State>> {
    let mut ask = |args: &[&str]| run(&mut places.command(program, args), &args.join(" "), found);
    let refs = ask(&["--format", "json", "list"]);
    let data = ask(&["--format", "json", "data", "list", "kind"]);
    ask(&["check", "--read-data"]);
    let (Some(refs), Some(data)) = (refs, data) else { return Ok(None) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refs: Vec<Value> = serde_json::from_str(&refs)?;
    let data: Vec<Value> = serde_json::from_str(&data)?;
    let number = |value: &Value| value.as_u64().unwrap_or_default() as usize;
    let state = State {
        refs: refs.iter().map(|one| (text(&one["ref"]), text(&one["digest"]))).collect(),
        data: data.iter().map(|one| (text(&one["key"]), number(&one["size"]))).collect(),
        exported: BTreeMap::new(),
    };
    Ok(Some(state))
}

/// What was exported with `--sync` is there and whole.
fn look_at_export(places: &Places, moment: &Moment, found: &mut Found) -> Result<()> {
    if moment.acknowledged.exported.is_empty() {
        return Ok(());
    }
    let facts = examine(&places.out)?;
    found.wrong.extend(facts.wrong.into_iter().map(|line| format!("export: {line}")));
    let line = is_one_of(&facts.refs, moment, |state| &state.exported);
    found.wrong.extend(line.map(|line| format!("I2: export: {line}")));
    Ok(())
}

/// None if what is there was there before or after the command under way; else what differs.
fn is_one_of<T: PartialEq + Clone + std::fmt::Debug>(
    there: &BTreeMap<String, T>,
    moment: &Moment,
    part: impl Fn(&State) -> &BTreeMap<String, T>,
) -> Option<String> {
    let before = part(moment.acknowledged);
    let after = moment.under_way.map_or(before, |step| part(&step.after));
    let by_image = moment.under_way.is_some_and(|step| step.by_image);
    let good = if by_image {
        let either = |name: &String| there.get(name) == before.get(name) || there.get(name) == after.get(name);
        there.keys().chain(before.keys()).all(either)
    } else {
        there == before || there == after
    };
    (!good).then(|| format!("{there:?}, and not {before:?}, nor {after:?}"))
}

/// Runs a command that must succeed, promptly; what it printed, or what was wrong is noted.
pub(super) fn run(command: &mut Command, name: &str, found: &mut Found) -> Option<String> {
    match finish(command) {
        Ok(Ok(text)) => Some(text),
        Ok(Err(line)) => {
            found.wrong.push(format!("I7: {name}: {line}"));
            None
        }
        Err(error) => {
            found.wrong.push(format!("I7: {name}: {error:#}"));
            None
        }
    }
}

fn finish(command: &mut Command) -> Result<Result<String, String>> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("does not start")?;
    let begin = Instant::now();
    // What is printed fits into the pipes.
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > PROMPTLY {
            child.kill()?;
            child.wait()?;
            return Ok(Err(format!("did not end in {PROMPTLY:?}")));
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    let (mut text, mut error) = (String::new(), String::new());
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_string(&mut text)?;
    }
    if let Some(pipe) = &mut child.stderr {
        pipe.read_to_string(&mut error)?;
    }
    Ok(if status.success() { Ok(text) } else { Err(format!("{status}: {}", error.lines().next().unwrap_or_default())) })
}

/// The moment at a position of a recording.
pub(super) fn moment<'m>(ran: &[std::ops::Range<usize>], steps: &'m [Step], position: usize) -> Option<Moment<'m>> {
    let done = ran.iter().take_while(|range| range.end <= position).count();
    let acknowledged = match done.checked_sub(1) {
        Some(last) => &steps.get(last)?.after,
        None => &steps.first()?.before,
    };
    let begun = ran.get(done).is_some_and(|range| range.start <= position);
    Some(Moment { acknowledged, under_way: if begun { steps.get(done) } else { None }, made: done > 0 })
}
