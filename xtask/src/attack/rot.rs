//! Bit rot: one bit of a small store flipped, at each place in turn. A flip in a blob is found and can be repaired from the
//! source; one elsewhere is found or harmless, and a reindex mends it. Never a crash, never wrong data.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::program::{Build, Choice, Program};
use super::{INDEXES, Tally, inputs};

/// What to flip.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Over which index
    #[arg(long, default_value = "both", value_parser = ["lmdb", "sqlite", "both"])]
    index: String,
    /// Only each K-th byte
    #[arg(long, value_name = "K", default_value_t = 1)]
    every: u64,
    /// This byte alone: a file below the store's folder, and the place in it
    #[arg(long, value_name = "FILE:BYTE", value_parser = place, conflicts_with = "every")]
    at: Option<(String, u64)>,
    #[command(flatten)]
    program: Choice,
}

fn place(text: &str) -> Result<(String, u64), String> {
    let (file, byte) = text.rsplit_once(':').ok_or("it takes FILE:BYTE")?;
    Ok((file.to_owned(), byte.parse().map_err(|error| format!("{byte}: {error}"))?))
}

/// A file of an index is looked at up to here: what is behind is a map's empty rest.
const MOST: u64 = 1 << 20;

/// A store, what it says when it is well, and where it came from.
struct Field<'f> {
    program: &'f Program,
    layout: PathBuf,
    store: PathBuf,
    refs: BTreeMap<String, String>,
    blobs: Vec<String>,
}

/// What became of the flips of a kind of file.
#[derive(Default)]
struct Counts {
    flips: u64,
    found: u64,
    named: u64,
    harmless: u64,
    crashed: u64,
    hidden: u64,
}

/// `cargo xtask rot`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = args.program.get(Build::Plain)?;
    let mut tally = Tally::default();
    let mut flips = 0;
    for index in INDEXES.into_iter().filter(|index| args.index == "both" || args.index == *index) {
        let near = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let scratch = tempfile::Builder::new().prefix("rot-").tempdir_in(near)?;
        let field = Field::new(&program, index, scratch.path())?;
        let places = match &args.at {
            Some(place) => vec![place.clone()],
            None => field.places(args.every.max(1))?,
        };
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = |worker: usize| -> Result<()> {
            while let Some((file, at)) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                let copy = scratch.path().join(format!("copy-{worker}"));
                let outcome = field.flip(&copy, file, *at).with_context(|| format!("{file} {at}"))?;
                if let Ok(mut outcomes) = outcomes.lock() {
                    outcomes.push((file.clone(), *at, outcome));
                }
            }
            Ok(())
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| -> Result<()> {
            let started: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
            started.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Ok(())))
        })?;
        let mut kinds: BTreeMap<String, Counts> = BTreeMap::new();
        for (file, at, outcome) in outcomes.into_inner().unwrap_or_default() {
            flips += 1;
            let kind = if file.starts_with("blobs/") { "blobs".to_owned() } else { file.clone() };
            let counts = kinds.entry(kind).or_default();
            counts.flips += 1;
            counts.found += u64::from(outcome.found);
            counts.named += u64::from(outcome.named);
            counts.harmless += u64::from(!outcome.found);
            counts.crashed += u64::from(outcome.crashed);
            counts.hidden += u64::from(outcome.hidden);
            tally.fell(&format!("rot --index {index} --at {file}:{at}"), outcome.wrong);
        }
        for (kind, Counts { flips, found, named, harmless, crashed, hidden }) in kinds {
            println!(
                "{index} {kind}: {flips} flips, {found} found ({named} with a word of reindex), {harmless} harmless, \
                 {crashed} with a crash, {hidden} with rows hidden from a question"
            );
        }
    }
    tally.close(&format!("rot: {flips} flips over {}", args.index))
}

/// What came of a flip.
#[derive(Default)]
struct Outcome {
    found: bool,
    named: bool,
    crashed: bool,
    hidden: bool,
    /// Whether there may be refs besides those that there were.
    may_add: bool,
    wrong: Vec<String>,
}

