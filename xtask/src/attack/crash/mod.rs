//! Kills a command before each of its system calls in turn, counted over all threads, and looks what is left.

mod beside;
mod kill;

use anyhow::{Result, bail};

use super::commands::{Lab, Ready, Scenario, chosen};
use super::program::{Build, Choice};
use super::{INDEXES, Tally, trace};

/// What to kill, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Over which index: lmdb, sqlite or both
    #[arg(long, default_value = "both")]
    index: String,
    /// Which commands; by default all
    #[arg(long = "command", value_name = "NAME", value_delimiter = ',')]
    commands: Vec<String>,
    /// Kill before each K-th call only
    #[arg(long, value_name = "K", default_value_t = 1)]
    every: u64,
    /// Count only calls that can change what lies on disk, or who holds a lock
    #[arg(long)]
    changing: bool,
    /// Kill before this call alone
    #[arg(long, value_name = "N", conflicts_with = "every")]
    at: Option<u64>,
    /// Kill what is run next as well: the same command, or a gc, before each K-th of its calls that change something
    #[arg(long, value_name = "K", num_args = 0..=1, default_missing_value = "5")]
    second: Option<u64>,
    /// Four other processes work on the same store meanwhile, and must not notice
    #[arg(long, conflicts_with_all = ["second", "at"])]
    beside: bool,
    /// Take a guard out of the command that is killed, to see that it is noticed; the program must be an attack build
    #[arg(long, value_name = "GUARD")]
    without: Option<String>,
    /// Cases at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    #[command(flatten)]
    program: Choice,
}

/// `cargo xtask crash`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Err(why) = trace::is_possible() {
        println!("crash: skipped, as processes can't be traced here: {why}");
        return Ok(());
    }
    let build = if args.without.is_some() { Build::Attack } else { Build::Plain };
    let lab = Lab::new(args.program.get(build)?)?;
    let mut tally = Tally::default();
    let mut kills = 0;
    for index in indexes(&args.index)? {
        for scenario in chosen(&args.commands)? {
            kills += one(args, &lab, scenario, index, &mut tally)?;
        }
    }
    tally.close(&format!("crash: {kills} kills"))
}

fn one(args: &Args, lab: &Lab, scenario: &'static Scenario, index: &'static str, tally: &mut Tally) -> Result<u64> {
    if args.beside && scenario.undo.is_none() {
        return Ok(0);
    }
    let Some(ready) = Ready::make(lab, scenario, index)? else { return Ok(0) };
    let begin = std::time::Instant::now();
    let before = tally.violations.len();
    let kills = if args.beside { beside::run(args, &ready, tally)? } else { kill::run(args, &ready, tally)? };
    let fell = tally.violations.len() - before;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{index} {}: {kills} kills, {fell} violations, {seconds:.1} s", scenario.name);
    Ok(kills)
}

/// Both, or the one that was named.
pub(crate) fn indexes(name: &str) -> Result<Vec<&'static str>> {
    let found: Vec<&str> = INDEXES.into_iter().filter(|index| name == "both" || *index == name).collect();
    if found.is_empty() { bail!("no index {name}; there are {}", INDEXES.join(" and ")) } else { Ok(found) }
}
