//! `check`, with `--repair`.

use std::collections::HashMap;
use std::process::ExitCode;

use oci_store::{Checked, Fault, Limits, Place, RefName, oci::Problem};
use serde_json::{Value, json};

use super::places;
use crate::args::Check;
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::output::{self, count};
use crate::progress::Bar;

pub(crate) fn check(context: &Context, args: &Check) -> Result<ExitCode> {
    let reader = context.reader()?;
    let bar = Bar::new(context, "check");
    let checked = reader.check(&args.refs, args.reading(), &bar)?;
    drop(bar);
    context.print(&checked_json(&checked), || checked_text(&checked))?;
    verdict(&checked)
}

pub(crate) fn repair(context: &Context, refs: &[RefName], from: &[Place]) -> Result<ExitCode> {
    if let Some(place) = from.iter().find(|place| place.reference.is_some()) {
        let why = "a repair takes blobs by their digests from all of a source: leave its ref away";
        return Err(Failure::new(code::USAGE, format!("{place}: {why}")));
    }
    // The images are the store's, and how large they may be was decided when they came.
    let limits = Limits { descriptors: Limits::OWN.descriptors, ..Limits::default() };
    let sources = from.iter().map(|place| places::open(place, limits)).collect::<Result<Vec<_>>>()?;
    let store = context.store()?;
    let bar = Bar::new(context, "check");
    let repaired = store.repair(refs, sources, &bar)?;
    drop(bar);
    let mut json = checked_json(&repaired.checked);
    json["repaired"] = repaired.repaired.iter().map(ToString::to_string).collect();
    context.print(&json, || {
        let done: String = repaired.repaired.iter().map(|digest| format!("{digest}: repaired\n")).collect();
        done + &checked_text(&repaired.checked)
    })?;
    verdict(&repaired.checked)
}

pub(crate) fn checked_json(checked: &Checked) -> Value {
    let fault = |fault| match fault {
        Fault::Missing => "missing",
        Fault::WrongSize => "wrong size",
        _ => "damaged",
    };
    let problem = |problem: &Problem| {
        let path: Vec<String> = problem.blob.path.iter().map(ToString::to_string).collect();
        let digest = problem.blob.digest.to_string();
        json!({ "image": problem.image, "fault": fault(problem.fault), "digest": digest, "path": path })
    };
    json!({
        "images": checked.images, "blobs": checked.blobs, "bytes": checked.bytes,
        "read": checked.read, "readBytes": checked.read_bytes, "incomplete": checked.incomplete,
        "problems": checked.problems.iter().map(problem).collect::<Vec<_>>(), "index": checked.index,
    })
}

pub(crate) fn checked_text(checked: &Checked) -> String {
    let mut text: String =
        checked.incomplete.iter().map(|image| format!("{image}: incomplete, as it was allowed to be\n")).collect();
    let (images, blobs) = (count(checked.images, "image"), count(checked.blobs, "blob"));
    let bytes = output::size(checked.bytes);
    let seen = match checked.read {
        0 => format!("{blobs} seen, {bytes}"),
        read if read == checked.blobs => format!("{blobs} read, {bytes}"),
        read => format!("{blobs} seen, {bytes}, {read} of them read, {}", output::size(checked.read_bytes)),
    };
    let problems = count(by_blob(&checked.problems).len() as u64 + u64::from(checked.index.is_some()), "problem");
    text.push_str(&format!("{images}, {seen}, {problems}\n"));
    text
}

/// So many images are named, of those that have a blob with which something is wrong.
const NAMED: usize = 3;

/// What is wrong, once for each blob: one layer may be in thousands of images.
fn by_blob(problems: &[Problem]) -> Vec<Problem> {
    let mut found: Vec<(Problem, usize)> = Vec::new();
    let mut places = HashMap::new();
    for problem in problems {
        let place = *places.entry((&problem.blob.digest, problem.fault)).or_insert(found.len());
        match found.get_mut(place) {
            None => found.push((problem.clone(), 0)),
            Some((known, more)) => {
                *more += 1;
                if *more < NAMED {
                    known.image.push_str(&format!(", {}", problem.image));
                }
            }
        }
    }
    let told = |(mut problem, more): (Problem, usize)| {
        if let Some(more @ 1..) = (more + 1).checked_sub(NAMED) {
            problem.image.push_str(&format!(" and {more} more"));
        }
        problem
    };
    found.into_iter().map(told).collect()
}

/// A line of error for each blob with which something is wrong, and the exit code that says so.
pub(crate) fn verdict(checked: &Checked) -> Result<ExitCode> {
    let problems = by_blob(&checked.problems);
    let mut failures: Vec<_> = problems.iter().map(|problem| Failure::new(code::CHECK, problem)).collect();
    failures.extend(checked.index.as_ref().map(|why| Failure::new(code::CHECK, why)));
    Failure::all(failures)?;
    Ok(ExitCode::SUCCESS)
}
