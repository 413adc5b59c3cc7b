//! Negative controls: with a guard taken out of the program an attack must find something, and with it in nothing, in the
//! same cases. An attack that catches nothing is not one.

use std::time::Instant;

use anyhow::{Result, bail};

use super::INDEXES;
use super::interleave;
use super::program::{Build, Choice, Program};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this guard
    #[arg(long, value_name = "GUARD")]
    guard: Option<String>,
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
    pub(crate) cases: usize,
    pub(crate) violations: Vec<String>,
}

/// A guard, and the attack that is to catch that it is out.
struct Control {
    guard: &'static str,
    attack: &'static str,
    run: fn(&Run<'_>) -> Result<Caught>,
}

const CONTROLS: &[Control] = &[
    Control {
        guard: "publish-check",
        attack: "interleave",
        run: |run| interleaved(run, "import-again: it before-publish@1"),
    },
    Control {
        guard: "publish-check",
        attack: "interleave, rot",
        run: |run| interleaved(run, "import-rotten: it before-publish@1"),
    },
    Control { guard: "leases", attack: "interleave", run: |run| interleaved(run, "export-moved: it before-copy@1") },
    Control { guard: "second-look", attack: "interleave", run: |run| interleaved(run, "export-moved: it gathered@1") },
    Control {
        guard: "rows-first",
        attack: "interleave",
        run: |run| interleaved(run, "export-collected: it before-copy@1"),
    },
    Control { guard: "ref-order", attack: "interleave", run: |run| interleaved(run, "tag-beside-rm: it rendered@1") },
];

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
    Ok(Caught { cases: seen.cases, violations: seen.tally.violations })
}

/// `cargo xtask controls`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = args.program.get(Build::Attack)?;
    let (mut missed, mut lines) = (Vec::new(), Vec::new());
    for control in CONTROLS.iter().filter(|control| args.guard.as_deref().is_none_or(|guard| guard == control.guard)) {
        let began = Instant::now();
        let without = (control.run)(&Run { program: &program, without: Some(control.guard), limit: None })?;
        let seconds = began.elapsed().as_secs_f64();
        let name = format!("{:<14} {:<16}", control.guard, control.attack);
        let Some(first) = without.violations.first() else {
            missed.push(format!(
                "without {} {} catches nothing, in {} cases",
                control.guard, control.attack, without.cases
            ));
            lines.push(format!("{name} {:>6} {seconds:>7.1}  NOTHING", without.cases));
            continue;
        };
        lines.push(format!("{name} {:>6} {seconds:>7.1}  {first}", without.cases));
        // The same cases with the guard in.
        let with = (control.run)(&Run { program: &program, without: None, limit: Some(without.cases) })?;
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
