//! Whether the program says the same of a store as its folder shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Facts;
use crate::attack::program::Program;

/// Compares the program's refs, rows and verdict with the facts: no row without its file (I4), the same refs (I5), and a
/// `check --read-data` that finds something if, and only if, something is wrong. Nobody works on the store.
pub(crate) fn agree(program: &Program, store: &Path, facts: &Facts) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let refs: Vec<Value> = json(&program.must(store, ["--format", "json", "list"])?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refs: BTreeMap<String, String> =
        refs.iter().map(|found| (text(&found["ref"]), text(&found["digest"]))).collect();
    lines.extend(facts.differs_from(&refs).into_iter().map(|line| format!("{line} (by the index)")));
    let rows: Vec<Value> = json(&program.must(store, ["--format", "json", "blobs"])?)?;
    let rows: BTreeSet<String> = rows.iter().map(|row| text(&row["digest"])).collect();
    lines.extend(
        rows.iter().filter(|row| !facts.blobs.contains_key(*row)).map(|row| format!("I4: {row}: a row, and no file")),
    );
    let reached = facts.reached.iter().filter(|digest| facts.blobs.contains_key(*digest) && !rows.contains(*digest));
    lines.extend(reached.map(|digest| format!("I4: {digest}: reached, and no row")));
    let check = program.run(store, ["check", "--read-data"])?;
    let says_good = match check.status.code() {
        Some(0) => true,
        Some(3) => false,
        _ => {
            let error = String::from_utf8_lossy(&check.stderr).trim().to_owned();
            lines.push(format!("I9: check: {}: {error}", check.status));
            return Ok(lines);
        }
    };
    // The program's check is about images, so a file that nothing reaches is no business of its.
    let is_good = !facts.wrong.iter().any(|line| line.starts_with("I3"))
        && !facts
            .wrong
            .iter()
            .any(|line| line.starts_with("I1") && facts.reached.iter().any(|digest| line.contains(digest)));
    if says_good != is_good {
        let verdict = |good| if good { "good" } else { "bad" };
        lines.push(format!("check says {}, and it is {}", verdict(says_good), verdict(is_good)));
    }
    Ok(lines)
}

fn json(text: &str) -> Result<Vec<Value>> {
    serde_json::from_str(text).with_context(|| format!("not JSON: {:?}", text.get(..80).unwrap_or(text)))
}
