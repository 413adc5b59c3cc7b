//! `gc`, `prune`, `maintain`, `adopt`, `reindex`, `index`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use oci_store::oci::Report;
use oci_store::oci::questions::Amount;
use oci_store::{Collected, Extent, Maintained, Policy, Ref, RefName, Store};
use serde_json::{Value, json};

use super::check::{checked_json, checked_text, verdict};
use crate::args::{IndexCommand, Prune};
use crate::context::{Context, Shape};
use crate::failure::{Result, code};
use crate::output::{self, count};
use crate::progress::Bar;
use crate::table::table;

pub(crate) fn gc(context: &Context, full: bool, dry_run: bool) -> Result<()> {
    let extent = if full { Extent::Full } else { Extent::Changed };
    let store = if dry_run { context.store()? } else { context.store_or_new()? };
    let removed = store.gc(extent, dry_run)?;
    context.print(&collected_json(&removed, dry_run), || collected_text(&removed, dry_run))
}

fn collected_json(removed: &Collected, dry_run: bool) -> Value {
    json!({ "blobs": removed.blobs, "bytes": removed.bytes, "unfinished": removed.unfinished, "dryRun": dry_run })
}

fn collected_text(removed: &Collected, dry_run: bool) -> String {
    let would = if dry_run { "would remove" } else { "removed" };
    let unfinished = match removed.unfinished {
        0 => String::new(),
        bytes => format!(", and {} of unfinished imports", output::size(bytes)),
    };
    format!("{would} {}, {}{unfinished}\n", count(removed.blobs, "blob"), output::size(removed.bytes))
}

pub(crate) fn prune(context: &Context, args: &Prune) -> Result<()> {
    let store = context.store()?;
    let takes = |name: &RefName| args.filter.as_ref().is_none_or(|pattern| pattern.matches(name.as_str()));
    let policy = Policy {
        keep_last: args.keep_last.and_then(|n| usize::try_from(n).ok()),
        older_than: args.older_than,
        filter: args.filter.is_some().then_some(&takes),
    };
    let removed = store.prune(&policy, args.dry_run)?;
    // The refs are gone: that is to be told, whatever comes of the rest.
    let collected = if args.dry_run {
        would_free(&store, &removed)
    } else {
        store.gc(Extent::Changed, false).map(|Collected { blobs, bytes, .. }| Amount { blobs, bytes })
    };
    let refs: Vec<Value> = removed
        .iter()
        .map(|old| json!({ "ref": old.name.as_str(), "digest": old.target.digest, "updated": old.updated }))
        .collect();
    if context.shape() == Shape::Names {
        context.print_named("ref", &refs, String::new)?;
    } else {
        let went = collected.as_ref().ok();
        let json = json!({
            "refs": refs, "blobs": went.map(|went| went.blobs), "bytes": went.map(|went| went.bytes),
            "dryRun": args.dry_run,
        });
        context.print(&json, || {
            let row = |old: &Ref| [old.name.to_string(), old.target.digest.to_string(), output::ago(old.updated)];
            let rows: Vec<_> = removed.iter().map(row).collect();
            let refs = if rows.is_empty() { String::new() } else { table(["REF", "MANIFEST DIGEST", "SET"], &rows) };
            let would = if args.dry_run { "would remove" } else { "removed" };
            let number = count(removed.len() as u64, "ref");
            let blobs = |went: &Amount| format!(", {}, {}", count(went.blobs, "blob"), output::size(went.bytes));
            format!("{refs}{would} {number}{}\n", went.map(blobs).unwrap_or_default())
        })?;
    }
    Ok(collected.map(drop)?)
}

/// What these refs alone keep.
fn would_free(store: &Store, refs: &[Ref]) -> oci_store::Result<Amount> {
    if refs.is_empty() {
        return Ok(Amount::default());
    }
    let names: Vec<RefName> = refs.iter().map(|found| found.name.clone()).collect();
    Ok(store.usage(&names, false)?.freed)
}

pub(crate) fn maintain(context: &Context, budget: Duration) -> Result<ExitCode> {
    let store = context.store()?;
    let bar = Bar::new(context, "maintain");
    let Maintained { collected, checked, .. } = store.maintain(budget, &bar)?;
    drop(bar);
    let json = json!({ "collected": collected_json(&collected, false), "checked": checked_json(&checked) });
    context.print(&json, || collected_text(&collected, false) + &checked_text(&checked))?;
    verdict(&checked)
}

pub(crate) fn adopt(context: &Context, dir: &Path, verify: bool) -> Result<ExitCode> {
    let bar = Bar::new(context, "adopt");
    let adopted = context.options().adopt(dir, verify, &bar)?;
    drop(bar);
    let refs = adopted.store.refs("", None, usize::MAX)?;
    if context.shape() == Shape::Names {
        let names: Vec<&str> = refs.iter().map(|found| found.name.as_str()).collect();
        context.print(&names, String::new)?;
    }
    if let Some(report) = &adopted.report {
        return rebuilt(context, report);
    }
    let refs = refs.len() as u64;
    let json = json!({ "already": true, "refs": refs });
    context.print(&json, || format!("{}: is a store already, {}\n", dir.display(), count(refs, "ref")))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn reindex(context: &Context) -> Result<ExitCode> {
    let (_, report) = context.options().create(false).reindex(context.path()?)?;
    rebuilt(context, &report)
}

/// Tells what an index was made of.
fn rebuilt(context: &Context, report: &Report) -> Result<ExitCode> {
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
