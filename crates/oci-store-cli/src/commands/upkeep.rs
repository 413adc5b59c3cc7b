//! `gc`, `check`, `reindex`, `index`.

use std::process::ExitCode;

use oci_store::oci::source;
use oci_store::{Checked, Digest, Extent, Fault, ImageSource, Limits, Place, RefName};
use serde_json::json;

use crate::args::IndexCommand;
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::output::{self, count};
use crate::progress::Bar;

pub(crate) fn gc(context: &Context, full: bool, dry_run: bool) -> Result<()> {
    let extent = if full { Extent::Full } else { Extent::Changed };
    let removed = context.store()?.gc(extent, dry_run)?;
    let json = json!({
        "blobs": removed.blobs, "bytes": removed.bytes, "unfinished": removed.unfinished, "dryRun": dry_run,
    });
    context.print(&json, || {
        let would = if dry_run { "would remove" } else { "removed" };
        let unfinished = match removed.unfinished {
            0 => String::new(),
            bytes => format!(", and {} of unfinished imports", output::size(bytes)),
        };
        format!("{would} {}, {}{unfinished}\n", count(removed.blobs, "blob"), output::size(removed.bytes))
    })
}

pub(crate) fn check(context: &Context, refs: &[RefName], read_data: bool) -> Result<ExitCode> {
    let reader = context.reader()?;
    let bar = Bar::new("check");
    let checked = reader.check(refs, read_data, &bar)?;
    drop(bar);
    report(context, &checked, if read_data { "read" } else { "seen" }, None)
}

pub(crate) fn repair(context: &Context, refs: &[RefName], from: &[Place]) -> Result<ExitCode> {
    if let Some(place) = from.iter().find(|place| place.reference.is_some()) {
        let why = "a repair takes blobs by their digests from all of a source: leave its ref away";
        return Err(Failure::new(code::USAGE, format!("{place}: {why}")));
    }
    let sources = from.iter().map(|place| source::open(place, Limits::default())).collect::<Result<Vec<_>, _>>()?;
    let sources: Vec<&dyn ImageSource> = sources.iter().map(|source| &**source).collect();
    let store = context.options().create(false).open(context.path()?)?;
    let bar = Bar::new("check");
    let repaired = store.repair(refs, &sources, &bar)?;
    drop(bar);
    report(context, &repaired.checked, "read", Some(&repaired.repaired))
}

/// Prints what a check has seen, and with which blobs a repair was done.
fn report(context: &Context, checked: &Checked, seen: &str, repaired: Option<&[Digest]>) -> Result<ExitCode> {
    let fault = |fault| match fault {
        Fault::Missing => "missing",
        Fault::WrongSize => "wrong size",
        _ => "damaged",
    };
    let problems: Vec<_> = checked
        .problems
        .iter()
        .map(|problem| {
            let path: Vec<String> = problem.blob.path.iter().map(ToString::to_string).collect();
            let digest = problem.blob.digest.to_string();
            json!({ "image": problem.image, "fault": fault(problem.fault), "digest": digest, "path": path })
        })
        .collect();
    let mut json = json!({
        "images": checked.images, "blobs": checked.blobs, "bytes": checked.bytes,
        "incomplete": checked.incomplete, "problems": problems, "index": checked.index,
    });
    if let Some(repaired) = repaired {
        json["repaired"] = repaired.iter().map(ToString::to_string).collect();
    }
    context.print(&json, || {
        let mut text = String::new();
        for image in &checked.incomplete {
            text.push_str(&format!("{image}: incomplete, as it was allowed to be\n"));
        }
        for digest in repaired.unwrap_or_default() {
            text.push_str(&format!("{digest}: repaired\n"));
        }
        let (images, blobs) = (count(checked.images, "image"), count(checked.blobs, "blob"));
        let problems = count(checked.problems.len() as u64 + u64::from(checked.index.is_some()), "problem");
        text + &format!("{images}, {blobs} {seen}, {}, {problems}\n", output::size(checked.bytes))
    })?;
    let mut failures: Vec<_> = checked.problems.iter().map(|problem| Failure::new(code::CHECK, problem)).collect();
    failures.extend(checked.index.as_ref().map(|why| Failure::new(code::CHECK, why)));
    Failure::all(failures)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn reindex(context: &Context) -> Result<ExitCode> {
    let (_, report) = context.options().create(false).reindex(context.path()?)?;
    for (name, why) in &report.skipped {
        tracing::warn!("{name}: not taken: {why}");
    }
    for (name, what) in &report.lacking {
        tracing::warn!("{name}: kept, but {what}");
    }
    if let Some(why) = &report.lost {
        tracing::warn!("data, additional data and times could not be carried over: {why}");
    }
    let each = |list: &[(String, String)]| -> Vec<_> {
        list.iter().map(|(name, why)| json!({ "ref": name, "why": why })).collect()
    };
    let json = json!({
        "blobs": report.blobs, "refs": report.refs, "lost": report.lost,
        "skipped": each(&report.skipped), "lacking": each(&report.lacking),
    });
    context.print(&json, || format!("{}, {}\n", count(report.blobs, "blob"), count(report.refs, "ref")))?;
    // It is done; but not all is well.
    let whole = report.skipped.is_empty() && report.lacking.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(code::CHECK) })
}

pub(crate) fn index(context: &Context, command: IndexCommand) -> Result<()> {
    let store = context.store()?;
    match command {
        IndexCommand::Show => {}
        IndexCommand::Convert { to } => {
            store.base().convert(&to)?;
        }
    }
    let name = store.base().index_name()?;
    context.print(&json!({ "index": name }), || format!("{name}\n"))
}
