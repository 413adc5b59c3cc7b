//! `cargo xtask ci`: the checks as one table, run in order.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{tidy, workspace_root};

/// What to check.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the runs with one index alone; interop tests are skipped where skopeo or umoci is missing
    #[arg(long)]
    fast: bool,
}

struct Step {
    title: &'static str,
    /// Left out by `--fast`.
    slow: bool,
    work: Work,
}

enum Work {
    Tidy,
    /// The words of a cargo command line.
    Cargo(&'static str),
    /// The same for rustdoc, whose warnings are errors.
    Doc(&'static str),
    /// The words that choose what to test, for whichever runner is there.
    Test(&'static str),
    /// The words of a command line of this program: an attack in a small size, for example.
    Own(&'static str),
}

/// In the order in which mistakes are cheapest to find. Commands with the same features stand together, and the
/// workspace is built with all features rather than with each set, so that little is compiled twice.
const STEPS: &[Step] = &[
    Step { title: "format", slow: false, work: Work::Cargo("fmt --all --check") },
    Step { title: "tidy", slow: false, work: Work::Tidy },
    Step {
        title: "clippy, all features",
        slow: false,
        work: Work::Cargo("clippy --workspace --all-targets --all-features -- -D warnings"),
    },
    Step {
        title: "clippy, default features",
        slow: false,
        work: Work::Cargo("clippy --workspace --all-targets -- -D warnings"),
    },
    Step {
        title: "clippy, LMDB and SQLite",
        slow: true,
        work: Work::Cargo(
            "clippy -p oci-store -p oci-store-cli --all-targets --no-default-features --features lmdb,sqlite -- -D warnings",
        ),
    },
    Step {
        title: "clippy, LMDB alone",
        slow: true,
        work: Work::Cargo(
            "clippy -p oci-store -p oci-store-cli --all-targets --no-default-features --features lmdb -- -D warnings",
        ),
    },
    Step {
        title: "clippy, SQLite alone",
        slow: true,
        work: Work::Cargo(
            "clippy -p oci-store -p oci-store-cli --all-targets --no-default-features --features sqlite -- -D warnings",
        ),
    },
    Step {
        title: "clippy, blobs with blake3",
        slow: true,
        work: Work::Cargo("clippy -p oci-store-cas --all-targets --features blake3 -- -D warnings"),
    },
    Step { title: "tests, all features", slow: false, work: Work::Test("--workspace --all-features") },
    Step {
        title: "tests, LMDB alone",
        slow: true,
        work: Work::Test("-p oci-store -p oci-store-cli --no-default-features --features lmdb"),
    },
    Step {
        title: "tests, SQLite alone",
        slow: true,
        work: Work::Test("-p oci-store -p oci-store-cli --no-default-features --features sqlite"),
    },
    Step {
        title: "examples in the docs",
        slow: false,
        work: Work::Cargo("test --quiet --doc --workspace --all-features"),
    },
    // A small size of each attack but `fuzz`, which builds everything with a sanitizer: first of the program as users get
    // it, then those that share a build with doors for attacks.
    Step { title: "attack: races", slow: true, work: Work::Own("race refs --runs 5") },
    Step { title: "attack: import beside gc", slow: true, work: Work::Own("race gc --runs 5") },
    Step { title: "attack: kills", slow: true, work: Work::Own("crash --changing --every 5 --command import-1,rm,gc") },
    Step { title: "attack: faults", slow: true, work: Work::Own("faults --every 29 --command import-1,tag,gc") },
    Step { title: "attack: power cuts", slow: true, work: Work::Own("powercut --filesystem ext4 --images 60") },
    Step { title: "attack: hostile input", slow: true, work: Work::Own("hostile --every 20") },
    Step { title: "attack: bit rot", slow: true, work: Work::Own("rot --every 500") },
    Step { title: "attack: interleavings", slow: true, work: Work::Own("interleave --every 97") },
    Step { title: "negative controls", slow: true, work: Work::Own("controls --quick") },
    Step {
        title: "attack: soak",
        slow: true,
        work: Work::Own("soak --doors --operations 3000 --round 3000 --processes 4 --threads 2"),
    },
    Step { title: "attack: the model", slow: true, work: Work::Own("model --processes 2") },
    Step { title: "counts of what commands ask of the disk", slow: true, work: Work::Own("counts") },
    Step { title: "static program, tried where there is nothing else", slow: true, work: Work::Own("dist") },
    // The command is no library, and its page would overwrite the facade's.
    Step {
        title: "docs",
        slow: false,
        work: Work::Doc("doc --quiet --no-deps --workspace --exclude oci-store-cli --all-features"),
    },
    // Without building what was packed: that is every crate once more, and finds little that the above does not.
    Step {
        title: "packages",
        slow: true,
        work: Work::Cargo("package --quiet --workspace --exclude xtask --allow-dirty --no-verify"),
    },
];

/// Runs the steps; the error names the one that failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| !(args.fast && step.slow)).collect();
    let nextest = has_nextest();
    let start = Instant::now();
    for (done, step) in steps.iter().enumerate() {
        println!("\n==> {} ({} of {})", step.title, done + 1, steps.len());
        let begin = Instant::now();
        step.work.run(nextest, args.fast).with_context(|| {
            format!("ci: step {} of {} failed: {} ({})", done + 1, steps.len(), step.title, seconds(begin.elapsed()))
        })?;
        println!("    {}: ok, {}", step.title, seconds(begin.elapsed()));
    }
    println!("\nci: all {} steps passed in {}", steps.len(), seconds(start.elapsed()));
    Ok(())
}

impl Work {
    fn run(&self, nextest: bool, fast: bool) -> Result<()> {
        match self {
            Self::Tidy => tidy::run(),
            Self::Cargo(words) => run_to_success(&mut cargo(words)),
            Self::Doc(words) => run_to_success(cargo(words).env("RUSTDOCFLAGS", "-D warnings")),
            Self::Own(words) => run_to_success(
                Command::new(env::current_exe().context("this program has no path")?)
                    .args(words.split_whitespace())
                    .current_dir(workspace_root())
                    .stdin(Stdio::null()),
            ),
            Self::Test(words) => {
                let mut command = cargo(if nextest { "nextest run" } else { "test --tests" });
                command.args(words.split_whitespace());
                if !fast {
                    command.env("OCI_STORE_INTEROP", "require");
                }
                run_to_success(&mut command)
            }
        }
    }
}

fn cargo(words: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).current_dir(workspace_root()).stdin(Stdio::null());
    command
}

fn has_nextest() -> bool {
    cargo("nextest --version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn run_to_success(command: &mut Command) -> Result<()> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!("    {program} {}", words.join(" "));
    let status = command.status().with_context(|| format!("{program} does not start"))?;
    if !status.success() {
        bail!("{program} {}: {status}", words.join(" "));
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
