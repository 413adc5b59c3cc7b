//! Negative controls: with a guard taken out of the program an attack must find something, and with it in nothing, in the
//! same cases. An attack that catches nothing is not one.

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::INDEXES;
use super::interleave;
use super::program::{Build, Choice, Program};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this guard
    #[arg(long, value_name = "GUARD")]
    guard: Option<String>,
    /// Leave out what takes minutes
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    program: Choice,
}

/// A run of an attack, that ends with its first violation, or after `limit` cases.
pub(crate) struct Run<'r> {
    pub(crate) program: &'r Program,
    /// The guards that are taken out.
    pub(crate) without: Option<&'r str>,
    pub(crate) limit: Option<usize>,
}

/// What a run has seen.
pub(crate) struct Caught {
    /// Where they were counted.
    pub(crate) cases: Option<usize>,
    pub(crate) violations: Vec<String>,
    /// The attack can't be run here, and has said why.
    pub(crate) is_skipped: bool,
}

/// A guard, and the attack that is to catch that it is out.
struct Control {
    guard: &'static str,
    attack: &'static str,
    /// It takes minutes.
    slow: bool,
    run: fn(&Run<'_>) -> Result<Caught>,
}

const CONTROLS: &[Control] = &[
    control("publish-check", "interleave", |run| interleaved(run, "import-again: it before-publish@1")),
    control("publish-check", "interleave, rot", |run| interleaved(run, "import-rotten: it before-publish@1")),
    control("leases", "interleave", |run| interleaved(run, "export-moved: it before-copy@1")),
    control("second-look", "interleave", |run| interleaved(run, "export-moved: it gathered@1")),
    control("rows-first", "interleave", |run| interleaved(run, "export-collected: it before-copy@1")),
    control("rows-first", "crash", |run| by_words(run, "crash --index lmdb --command gc --changing --every 2")),
    control("ref-order", "interleave", |run| interleaved(run, "tag-beside-rm: it rendered@1")),
    control("ref-order", "race", |run| by_words(run, "race refs --index lmdb --runs 3")),
    control("file-sync", "powercut", |run| by_words(run, "powercut --filesystem ext4 --index lmdb --images 30")),
    Control {
        slow: true,
        ..control("folder-sync", "powercut", |run| {
            by_words(run, "powercut --filesystem ext4,xfs --index lmdb --images 400")
        })
    },
];

const fn control(guard: &'static str, attack: &'static str, run: fn(&Run<'_>) -> Result<Caught>) -> Control {
    Control { guard, attack, slow: false, run }
}

/// An attack that is run as a user would, in a process of its own; each of its violations is a line on stderr. What it
/// can't do here (it may need root) it says itself.
fn by_words(run: &Run<'_>, words: &str) -> Result<Caught> {
    let mut command = Command::new(env::current_exe().context("this program has no path")?);
    command.args(words.split_whitespace()).arg("--program").arg(run.program.path());
    if let Some(guard) = run.without {
        command.args(["--without", guard]);
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| words.to_owned())?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let violations: Vec<String> =
        err.lines().filter_map(|line| line.strip_prefix("VIOLATION ")).map(str::to_owned).collect();
    if !output.status.success() && violations.is_empty() {
        bail!("{words}: {}: {}", output.status, err.trim());
    }
    let is_skipped = out.contains("skipped") || err.contains("skipped");
    Ok(Caught { cases: None, violations, is_skipped })
}

/// The interleavings whose names have `only` in them: an operation, stopped where the guard matters.
fn interleaved(run: &Run<'_>, only: &str) -> Result<Caught> {
    let seen = interleave::attack(
        run.program,
        &interleave::Options {
            indexes: &INDEXES,
            without: run.without,
            every: 1,
            only,
            limit: run.limit,
            threads: 4,
            until_first: true,
        },
    )?;
    Ok(Caught { cases: Some(seen.cases), violations: seen.tally.violations, is_skipped: false })
}

/// `cargo xtask controls`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = args.program.get(Build::Attack)?;
    let (mut missed, mut lines) = (Vec::new(), Vec::new());
    let is_wanted = |control: &&Control| {
        args.guard.as_deref().is_none_or(|guard| guard == control.guard) && !(args.quick && control.slow)
    };
    for control in CONTROLS.iter().filter(is_wanted) {
        let began = Instant::now();
        let without = (control.run)(&Run { program: &program, without: Some(control.guard), limit: None })?;
        let seconds = began.elapsed().as_secs_f64();
        let name = format!("{:<14} {:<16}", control.guard, control.attack);
        let cases = without.cases.map_or_else(|| "-".to_owned(), |cases| cases.to_string());
        if without.is_skipped {
            lines.push(format!("{name} {cases:>6} {seconds:>7.1}  skipped"));
            continue;
        }
        let Some(first) = without.violations.first() else {
            missed.push(format!("without {} {} catches nothing", control.guard, control.attack));
            lines.push(format!("{name} {cases:>6} {seconds:>7.1}  NOTHING"));
            continue;
        };
        lines.push(format!("{name} {cases:>6} {seconds:>7.1}  {first}"));
        // The same cases with the guard in.
        let with = (control.run)(&Run { program: &program, without: None, limit: without.cases })?;
        let first = with.violations.first();
        missed.extend(first.map(|first| format!("with {} in, {} finds: {first}", control.guard, control.attack)));
    }
    println!("{:<14} {:<16} {:>6} {:>7}  what fell first", "without", "attack", "cases", "seconds");
    for line in &lines {
        println!("{line}");
    }
    if lines.is_empty() {
        bail!("there is no such guard");
    }
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("\n")) }
}
