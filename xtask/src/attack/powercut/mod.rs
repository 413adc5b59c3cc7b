//! `cargo xtask powercut`: what was not flushed is gone, in any order. A filesystem stands on a disk that logs every
//! write and flush while the program works; from the log the images are made that a power cut could have left.

mod case;
mod chance;
mod disk;
mod filesystem;
mod place;
mod recording;
mod replay;
mod served;
mod shutdown;
mod surroundings;
mod verify;
mod worker;
mod workload;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use self::case::Case;
use self::filesystem::Filesystem;
use self::recording::{Recording, Wanted};
use self::replay::{Counts, Replay};
use self::shutdown::Shutdown;
use self::surroundings::Room;
use super::program::{Build, Choice, Program};
use super::{INDEXES, Tally};
use crate::workspace_root;

/// What to cut the power of.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The filesystems
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ext4,xfs,btrfs")]
    filesystem: Vec<Filesystem>,
    /// The index
    #[arg(long, default_value = "both", value_parser = ["lmdb", "sqlite", "both"])]
    index: String,
    /// Crash images of each filesystem with each index
    #[arg(long, default_value_t = 100)]
    images: usize,
    /// What is done, and what is lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Take guards of the program out while it works; it must be built for attacks
    #[arg(long, value_name = "GUARD")]
    without: Option<String>,
    /// Mount the filesystem with these options as well
    #[arg(long)]
    options: Option<String>,
    /// So many times, shut ext4 and XFS down under several processes as well
    #[arg(long, value_name = "N", default_value_t = 0)]
    shutdowns: usize,
    /// So many images at a time; by default twice as many as there are processors, as half of the time is spent
    /// waiting for mounts
    #[arg(long)]
    threads: Option<usize>,
    /// Replay cases of a recording; one is left where something fell
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// The case to replay, as it was named
    #[arg(long, requires = "recording")]
    case: Option<Case>,
    #[command(flatten)]
    program: Choice,
}

/// Records, replays and counts.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(lack) = surroundings::lack() {
        println!("powercut: skipped: {lack}");
        return Ok(());
    }
    let build = if args.without.is_some() { Build::Attack } else { Build::Plain };
    let program = args.program.get(build)?;
    let mut campaign = Campaign { args, program, room: Room::enter()? };
    let mut tally = Tally::default();
    let mut total = 0;
    match &args.recording {
        Some(path) => {
            let recording = Recording::load(path)?;
            total += campaign.replay(&recording, &mut tally)?;
        }
        None => {
            let mut here = args.filesystem.clone();
            here.retain(|filesystem| filesystem.is_here());
            for lacking in args.filesystem.iter().filter(|filesystem| !here.contains(filesystem)) {
                println!("powercut: {} is left out: the program that makes it is not installed", lacking.name());
            }
            let indexes: Vec<_> =
                INDEXES.into_iter().filter(|index| args.index == "both" || args.index == *index).collect();
            for seed in args.seed..args.seed + args.seeds {
                for (&filesystem, &index) in here.iter().flat_map(|one| indexes.iter().map(move |index| (one, index))) {
                    if campaign.room.is_to_end() {
                        bail!("ended after {total} crash images, {} violations", tally.violations.len());
                    }
                    total += campaign.record_and_replay(filesystem, index, seed, &mut tally)?;
                    if args.shutdowns > 0 && filesystem.shuts_down() {
                        campaign.shut_down(filesystem, index, seed, &mut tally)?;
                    }
                }
            }
        }
    }
    tally.close(&format!("powercut: {total} crash images"))
}

struct Campaign<'c> {
    args: &'c Args,
    program: Program,
    room: Room,
}

impl Campaign<'_> {
    fn record_and_replay(
        &mut self,
        filesystem: Filesystem,
        index: &'static str,
        seed: u64,
        tally: &mut Tally,
    ) -> Result<usize> {
        let sources = tempfile::tempdir()?;
        let steps = workload::plan(sources.path(), seed, index)?;
        let (options, without) = (self.args.options.as_deref(), self.args.without.as_deref());
        self.room.boot()?;
        let wanted = Wanted { filesystem, index, seed, options, without };
        let recording = Recording::make(&wanted, &self.program, &steps, sources.path())
            .with_context(|| format!("{}/{index}", filesystem.name()))?;
        let before = tally.violations.len();
        let total = self.replay(&recording, tally)?;
        if tally.violations.len() > before {
            let path = recordings().join(format!("{}-{index}-{seed}.recording", filesystem.name()));
            recording.save(&path)?;
            println!("recorded in {}", path.display());
        }
        Ok(total)
    }

    fn shut_down(&mut self, filesystem: Filesystem, index: &'static str, seed: u64, tally: &mut Tally) -> Result<()> {
        let shutdown = Shutdown {
            filesystem,
            index,
            seed,
            program: &self.program,
            without: self.args.without.as_deref(),
            stop: self.room.stop,
        };
        let room = &mut self.room;
        let (times, commands) = shutdown.all(self.args.shutdowns, tally, || room.boot())?;
        println!("{}/{index} seed {seed}: {times} shutdowns, {commands} commands acknowledged", filesystem.name());
        Ok(())
    }

    fn replay(&mut self, recording: &Recording, tally: &mut Tally) -> Result<usize> {
        let sources = tempfile::tempdir()?;
        let steps = workload::plan(sources.path(), recording.seed, recording.index)?;
        if steps.len() != recording.ran.len() {
            bail!("the recording is of another workload");
        }
        let cases = match self.args.case {
            Some(case) => vec![case],
            None => case::choose(recording, self.args.images, recording.seed),
        };
        self.room.boot()?;
        let replay = Replay {
            recording,
            steps: &steps,
            sources: sources.path(),
            program: &self.program,
            options: self.args.options.as_deref(),
            stop: self.room.stop,
        };
        let begin = Instant::now();
        let counts = replay.all(&cases, self.args.threads.unwrap_or_else(threads), tally)?;
        let total = counts.images.values().sum();
        report(recording, &counts, total, begin);
        Ok(total)
    }
}

fn report(recording: &Recording, counts: &Counts, total: usize, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{} seed {}: {} entries; {}; {:.1} images a second",
        recording.name(),
        recording.seed,
        recording.log.len(),
        replay::words(counts),
        total as f64 / seconds
    );
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get() * 2)
}

/// Where recordings are left in which something fell.
fn recordings() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from).join("powercut")
}
