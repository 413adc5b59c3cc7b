//! `cargo xtask scale`: one store of very many blobs, and what it costs to keep it.

mod layout;
mod took;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::attack::program::{Build, Choice, Program, cargo_build};
use crate::workspace_root;
use took::{Took, allocated, took};

/// How large, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Images, each with a ref: ten blobs of each are its own, and it has thirty edges
    #[arg(long, default_value_t = 100_000)]
    images: u64,
    /// Which index; by default one after the other
    #[arg(long, value_parser = ["lmdb", "sqlite", "both"], default_value = "both")]
    index: String,
    /// A folder for the store; what is made in it is removed [default: target]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    program: Choice,
    /// The program of the calls; by default it is built here, with both indexes
    #[arg(long, value_name = "FILE")]
    inside: Option<PathBuf>,
}

/// A figure, and what it is to be at most.
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// Of the processor, in milliseconds, where it is a command's.
    cpu: Option<f64>,
    limit: Option<f64>,
}

struct Scale<'s> {
    program: &'s Program,
    inside: &'s Path,
    folder: &'s Path,
    index: &'s str,
    figures: Vec<Figure>,
    /// The most anonymous memory that a command took, in KiB, and which.
    memory: (u64, String),
}

/// Measures, and prints Markdown.
pub(crate) fn run(args: &Args) -> Result<()> {
    let scratch = args.scratch.clone().unwrap_or_else(|| workspace_root().join("target"));
    let scratch = tempfile::Builder::new().prefix("scale-").tempdir_in(scratch)?;
    let folder = scratch.path().join("store");
    let program = args.program.get(Build::Plain)?;
    let build = || {
        Ok(cargo_build(Build::Plain, &["-p", "oci-store", "--example", "scale-inside"])?.join("examples/scale-inside"))
    };
    let inside = args.inside.clone().map_or_else(build, Ok::<_, anyhow::Error>)?;
    for index in ["lmdb", "sqlite"].into_iter().filter(|index| args.index == "both" || args.index == *index) {
        // From the beginning for each: what was collected is there again.
        let made = layout::make(&folder, args.images)?;
        println!("### {index}: {} blobs, {} refs, {} edges\n", made.blobs, made.refs, made.edges);
        let memory = (0, String::new());
        let mut scale =
            Scale { program: &program, inside: &inside, folder: &folder, index, figures: Vec::new(), memory };
        scale.measure(&made)?;
        scale.print();
        std::fs::remove_dir_all(folder.join(".oci-store"))?;
    }
    Ok(())
}

