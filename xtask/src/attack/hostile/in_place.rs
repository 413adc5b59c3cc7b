//! The same content, written by another tool straight into the store's `index.json` and `blobs/`: nothing of ours is lost or
//! changed, nothing incomplete or unverified is adopted, and what is not adopted is said.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::case::{Case, Form};
use super::import::{source, store};
use super::run::{Ran, run, short};
use super::{Field, fresh};
use crate::attack::checker::{examine, examine_settled};

/// How the other tool leaves `index.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// With its entries behind ours.
    Appends,
    /// With nothing but its own.
    Replaces,
}

/// Both tools, each followed by a list, and by a reindex with and without the index before.
pub(super) fn attack(field: &mut Field<'_>, case: &Case) -> Result<()> {
    for tool in [Tool::Appends, Tool::Replaces] {
        let at = fresh(field.scratch, "case")?;
        let ours = store(field, &at)?;
        let refs = examine(&ours)?.refs;
        let layout = source(case, Form::Folder, &at)?;
        let Some(index) = spoilt(&ours, &layout, tool)? else { continue };
        overlay(&layout.join("blobs"), &ours.join("blobs"))?;
        // The same folder once more, for a reindex.
        let copied = std::process::Command::new("cp").arg("-a").arg(&ours).arg(at.join("again")).status()?;
        anyhow::ensure!(copied.success(), "cp -a");
        for store in [&ours, &at.join("again")] {
            fs::write(store.join("index.json"), &index)?;
        }
        let list = run(field.program, &ours, ["list"])?;
        field.note(&list);
        let mut wrong = merged(&list, &ours, &index)?;
        wrong.extend(examine(&ours)?.differs_from_at_least(&refs));
        let check = run(field.program, &ours, ["check", "--read-data"])?;
        wrong.extend(check.abnormal());
        if check.code() != Some(0) {
            wrong.push(format!("check: {}", short(&check.err())));
        }
        wrong.extend(run(field.program, &ours, ["gc", "--full"])?.abnormal());
        wrong.extend(examine_settled(&ours)?.wrong);
        field.fell(&case.name, &format!("in place, {tool:?}"), wrong);

        let again = at.join("again");
        let mut wrong = reindexed(field, &again)?;
        wrong.extend(examine(&again)?.differs_from_at_least(&refs));
        fs::write(again.join("index.json"), &index)?;
        for entry in fs::read_dir(again.join(".oci-store/index"))? {
            fs::remove_dir_all(entry?.path())?;
        }
        wrong.extend(reindexed(field, &again)?);
        field.fell(&case.name, &format!("reindex, {tool:?}"), wrong);
    }
    Ok(())
}

/// What the store's `index.json` is after the tool; nothing if the tool could not write it so.
fn spoilt(store: &Path, layout: &Path, tool: Tool) -> Result<Option<Vec<u8>>> {
    let theirs = fs::read(layout.join("index.json"))?;
    if tool == Tool::Replaces {
        return Ok(Some(theirs));
    }
    let Ok(theirs) = serde_json::from_slice::<Value>(&theirs) else { return Ok(None) };
    let mut ours: Value = serde_json::from_slice(&fs::read(store.join("index.json"))?)?;
    let (Some(entries), Some(more)) = (ours["manifests"].as_array_mut(), theirs["manifests"].as_array()) else {
        return Ok(None);
    };
    entries.extend(more.iter().cloned());
    Ok(Some(ours.to_string().into_bytes()))
}

fn overlay(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&place)?;
            overlay(&entry.path(), &place)?;
        } else if !place.exists() {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}

/// After the first command: what was listed is adopted, whole, or it was said that it is not.
fn merged(list: &Ran, store: &Path, index: &[u8]) -> Result<Vec<String>> {
    let mut wrong = list.abnormal();
    if list.code() != Some(0) {
        wrong.push(format!("list: {}", short(&list.err())));
        return Ok(wrong);
    }
    let facts = examine(store)?;
    wrong.extend(facts.wrong.iter().filter(|line| !line.starts_with("I1")).cloned());
    let is_reached = |line: &&String| facts.reached.iter().any(|digest| line.contains(digest.as_str()));
    wrong.extend(facts.wrong.iter().filter(|line| line.starts_with("I1")).filter(is_reached).cloned());
    let known: BTreeSet<&str> = facts.refs.values().chain(&facts.unnamed).map(String::as_str).collect();
    let theirs: Value = serde_json::from_slice(index).unwrap_or_default();
    let entries = theirs["manifests"].as_array().cloned().unwrap_or_default();
    let is_dropped = |entry: &&Value| !entry["digest"].as_str().is_some_and(|digest| known.contains(digest));
    let dropped = entries.iter().filter(is_dropped).count();
    if (dropped > 0 || theirs.is_null()) && !list.err().contains("WARN") {
        wrong.push(format!("{dropped} entries were dropped without a word"));
    }
    Ok(wrong)
}

fn reindexed(field: &mut Field<'_>, store: &Path) -> Result<Vec<String>> {
    let ran = run(field.program, store, ["reindex"])?;
    field.note(&ran);
    let mut wrong = ran.abnormal();
    match ran.code() {
        // Done; done, and not all is well.
        Some(0 | 3) => {
            let list = run(field.program, store, ["list"])?;
            wrong.extend(list.abnormal());
            if list.code() != Some(0) {
                wrong.push(format!("list after reindex: {}", short(&list.err())));
            }
        }
        _ => wrong.extend(ran.not_refused()),
    }
    Ok(wrong)
}
