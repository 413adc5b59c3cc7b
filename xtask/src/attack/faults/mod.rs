//! Makes each system call on a file of the store, a source or a destination fail in turn, in every way that it can, and
//! looks what is said and what is left.

mod inject;
mod mischief;
mod surroundings;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use super::commands::{Lab, Order, Ready, chosen};
use super::crash::indexes;
use super::program::{Build, Choice};
use super::{Tally, trace};
use inject::{Fault, plan};

/// What to make fail.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Over which index: lmdb, sqlite or both
    #[arg(long, default_value = "both")]
    index: String,
    /// Which commands; by default all
    #[arg(long = "command", value_name = "NAME", value_delimiter = ',')]
    commands: Vec<String>,
    /// Each K-th fault only
    #[arg(long, value_name = "K", default_value_t = 1)]
    every: usize,
    /// Fail this call alone
    #[arg(long, value_name = "N")]
    at: Option<u64>,
    /// All later calls of the same class on the same file fail as well
    #[arg(long)]
    lasting: bool,
    /// Hide what went wrong from the program, as if it did not look: to see that it is noticed
    #[arg(long)]
    hidden: bool,
    /// Real disks that are full, or can't be written, and limits of processes, instead; needs root
    #[arg(long, conflicts_with_all = ["lasting", "hidden", "at"])]
    real: bool,
    /// Say of each case what the program did
    #[arg(long)]
    verbose: bool,
    /// Cases at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    #[command(flatten)]
    program: Choice,
}

/// `cargo xtask faults`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let lab = Lab::new(args.program.get(Build::Plain)?)?;
    let mut tally = Tally::default();
    let mut faults = 0;
    if !args.real
        && let Err(why) = trace::is_possible()
    {
        println!("faults: skipped, as processes can't be traced here: {why}");
        return Ok(());
    }
    for index in indexes(&args.index)? {
        for scenario in chosen(&args.commands)? {
            let Some(ready) = Ready::make(&lab, scenario, index)? else { continue };
            let begin = std::time::Instant::now();
            let before = tally.violations.len();
            let done = if args.real { surroundings::run(&ready, &mut tally)? } else { each(args, &ready, &mut tally)? };
            faults += done;
            let fell = tally.violations.len() - before;
            println!(
                "{index} {}: {done} faults, {fell} violations, {:.1} s",
                scenario.name,
                begin.elapsed().as_secs_f64()
            );
        }
    }
    tally.close(&format!("faults: {faults} faults"))
}

/// Each fault of one command.
fn each(args: &Args, ready: &Ready<'_>, tally: &mut Tally) -> Result<usize> {
    let plan: Vec<(u64, usize)> = plan(ready, &ready.lab.path().join("plan"))?
        .into_iter()
        .filter(|(call, _)| args.at.is_none_or(|at| *call == at))
        .step_by(args.every.max(1))
        .collect();
    let next = AtomicUsize::new(0);
    let faults = AtomicUsize::new(0);
    let tally = Mutex::new(tally);
    let work = |folder: PathBuf| -> Result<()> {
        while let Some(&(call, way)) = plan.get(next.fetch_add(1, Ordering::SeqCst)) {
            let case = ready.case(&folder)?;
            let fault = Fault { call, way, lasting: args.lasting, hidden: args.hidden };
            let Some((what, ended)) = fault.inject(ready, &case)? else { continue };
            faults.fetch_add(1, Ordering::SeqCst);
            let mut lines = what.judge(&ended);
            let order = if call.is_multiple_of(2) { Order::CollectFirst } else { Order::AgainFirst };
            lines.extend(ready.aftermath(&case, ended.code == Some(0), order)?);
            let name = format!("faults --index {} --command {} --at {call}: {what}", ready.index, ready.scenario.name);
            if args.verbose {
                println!("{name}: {:?} {}", ended.code, ended.stderr.trim());
            }
            if let Ok(mut tally) = tally.lock() {
                tally.fell(&name, lines);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let (work, path) = (&work, ready.lab.path());
        let jobs: Vec<_> = (0..args.jobs.max(1))
            .map(|job| path.join(format!("case-{job}")))
            .map(|folder| scope.spawn(move || work(folder)))
            .collect();
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| anyhow::bail!("a case has panicked")))
    })?;
    Ok(faults.into_inner())
}
