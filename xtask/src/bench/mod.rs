//! `cargo xtask bench`: what each command costs, beside other tools and beside what the hardware needs for the same.
//!
//! Nothing here fails because it is slow: machines differ, and the same machine does from one minute to the next. What
//! must not change is counted instead, by `cargo xtask counts`.

mod contest;
mod crowd;
pub(crate) mod floor;
mod inputs;
mod keeping;
mod moving;
mod report;
pub(crate) mod sample;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::attack::inputs::Layout as Written;
use crate::attack::program::{Build, Choice};
use crate::images;
use crate::workspace_root;
use contest::Contest;
use inputs::{Lab, Layout, Tool, must, words};

/// What to measure, where, and how often.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Small inputs and few rounds: two minutes in all, good for a first look only
    #[arg(long)]
    quick: bool,
    /// How often each contender runs, in turn with the others [default: 10, quick 3]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only cases whose names have this in them
    #[arg(long, value_name = "TEXT", default_value = "")]
    case: String,
    /// The folder of the images; those that are missing are made [default: target/images]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// A folder on the filesystem that is measured; what is made in it is removed
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Also write every sample
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    program: Choice,
}

type Case<'c> = dyn for<'l> Fn(&'l Lab, &str) -> Result<Contest<'l>> + 'c;

/// Measures, and prints Markdown.
pub(crate) fn run(args: &Args) -> Result<()> {
    let images = args.images.clone().unwrap_or_else(|| workspace_root().join("target/images"));
    let sizes: &[usize] = if args.quick { &[200] } else { &[1000, 5000] };
    images::for_bench(&images, sizes, !args.quick)?;
    let scratch = match &args.scratch {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir_in(workspace_root().join("target")),
    };
    let scratch = scratch.context("a folder to measure in")?;
    let lab = Lab {
        program: args.program.get(Build::Plain)?,
        scratch: scratch.path().canonicalize()?,
        skopeo: Tool::find("skopeo", &["--version"]),
        umoci: Tool::find("umoci", &["--version"]),
        openssl: Tool::find("openssl", &["version"]),
    };
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 10 });
    println!("{}\n", surroundings(&lab, rounds)?);
    let mut outcomes = Vec::new();
    let mut case = |name: &str, rounds, contest: &Case<'_>| -> Result<()> {
        if name.contains(&args.case) {
            let outcome = contest(&lab, name)?.run(&lab.scratch, rounds)?;
            println!("{}", outcome.markdown());
            outcomes.push(outcome);
        }
        Ok(())
    };
    for (image, factor) in [("nginx", 4.0), ("large", 5.0)] {
        let folder = images.join(image);
        if args.quick || !folder.join("index.json").exists() {
            continue;
        }
        let layout = Layout::read(&folder)?;
        case(&format!("import {image}"), rounds, &|lab, name| Ok(moving::import(lab, name, &layout, factor)))?;
        case(&format!("import {image} again"), rounds, &|lab, name| moving::again(lab, name, &layout))?;
        case(&format!("export {image}"), rounds, &|lab, name| moving::export(lab, name, &layout))?;
    }
    for size in sizes {
        let layout = Layout::read(&images.join(format!("many-{size}")))?;
        let half = Layout::read(&images.join(format!("many-{size}-half")))?;
        case(&format!("list {size}"), rounds, &|lab, name| keeping::list(lab, name, &layout))?;
        case(&format!("tag beside {size}"), rounds, &|lab, name| keeping::tag(lab, name, &layout))?;
        case(&format!("gc, half of {size}"), rounds, &|lab, name| keeping::half(lab, name, &layout, &half))?;
        case(&format!("gc, nothing of {size}"), rounds, &|lab, name| keeping::nothing(lab, name, &layout))?;
    }
    let filled = Layout::read(&images.join(format!("many-{}", sizes[0])))?;
    case("one by one", 1, &|lab, name| Ok(moving::one_by_one(lab, name, &filled)))?;
    let (layers, processes): (_, usize) = if args.quick { (1_000, 4) } else { (20_000, 16) };
    let few = rounds.div_ceil(3);
    case("small blobs", few, &|lab, name| {
        let layout = written(&lab.scratch.join("small"), 1, layers, 4096)?;
        Ok(moving::small(lab, name, &layout))
    })?;
    case("processes, different images", few, &|lab, name| {
        let layouts =
            (0..processes as u64).map(|seed| written(&lab.scratch.join(format!("own-{seed}")), seed, 16, 1 << 20));
        crowd::different(lab, name, &layouts.collect::<Result<Vec<_>>>()?)
    })?;
    case("processes, the same image", few, &|lab, name| {
        let layout = written(&lab.scratch.join("same"), 99, 16, 4 << 20)?;
        crowd::same(lab, name, &layout, processes)
    })?;
    case("processes, tags", few, &|lab, name| crowd::tags(lab, name, &filled, processes))?;
    case("processes, questions", few, &|lab, name| crowd::questions(lab, name, &filled, processes))?;
    if let Some(file) = &args.json {
        let all = json!({ "surroundings": surroundings(&lab, rounds)?, "outcomes": outcomes });
        fs::write(file, serde_json::to_vec_pretty(&all)?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// A layout of one image; layers of the same seed are the same.
fn written(folder: &Path, seed: u64, layers: u64, size: usize) -> Result<Layout> {
    if !folder.exists() {
        let mut layout = Written::create(folder)?;
        let seeds: Vec<u64> = (0..layers).map(|number| (seed << 32) + number).collect();
        let image = layout.image("image", &seeds, size)?;
        layout.tag("image", &image);
        layout.finish()?;
    }
    Layout::read(folder)
}

/// On what this was measured.
fn surroundings(lab: &Lab, rounds: usize) -> Result<String> {
    let cpus = std::thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let stat = words(["stat", "-f", "-c", "%T", &lab.scratch.display().to_string()]);
    let tools: Vec<&str> =
        [&lab.skopeo, &lab.umoci, &lab.openssl].into_iter().flatten().map(|tool| tool.name.as_str()).collect();
    Ok(format!(
        "{cpus} processors ({}), Linux {}, {}; {}. {rounds} rounds after one to warm up, all in turn; medians.",
        model.map_or("unknown", |(_, name)| name.trim()),
        kernel.trim(),
        must(&stat)?.trim(),
        tools.join(", "),
    ))
}
