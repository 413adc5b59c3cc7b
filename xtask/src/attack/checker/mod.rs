//! Looks at a store from outside: reads `blobs/` and `index.json`, hashes every file, walks every image. It shares no
//! code with the store, so that a mistake there is not made here again.

mod agree;
mod folder;
mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::attack::program::{Build, Choice};

pub(crate) use agree::agree;

/// What to look at.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    store: PathBuf,
    /// Nobody works on the store any more, and `gc --full` was run: nothing may be left over
    #[arg(long)]
    settled: bool,
    /// Ask the program too, and compare what it says
    #[arg(long)]
    agree: bool,
    #[command(flatten)]
    program: Choice,
}

/// What a store's folder shows.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Names, and the digests that they name.
    pub(crate) refs: BTreeMap<String, String>,
    /// Digests of the entries without a name.
    pub(crate) unnamed: BTreeSet<String>,
    /// Every file under `blobs/`, with its size.
    pub(crate) blobs: BTreeMap<String, u64>,
    /// The blobs that `index.json` reaches.
    pub(crate) reached: BTreeSet<String>,
    /// What is wrong, a line each.
    pub(crate) wrong: Vec<String>,
}

/// Examines a folder: every file under `blobs/` is whole and named by its hash (I1), every listed image is complete
/// (I3). Errors are of this look, never of the store.
pub(crate) fn examine(store: &Path) -> Result<Facts> {
    let mut facts = Facts::default();
    folder::read_blobs(store, &mut facts)?;
    if let Some(index) = folder::read_index(store, &mut facts)? {
        graph::walk(store, &index, &mut facts);
    }
    Ok(facts)
}

/// The same of a store that nobody works on, after a `gc --full`: no blob that nothing reaches, no file that was to be
/// something, no lease (I6).
pub(crate) fn examine_settled(store: &Path) -> Result<Facts> {
    let mut facts = examine(store)?;
    let left = facts.blobs.keys().filter(|digest| !facts.reached.contains(*digest));
    let mut wrong: Vec<String> = left.map(|digest| format!("I6: {digest}: nothing reaches it")).collect();
    wrong.extend(folder::leftovers(store)?);
    facts.wrong.extend(wrong);
    Ok(facts)
}

impl Facts {
    /// What differs from the refs that must be there, and no others (I2, I5).
    pub(crate) fn differs_from(&self, expected: &BTreeMap<String, String>) -> Vec<String> {
        let mut lines = self.differs_from_at_least(expected);
        let strange = self.refs.keys().filter(|name| !expected.contains_key(*name));
        lines.extend(strange.map(|name| format!("I5: ref {name}: was never set, or was removed")));
        lines
    }

    /// What differs from the refs that must be there, whatever else is (I5).
    pub(crate) fn differs_from_at_least(&self, expected: &BTreeMap<String, String>) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, digest) in expected {
            match self.refs.get(name) {
                None => lines.push(format!("I5: ref {name}: lost")),
                Some(other) if other != digest => lines.push(format!("I5: ref {name}: names {other}, not {digest}")),
                Some(_) => {}
            }
        }
        lines
    }
}

/// `cargo xtask verify`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let facts = if args.settled { examine_settled(&args.store)? } else { examine(&args.store)? };
    let mut wrong = facts.wrong.clone();
    if args.agree {
        wrong.extend(agree(&args.program.get(Build::Plain)?, &args.store, &facts)?);
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    println!(
        "{} refs, {} blobs, {} reached, {} wrong",
        facts.refs.len(),
        facts.blobs.len(),
        facts.reached.len(),
        wrong.len()
    );
    if wrong.is_empty() { Ok(()) } else { bail!("{}: {} things are wrong", args.store.display(), wrong.len()) }
}
