//! Hostile input: sources that must be refused without leaving a trace, the same in the store's own folder, as if another
//! tool had written it there, a store's own files, and unusual sources that must be taken as they are.

mod archives;
mod case;
mod content;
mod descriptors;
mod documents;
mod files;
mod good;
mod import;
mod in_place;
mod kit;
mod names;
mod own;
mod run;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use self::case::{Case, Form};
use super::program::{Build, Choice, Program};
use super::{INDEXES, Tally};

/// What to attack with.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Over which index
    #[arg(long, default_value = "both", value_parser = ["lmdb", "sqlite", "both"])]
    index: String,
    /// Only cases whose names contain this
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Only each K-th case
    #[arg(long, value_name = "K", default_value_t = 1)]
    every: usize,
    /// List the cases, and do nothing
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    program: Choice,
}

/// What the cases are run with.
struct Field<'f> {
    program: &'f Program,
    index: &'static str,
    scratch: &'f Path,
    tally: Tally,
    runs: u64,
    slowest: Duration,
}

impl Field<'_> {
    /// The other index.
    fn other(&self) -> &'static str {
        if self.index == INDEXES[0] { INDEXES[1] } else { INDEXES[0] }
    }

    fn fell(&mut self, case: &str, way: &str, what: impl IntoIterator<Item = String>) {
        let label = format!("hostile --index {} --case {case} ({way})", self.index);
        self.tally.fell(&label, what);
    }

    /// Counts a run.
    fn note(&mut self, ran: &run::Ran) {
        self.runs += 1;
        self.slowest = self.slowest.max(ran.cpu);
    }
}

fn cases() -> Vec<Case> {
    let mut cases = descriptors::cases();
    cases.extend(documents::cases());
    cases.extend(content::cases());
    cases.extend(files::cases());
    cases.extend(names::cases());
    cases.extend(archives::cases());
    cases.extend(good::cases());
    cases
}

/// `cargo xtask hostile`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let is_wanted = |name: &str| args.case.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let cases: Vec<Case> =
        cases().into_iter().filter(|case| is_wanted(&case.name)).step_by(args.every.max(1)).collect();
    let own: Vec<_> = own::cases().into_iter().filter(|case| is_wanted(case.name)).step_by(args.every.max(1)).collect();
    let bad = cases.iter().filter(|case| case.bad).count();
    if args.list {
        for case in &cases {
            println!("{:4} {}", if case.bad { "bad" } else { "good" }, case.name);
        }
        own.iter().for_each(|case| println!("own  {}", case.name));
        println!("{bad} bad, {} good, {} of a store's own files", cases.len() - bad, own.len());
        return Ok(());
    }
    if cases.is_empty() && own.is_empty() {
        bail!("no case has that in its name: see --list");
    }
    let program = args.program.get(Build::Plain)?;
    let mut whole = Tally::default();
    let (mut runs, mut slowest) = (0, Duration::ZERO);
    for index in INDEXES.into_iter().filter(|index| args.index == "both" || args.index == *index) {
        // In memory, where there is such a place: this attack is not about disks.
        let near = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let scratch = tempfile::Builder::new().prefix("hostile-").tempdir_in(near)?;
        let tally = Tally::default();
        let mut field =
            Field { program: &program, index, scratch: scratch.path(), tally, runs: 0, slowest: Duration::ZERO };
        let archives = import::takes_archives(&field)?;
        if !archives {
            println!("{index}: the program does not take archives: those are left out");
        }
        let takes = |form: Form| archives || form == Form::Folder;
        import::refused(&mut field, &mut cases.iter().filter(|case| case.bad), &takes)?;
        for case in cases.iter().filter(|case| case.in_place) {
            in_place::attack(&mut field, case)?;
        }
        for case in &own {
            own::attack(&mut field, case)?;
        }
        for case in cases.iter().filter(|case| !case.bad) {
            import::accepted(&mut field, case, &takes)?;
        }
        whole.violations.extend(field.tally.violations);
        runs += field.runs;
        slowest = slowest.max(field.slowest);
    }
    let good = cases.len() - bad;
    whole.close(&format!(
        "hostile: {bad} bad and {good} good cases, {} of a store's own files, over {}: {runs} runs, the longest took \
         {:.2} s of the processor",
        own.len(),
        args.index,
        slowest.as_secs_f64()
    ))
}

/// An empty folder under this name.
fn fresh(scratch: &Path, name: &str) -> Result<PathBuf> {
    let path = scratch.join(name);
    if path.symlink_metadata().is_ok() {
        // A case may have taken away the right to write.
        let _ = std::process::Command::new("chmod").args(["-R", "u+rwX"]).arg(&path).output();
        std::fs::remove_dir_all(&path)?;
    }
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
