//! Automation for the oci-store workspace, written in Rust so that it runs wherever the workspace builds.

mod attack;
mod bench;
mod ci;
mod counts;
mod dist;
mod images;
mod scale;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Automation for the oci-store workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check that a change must pass, and stop at the first that fails
    Ci(ci::Args),
    /// Check what needs no compiler: the arrows between crates, their metadata, the shape of the sources
    Tidy,
    /// Write the images that measurements are made with, the same bytes at each run
    Images(images::Args),
    /// Look at a store from outside, with no code of the store: hashes, closures, leftovers
    Verify(attack::checker::Args),
    /// Run the races that other tools lose: many processes that add refs, and an import beside collections
    Race(attack::race::Args),
    /// Attack: a gc and an operation beside it, each stopped at each of its points while the other goes on
    Interleave(attack::interleave::Args),
    /// Take each guard out of the program, and see that an attack notices
    Controls(attack::controls::Args),
    /// Look at every state of a model of the protocol of leases, publishing and collecting
    Model(attack::model::Args),
    /// Feed the program sources, folders and configs that are spoilt, and such that are only strange
    Hostile(attack::hostile::Args),
    /// Flip each byte of a small store in turn, and look what is said, and whether it can be mended
    Rot(attack::rot::Args),
    /// Fuzz what reads input of others
    Fuzz(attack::fuzz::Args),
    /// Many processes do everything at once to one store, some are killed; nothing may be lost
    Soak(attack::soak::Args),
    /// Kill commands before each of their system calls in turn, and look what is left
    Crash(attack::crash::Args),
    /// Make each of a command's system calls fail in turn, in every way, and look what is said and left
    Faults(attack::faults::Args),
    /// Cut the power at any moment: what was not flushed is gone, in any order (needs root)
    Powercut(attack::powercut::Args),
    /// Measure: each command beside other tools, and beside what the hardware needs for the same
    Bench(bench::Args),
    /// Measure one store of very many blobs: a million by default
    Scale(scale::Args),
    /// Count what commands ask of the disk, and fail where it is more than it must be
    Counts(counts::Args),
    /// Build the program as it is given away: one file that needs no library, with manual pages, completions, a
    /// checksum and a bill of materials
    Dist(dist::Args),
    /// One run of a work, for `bench`
    #[command(hide = true)]
    BenchSample(bench::sample::Args),
    /// What the hardware needs for a work, for `bench`
    #[command(hide = true)]
    BenchFloor(bench::floor::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Ci(args) => ci::run(&args),
        Task::Tidy => tidy::run(),
        Task::Images(args) => images::run(&args),
        Task::Verify(args) => attack::checker::run(&args),
        Task::Race(args) => attack::race::run(&args),
        Task::Interleave(args) => attack::interleave::run(&args),
        Task::Controls(args) => attack::controls::run(&args),
        Task::Model(args) => attack::model::run(&args),
        Task::Hostile(args) => attack::hostile::run(&args),
        Task::Rot(args) => attack::rot::run(&args),
        Task::Fuzz(args) => attack::fuzz::run(&args),
        Task::Soak(args) => attack::soak::run(&args),
        Task::Crash(args) => attack::crash::run(&args),
        Task::Faults(args) => attack::faults::run(&args),
        Task::Powercut(args) => attack::powercut::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Scale(args) => scale::run(&args),
        Task::Counts(args) => counts::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::BenchSample(args) => bench::sample::run(&args),
        Task::BenchFloor(args) => bench::floor::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top folder of the workspace.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
