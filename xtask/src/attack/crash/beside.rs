//! The same while four other processes work on the store: whoever dies, they see no error, and wait for nobody dead.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::Args;
use super::kill::{before_call, wrong};
use crate::attack::checker::{agree, examine, examine_settled};
use crate::attack::commands::{Case, Ready};
use crate::attack::{Tally, patience};

/// What the others do, over and over. Their refs begin with `beside-`, and nobody else touches those.
const OTHERS: [&[&str]; 4] = [
    &[
        "import {base} --sref base-0 --dref beside-a",
        "tag beside-a beside-b",
        "rm beside-a",
        "check beside-b",
        "rm beside-b",
    ],
    &["import {twenty} --dref beside-c", "export --sref beside-c {export}", "cat {layer}", "rm beside-c"],
    &["gc", "list", "gc", "gc --full"],
    &[
        "import {one} --dref beside-d",
        "data set beside key value",
        "rename beside-d beside-e",
        "inspect beside-e",
        "rm beside-e",
    ],
];

/// Goes on until the command comes to its end unharmed; returns how often it was killed.
pub(super) fn run(args: &Args, ready: &Ready<'_>, tally: &mut Tally) -> Result<u64> {
    let case = ready.case(&ready.lab.path().join("beside"))?;
    let name = format!("crash --beside --index {} --command {}", ready.index, ready.scenario.name);
    let found = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let kills = std::thread::scope(|scope| {
        let others: Vec<_> = OTHERS
            .iter()
            .map(|lines| {
                let (case, found, stop, done) = (&case, &found, &stop, &done);
                scope.spawn(move || other(ready, case, lines, stop, done, found))
            })
            .collect();
        let kills = kill_each(args, ready, &case, &found);
        stop.store(true, Ordering::SeqCst);
        for other in others {
            other.join().unwrap_or_else(|_| anyhow::bail!("one of the others has panicked"))?;
        }
        kills
    })?;
    let mut lines = found.into_inner().unwrap_or_default();
    for line in ["gc", "gc --full"] {
        lines.extend(patience::run(&mut ready.line(&case, line))?.failure());
    }
    let facts = examine_settled(&case.store())?;
    lines.extend(facts.wrong.iter().cloned());
    lines.extend(facts.differs_from(ready.refs_before()));
    lines.extend(agree(&ready.lab.program, &case.store(), &facts)?);
    tally.fell(&name, lines);
    println!("{} {}: {} commands beside", ready.index, ready.scenario.name, done.into_inner());
    Ok(kills)
}

fn other(
    ready: &Ready<'_>,
    case: &Case,
    lines: &[&str],
    stop: &AtomicBool,
    done: &AtomicU64,
    found: &Mutex<Vec<String>>,
) -> Result<()> {
    let export = case.folder.join("export").display().to_string();
    while !stop.load(Ordering::SeqCst) {
        for line in lines {
            let ended = patience::run(&mut ready.line(case, &line.replace("{export}", &export)))?;
            done.fetch_add(1, Ordering::SeqCst);
            note(found, ended.failure().map(|failure| format!("beside: {line}: {failure}")));
        }
    }
    Ok(())
}

fn kill_each(args: &Args, ready: &Ready<'_>, case: &Case, found: &Mutex<Vec<String>>) -> Result<u64> {
    let mut kills = 0;
    loop {
        let at = 1 + kills * args.every;
        let mut command = ready.command(case);
        if let Some(guard) = &args.without {
            command.env("OCI_STORE_WITHOUT", guard);
        }
        let ended = before_call(&mut command, at, args.changing)?;
        let say = |what: Option<String>| note(found, what.map(|what| format!("at {at}: {what}")));
        say(wrong(&ended));
        say(ready.own_refs_differ(&refs(case)?));
        // It is done again by whoever comes next, and then undone, so that the next one has something to do.
        let again = patience::run(&mut ready.command(case))?;
        say(ready.again_failure(&again).map(|failure| format!("the same again: {failure}")));
        for line in ready.scenario.undo.unwrap_or_default() {
            say(patience::run(&mut ready.line(case, line))?.failure().map(|failure| format!("{line}: {failure}")));
        }
        if !ended.killed {
            return Ok(kills);
        }
        kills += 1;
    }
}

/// The refs that `index.json` shows, without those of the others; blobs are left to the end, as a gc is at work.
fn refs(case: &Case) -> Result<BTreeMap<String, String>> {
    let mut refs = examine(&case.store()).context("beside")?.refs;
    refs.retain(|name, _| !name.starts_with("beside-"));
    Ok(refs)
}

fn note(found: &Mutex<Vec<String>>, what: Option<String>) {
    if let (Ok(mut found), Some(what)) = (found.lock(), what) {
        eprintln!("VIOLATION {what}");
        found.push(what);
    }
}