impl<'f> Field<'f> {
    fn new(program: &'f Program, index: &str, scratch: &Path) -> Result<Self> {
        let (layout, store) = (scratch.join("layout"), scratch.join("store"));
        let refs = inputs::overlapping(&layout, "rot", 2, 2, 300)?;
        let words = ["--index", index, "import", "--all"].map(PathBuf::from);
        program.must(&store, words.into_iter().chain([layout.clone()]))?;
        let rows: Vec<Value> = serde_json::from_str(&program.must(&store, ["--format", "json", "blobs"])?)?;
        let blobs = rows.iter().filter_map(|row| row["digest"].as_str().map(str::to_owned)).collect();
        Ok(Self { program, layout, store, refs, blobs })
    }

    /// Every K-th byte of every file; locks have none.
    fn places(&self, every: u64) -> Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let mut stack = vec![self.store.clone()];
        while let Some(path) = stack.pop() {
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    stack.push(entry?.path());
                }
            } else {
                let length = fs::metadata(&path)?.len().min(MOST);
                let bytes = first(&path, length)?;
                // The rest of a file that was made larger than it is used.
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
                files.push((path.strip_prefix(&self.store)?.to_string_lossy().into_owned(), used));
            }
        }
        files.sort();
        let all = files.iter().flat_map(|(file, used)| (0..*used).map(move |at| (file.clone(), at)));
        Ok(all.step_by(usize::try_from(every).unwrap_or(usize::MAX)).collect())
    }

    fn flip(&self, copy: &Path, file: &str, at: u64) -> Result<Outcome> {
        if copy.exists() {
            fs::remove_dir_all(copy)?;
        }
        let copied = Command::new("cp").args(["-a", "--sparse=always"]).args([&self.store, copy]).status()?;
        ensure!(copied.success(), "cp -a");
        let path = copy.join(file);
        let was = fs::metadata(&path)?.permissions();
        let target = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut byte = [0];
        target.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << (at % 8);
        target.write_all_at(&byte, at)?;
        fs::set_permissions(&path, was)?;
        match file.strip_prefix("blobs/") {
            Some(digest) => self.blob(copy, &digest.replacen('/', ":", 1)),
            None => self.other(copy, file),
        }
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, store: &Path, words: &[S], outcome: &mut Outcome) -> Result<Output> {
        let wanted = self.program.command(store, words);
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "60"]).arg(wanted.get_program()).args(wanted.get_args());
        let output = command.output().context("timeout, of coreutils")?;
        if output.status.code().is_none_or(|code| code >= 101) {
            outcome.crashed = true;
            let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
            outcome.wrong.push(format!("{}: {}: {}", words.join(" "), output.status, text(&output.stderr)));
        }
        Ok(output)
    }

    /// Found, named, given to nobody, and repaired.
    fn blob(&self, copy: &Path, digest: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let check = self.run(copy, &["check", "--read-data"], &mut outcome)?;
        let hex = digest.split(':').next_back().unwrap_or(digest);
        outcome.found = check.status.code() == Some(3) && text(&check.stderr).contains(hex);
        if !outcome.found {
            outcome.wrong.push(format!("check: {}: {}", check.status, text(&check.stderr)));
        }
        if self.run(copy, &["cat", digest], &mut outcome)?.status.success() {
            outcome.wrong.push("cat gives wrong bytes, and no error".to_owned());
        }
        let from = self.layout.as_os_str();
        let words = ["check", "--repair", "--from"].map(std::ffi::OsStr::new);
        let repair = self.run(copy, &[&words[..], &[from]].concat(), &mut outcome)?;
        if repair.status.code() != Some(0) {
            outcome.wrong.push(format!("repair: {}: {}", repair.status, text(&repair.stderr)));
        }
        let name = PathBuf::from("blobs").join(digest.replacen(':', "/", 1));
        if fs::read(copy.join(&name))? != fs::read(self.layout.join(&name))? {
            outcome.wrong.push("not the same after a repair".to_owned());
        }
        self.well(copy, "after a repair", &mut outcome)?;
        Ok(outcome)
    }

    /// Found or harmless; and mended by a reindex.
    fn other(&self, copy: &Path, file: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut errors = Vec::new();
        // Without its checksum, `index.json` is what another tool has written: one that has set a ref, too.
        outcome.may_add = file == "index.json";
        for words in [&["--format", "json", "list"][..], &["--format", "json", "blobs"], &["check", "--read-data"]] {
            let output = self.run(copy, words, &mut outcome)?;
            if output.status.success() {
                self.compare(words, &output, &mut outcome);
            } else {
                errors.push(text(&output.stderr));
            }
        }
        for digest in &self.blobs {
            let output = self.run(copy, &["cat", digest], &mut outcome)?;
            let bytes = fs::read(self.layout.join("blobs").join(digest.replacen(':', "/", 1)))?;
            if !output.status.success() {
                errors.push(text(&output.stderr));
            } else if output.stdout != bytes {
                outcome.wrong.push(format!("cat {digest}: wrong bytes"));
            }
        }
        if file.ends_with("data.mdb") && outcome.crashed {
            // LMDB trusts its pages, and a question reads few of them: it is ended, and has shown nothing wrong. What follows
            // has to mend that.
            outcome.wrong.retain(|wrong| !wrong.contains("signal: "));
            errors.push("a signal".to_owned());
        }
        // Neither index notices rows that its pages do not lead to any more, until a check looks at all of it.
        outcome.hidden = outcome.wrong.iter().any(|wrong| wrong.contains(": too few: "));
        outcome.found = !errors.is_empty();
        outcome.named = errors.iter().any(|error| error.contains("reindex"));
        let reindex = self.run(copy, &["reindex"], &mut outcome)?;
        // A config that can't be read is no index's business, and is told as what it is.
        let is_config = errors.iter().all(|error| error.contains("config.json") || error.contains("format"));
        if !(reindex.status.success() || outcome.found && is_config) {
            outcome.wrong.push(format!("reindex: {}: {}", reindex.status, text(&reindex.stderr)));
        }
        if reindex.status.success() {
            self.well(copy, "after reindex", &mut outcome)?;
        }
        Ok(outcome)
    }

    /// All is as it was.
    fn well(&self, copy: &Path, when: &str, outcome: &mut Outcome) -> Result<()> {
        for words in [&["--format", "json", "list"][..], &["--format", "json", "blobs"], &["check", "--read-data"]] {
            let output = self.run(copy, words, outcome)?;
            if output.status.success() {
                self.compare(words, &output, outcome);
            } else {
                outcome.wrong.push(format!("{when}: {}: {}", words.join(" "), text(&output.stderr)));
            }
        }
        Ok(())
    }

    /// Whether an answer is right.
    fn compare(&self, words: &[&str], output: &Output, outcome: &mut Outcome) {
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let field = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (right, is_part) = match words.last() {
            Some(&"list") => {
                let mut found: BTreeMap<_, _> =
                    rows.iter().map(|row| (field(row, "ref"), field(row, "digest"))).collect();
                if outcome.may_add {
                    found.retain(|name, digest| self.refs.contains_key(name) || !self.blobs.contains(digest));
                }
                let is_part = found.iter().all(|(name, digest)| self.refs.get(name) == Some(digest));
                (found == self.refs, is_part)
            }
            Some(&"blobs") => {
                let found: Vec<_> = rows.iter().map(|row| field(row, "digest")).collect();
                (found == self.blobs, found.iter().all(|digest| self.blobs.contains(digest)))
            }
            _ => (true, true),
        };
        if !right {
            let what = if is_part { "too few" } else { "wrong" };
            outcome.wrong.push(format!("{}: {what}: {}", words.join(" "), text(&output.stdout)));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().take(300).flat_map(char::escape_debug).collect()
}

fn first(path: &Path, length: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
