//! The two races that every other tool loses: many processes that each add a ref to one folder, and an import beside a
//! collection. `--peer` runs the same race with another tool, for comparison.

mod gc;
mod peer;
mod refs;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use super::program::{Build, Choice, Program};
use super::{INDEXES, Tally, checker};

/// Which race, and how often.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    race: Race,
}

#[derive(Subcommand)]
enum Race {
    /// Processes that each add one ref at the same time; all of them must be there afterwards
    Refs {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        processes: usize,
        #[command(flatten)]
        common: Common,
    },
    /// The import of an image of many layers, beside collections without a pause; it must be whole afterwards
    Gc {
        /// How many the image has
        #[arg(long, value_name = "N", default_value_t = 127)]
        layers: u64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
struct Common {
    /// How often, over each index
    #[arg(long, value_name = "N", default_value_t = 20)]
    runs: usize,
    /// Over this index alone
    #[arg(long, value_name = "lmdb|sqlite")]
    index: Option<String>,
    /// Show what another tool makes of the same race; nothing it loses is a failure here
    #[arg(long)]
    peer: Option<Peer>,
    /// Take a guard out, which needs an attack build: the race is to be lost then
    #[arg(long, value_name = "GUARD")]
    without: Option<String>,
    #[command(flatten)]
    program: Choice,
}

/// Another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    Umoci,
    Skopeo,
}

/// `cargo xtask race`.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.race {
        Race::Refs { processes, common } => match common.peer {
            Some(peer) => peer::refs(peer, *processes, common.runs),
            None => repeat("race refs", common, |rig| refs::once(rig, *processes)),
        },
        Race::Gc { layers, common } => match common.peer {
            Some(_) => peer::gc(*layers, common.runs),
            None => repeat("race gc", common, |rig| gc::once(rig, *layers)),
        },
    }
}

/// One run of a race: what it works with.
struct Rig<'r> {
    program: &'r Program,
    index: &'r str,
    /// Taken out.
    without: &'r str,
    /// Empty, and removed afterwards.
    folder: &'r Path,
}

impl Rig<'_> {
    fn command(&self, store: &Path, args: &[&str]) -> std::process::Command {
        let mut command = self.program.command(store, ["--index", self.index]);
        command.args(args).env("OCI_STORE_WITHOUT", self.without);
        command
    }
}

/// Runs a race over the indexes that are wanted; it returns what fell.
fn repeat(name: &str, common: &Common, once: impl Fn(&Rig<'_>) -> Result<Vec<String>>) -> Result<()> {
    let build = if common.without.is_some() { Build::Attack } else { Build::Plain };
    let program = common.program.get(build)?;
    let without = common.without.as_deref().unwrap_or_default();
    for index in INDEXES.into_iter().filter(|index| common.index.as_deref().is_none_or(|only| only == *index)) {
        let mut tally = Tally::default();
        let start = Instant::now();
        for run in 0..common.runs {
            let folder = tempfile::tempdir()?;
            let rig = Rig { program: &program, index, without, folder: folder.path() };
            tally.fell(&format!("{name}, {index}, run {run}"), once(&rig)?);
        }
        tally.close(&format!("{name}, {index}: {} runs in {:.0?}", common.runs, start.elapsed()))?;
    }
    Ok(())
}
/// What is wrong with a store in which nothing but `refs` are, looked at before any other command could mend it.
fn settle(rig: &Rig<'_>, store: &Path, refs: &std::collections::BTreeMap<String, String>) -> Result<Vec<String>> {
    let facts = checker::examine(store)?;
    let mut fell = facts.wrong.clone();
    fell.extend(facts.differs_from(refs));
    fell.extend(checker::agree(rig.program, store, &facts)?);
    let start = Instant::now();
    rig.program.must(store, ["gc"])?;
    rig.program.must(store, ["gc", "--full"])?;
    if start.elapsed() > Duration::from_secs(10) {
        fell.push(format!("I7: two collections took {:.0?}", start.elapsed()));
    }
    let facts = checker::examine_settled(store)?;
    fell.extend(facts.wrong.iter().cloned());
    fell.extend(facts.differs_from(refs));
    Ok(fell)
}