impl Scale<'_> {
    fn measure(&mut self, made: &layout::Made) -> Result<()> {
        let blobs = made.blobs as f64;
        let reindex = self.once("reindex", &["reindex"])?;
        self.time("reindex", reindex, None);
        self.note("reindex, for each blob", reindex.seconds * 1e6 / blobs, "µs", Some(10.0));
        let bytes = allocated(&self.folder.join(".oci-store"))? as f64;
        self.note("index", bytes / 1e6, "MB", Some((blobs + made.edges as f64) * 200.0 / 1e6));

        let prefix: String = made.some[0].chars().take(21).collect();
        self.several("resolve, a process", &["resolve", &prefix], 5.0)?;
        self.several("blobs --limit 100, a process", &["blobs", "--limit", "100"], f64::INFINITY)?;
        let list = self.once("list", &["list"])?;
        self.time("list of all refs", list, None);
        let stats = self.once("stats", &["stats"])?;
        self.time("stats", stats, None);
        self.calls(made)?;

        let first = self.once("first gc", &["gc"])?;
        self.time("gc, the first after reindex", first, None);
        let nothing = self.once("gc", &["gc"])?;
        self.time("gc, nothing to do", nothing, Some(2000.0));
        self.once("rm of a ref", &["rm", "image-1"])?;
        let one = self.once("gc after rm", &["gc"])?;
        self.time("gc after rm of one ref", one, Some(100.0));
        let full = self.beside_writes("gc --full", &["gc", "--full"], 2000.0)?;
        self.time("gc --full, nothing left", full, None);

        let tenth: Vec<String> = (0..made.refs / 10).map(|number| format!("image-{}", 10 * number + 5)).collect();
        let words: Vec<&str> = std::iter::once("rm").chain(tenth.iter().map(String::as_str)).collect();
        let rm = self.once("rm of a tenth", &words)?;
        self.time("rm of a tenth of the refs", rm, None);
        let garbage = self.beside_writes("gc of a tenth", &["gc"], 50.0)?;
        self.time("gc of a tenth of the images", garbage, None);
        let check = self.once("check", &["check"])?;
        self.time("check", check, None);
        self.note(
            &format!("most anonymous memory ({})", self.memory.1),
            self.memory.0 as f64 / 1024.0,
            "MiB",
            Some(64.0),
        );
        Ok(())
    }

    fn note(&mut self, what: &str, value: f64, unit: &'static str, limit: Option<f64>) {
        self.figures.push(Figure { what: what.to_owned(), value, unit, cpu: None, limit });
    }

    fn time(&mut self, what: &str, took: Took, limit: Option<f64>) {
        let memory = took.memory as f64 / 1024.0;
        eprintln!("{what}: {:.1} ms, {:.1} ms of the processor, {memory:.1} MiB", took.seconds * 1e3, took.cpu * 1e3);
        self.figures.push(Figure {
            what: what.to_owned(),
            value: took.seconds * 1e3,
            unit: "ms",
            cpu: Some(took.cpu * 1e3),
            limit,
        });
    }

    fn once(&mut self, what: &str, words: &[&str]) -> Result<Took> {
        let mut command = self.program.command(self.folder, ["--index", self.index]);
        let took = took(command.args(words)).with_context(|| what.to_owned())?;
        if took.memory > self.memory.0 {
            self.memory = (took.memory, what.to_owned());
        }
        Ok(took)
    }

    /// The median of eleven.
    fn several(&mut self, what: &str, words: &[&str], limit: f64) -> Result<()> {
        let mut times = (0..11).map(|_| Ok(self.once(what, words)?.seconds)).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        self.note(what, times[5] * 1e3, "ms", limit.is_finite().then_some(limit));
        Ok(())
    }

    fn calls(&mut self, made: &layout::Made) -> Result<()> {
        let digests = self.folder.with_extension("digests");
        std::fs::write(&digests, made.some.join("\n"))?;
        let output = Command::new(self.inside).arg(self.folder).arg("calls").arg(&digests).output()?;
        if !output.status.success() {
            bail!("calls: {}", String::from_utf8_lossy(&output.stderr));
        }
        let took: Value = serde_json::from_slice(&output.stdout)?;
        let of = |name: &str| took[name].as_f64().unwrap_or(f64::NAN);
        let resolve = if self.index == "lmdb" { 5.0 } else { 30.0 };
        self.note("resolve, a call", of("resolve"), "µs", Some(resolve));
        self.note("a blob's row, a call", of("blob"), "µs", None);
        self.note("a page of 100 blobs, a call", of("page"), "µs", Some(1000.0));
        self.note("a page of 100 refs, a call", of("refs"), "µs", None);
        self.note("a small transaction, durable", of("transaction") / 1e3, "ms", None);
        self.note("tag, with index.json, a call", of("tag") / 1e3, "ms", None);
        Ok(())
    }

    /// The same, while another process writes; notes how long that had to wait.
    fn beside_writes(&mut self, what: &str, words: &[&str], limit: f64) -> Result<Took> {
        let mut writer = Writer::start(self.inside, self.folder)?;
        let took = self.once(what, words);
        let waits = writer.end()?;
        let of = |name: &str| waits[name].as_f64().unwrap_or(f64::NAN);
        self.note(&format!("longest write beside {what}, of {}", of("count")), of("longest") / 1e3, "ms", Some(limit));
        self.note(&format!("median of these, {what}"), of("median") / 1e3, "ms", None);
        took
    }

    fn print(&self) {
        println!("| | {} | CPU ms | at most | |\n|---|---:|---:|---:|---|", self.index);
        for Figure { what, value, unit, cpu, limit } in &self.figures {
            let cpu = cpu.map_or_else(String::new, |cpu| format!("{cpu:.1}"));
            let verdict = limit.map_or("", |limit| if *value <= limit { "met" } else { "**missed**" });
            let limit = limit.map_or_else(String::new, |limit| format!("{limit:.0} {unit}"));
            println!("| {what} | {value:.1} {unit} | {cpu} | {limit} | {verdict} |");
        }
        println!();
    }
}

/// A process that writes without a pause.
struct Writer {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(inside: &Path, folder: &Path) -> Result<Self> {
        let mut child =
            Command::new(inside).arg(folder).arg("writes").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        Ok(Self { child, said })
    }

    fn end(&mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        std::io::stderr().flush()?;
        if !self.child.wait()?.success() {
            bail!("the process that writes failed");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
