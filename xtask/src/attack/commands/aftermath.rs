//! What must be true of a store after its command was stopped, at any moment and in any way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Case;
use super::ready::{Ready, State};
use crate::attack::checker::{Facts, agree, examine, examine_settled};
use crate::attack::patience;

/// What is done first in a store that somebody has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The same command once more.
    AgainFirst,
    /// A plain gc, after which nothing may be left over.
    CollectFirst,
}

impl Ready<'_> {
    /// All of it. `done` says that the command has reported success. A line for each thing that is wrong.
    pub(crate) fn aftermath(&self, case: &Case, done: bool, order: Order) -> Result<Vec<String>> {
        let mut lines = self.as_it_lies(case)?;
        self.next(case, done, &mut lines)?;
        match order {
            Order::AgainFirst => {
                self.again(case, &mut lines)?;
                self.collected(case, "gc", &mut lines)?;
            }
            Order::CollectFirst => {
                self.collected(case, "gc", &mut lines)?;
                self.again(case, &mut lines)?;
            }
        }
        let facts = self.collected(case, "gc --full", &mut lines)?;
        if lines.is_empty() {
            lines.extend(agree(&self.lab.program, &case.store(), &facts)?);
        }
        Ok(lines)
    }

    /// Looks at the folders, before any program does (I1, I2, I3, I5).
    fn as_it_lies(&self, case: &Case) -> Result<Vec<String>> {
        let facts = examine(&case.store())?;
        let mut lines = facts.wrong.clone();
        lines.extend(self.neither("refs in index.json", &facts.refs, |state| &state.refs));
        lines.extend(self.destination(case, false)?);
        Ok(lines)
    }

    /// A destination has whole images only, the others in it too, and this one or not (`done`: it has).
    fn destination(&self, case: &Case, done: bool) -> Result<Vec<String>> {
        let facts = examine(&case.destination())?;
        let has_index = case.destination().join("index.json").exists();
        let begun = |line: &String| !has_index && !done && line.contains("no index.json");
        let mut lines: Vec<String> =
            facts.wrong.iter().filter(|line| !begun(line)).map(|line| format!("destination: {line}")).collect();
        if done {
            lines.extend(other("destination's refs", &facts.refs, &self.after.exported));
        } else {
            lines.extend(self.neither("destination's refs", &facts.refs, |state| &state.exported));
        }
        Ok(lines)
    }

    /// The next commands work by themselves, and promptly (I7), and show what was before or what was to come (I2); each
    /// row has its file (I4).
    fn next(&self, case: &Case, done: bool, lines: &mut Vec<String>) -> Result<()> {
        if self.scenario.absent && !case.store().join(".oci-store/config.json").exists() {
            // There is no store yet, and who asks makes none.
            lines.extend(done.then(|| "I2: there is no store".to_owned()));
            return Ok(());
        }
        let Some(refs) = self.ask(case, "--format json list", lines)? else { return Ok(()) };
        let refs = refs_of(&refs)?;
        if done {
            lines.extend(other("refs", &refs, &self.after.refs));
            lines.extend(self.destination(case, true)?);
        } else {
            lines.extend(self.neither("refs", &refs, |state| &state.refs));
        }
        if let Some(rows) = self.ask(case, "--format json blobs", lines)? {
            let facts = examine(&case.store())?;
            let rows: Vec<Value> = serde_json::from_str(&rows).context("blobs")?;
            let rows: BTreeSet<&str> = rows.iter().filter_map(|row| row["digest"].as_str()).collect();
            let bare = rows.iter().filter(|row| !facts.blobs.contains_key(**row));
            lines.extend(bare.map(|row| format!("I4: {row}: a row, and no file")));
        }
        for (number, line) in self.scenario.probes.iter().enumerate() {
            if let Some(found) = self.ask(case, line, lines)? {
                let is = |state: &State| state.probes.get(number) == Some(&found);
                if !(is(&self.after) || !done && is(&self.before)) {
                    lines.push(format!("I2: {line}: prints {found:?}"));
                }
            }
        }
        Ok(())
    }

    /// The same command again succeeds, and then all is as it should be.
    fn again(&self, case: &Case, lines: &mut Vec<String>) -> Result<()> {
        let is_done = self.scenario.once && examine(&case.store())?.refs == self.after.refs;
        let ended = patience::run(&mut self.command(case))?;
        let failure = if is_done { ended.wrong } else { ended.failure() };
        lines.extend(failure.map(|failure| format!("the same again: {failure}")));
        let facts = examine(&case.store())?;
        lines.extend(other("refs in index.json, after the same again", &facts.refs, &self.after.refs));
        lines.extend(self.destination(case, true)?);
        for (line, expected) in self.scenario.probes.iter().zip(&self.after.probes) {
            if let Some(found) = self.ask(case, line, lines)?
                && found != *expected
                // A version counts how often it was set.
                && !line.starts_with("data list")
            {
                lines.push(format!("I2: after the same again: {line}: prints {found:?}"));
            }
        }
        Ok(())
    }

    /// The refs that the store has before the command.
    pub(crate) fn refs_before(&self) -> &BTreeMap<String, String> {
        &self.before.refs
    }

    /// What is wrong with refs that are to be those of before, or of after (I2).
    pub(crate) fn own_refs_differ(&self, found: &BTreeMap<String, String>) -> Option<String> {
        self.neither("refs", found, |state| &state.refs)
    }

    /// What is wrong with how the same command ended when it was run again.
    pub(crate) fn again_failure(&self, ended: &patience::Ended) -> Option<String> {
        if self.scenario.once { ended.wrong.clone() } else { ended.failure() }
    }

    /// Nothing is left after a collection (I6).
    fn collected(&self, case: &Case, line: &str, lines: &mut Vec<String>) -> Result<Facts> {
        self.ask(case, line, lines)?;
        let facts = examine_settled(&case.store())?;
        lines.extend(facts.wrong.iter().map(|wrong| format!("after {line}: {wrong}")));
        lines.extend(epochs_to_come(case)?.into_iter().map(|wrong| format!("after {line}: {wrong}")));
        Ok(facts)
    }

    /// What a command prints that must succeed.
    fn ask(&self, case: &Case, line: &str, lines: &mut Vec<String>) -> Result<Option<String>> {
        let ended = patience::run(&mut self.line(case, line))?;
        let failure = ended.failure();
        let printed = failure.is_none().then_some(ended.stdout);
        lines.extend(failure.map(|failure| format!("{line}: {failure}")));
        Ok(printed)
    }

    fn neither(
        &self,
        what: &str,
        found: &BTreeMap<String, String>,
        of: impl Fn(&State) -> &BTreeMap<String, String>,
    ) -> Option<String> {
        let fits = *found == *of(&self.before) || *found == *of(&self.after);
        (!fits).then(|| format!("I2: {what}: neither those of before nor those of after: {found:?}"))
    }
}

fn other(what: &str, found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> Option<String> {
    (found != expected).then(|| format!("I2: {what}: {found:?}, not {expected:?}"))
}

fn refs_of(json: &str) -> Result<BTreeMap<String, String>> {
    let rows: Vec<Value> = serde_json::from_str(json).context("list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(&row["ref"]), text(&row["digest"]))).collect())
}

/// Indexes that were being built when their builder died: nobody will ever use them.
fn epochs_to_come(case: &Case) -> Result<Vec<String>> {
    let own = case.store().join(".oci-store");
    let config: Value = serde_json::from_str(&fs::read_to_string(own.join("config.json"))?)?;
    let current = config["epoch"].as_u64().unwrap_or_default();
    let mut lines = Vec::new();
    for entry in fs::read_dir(own.join("index"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.parse::<u64>().map_or(true, |epoch| epoch > current) {
            lines.push(format!("I6: .oci-store/index/{name} is left over"));
        }
    }
    Ok(lines)
}
