//! `cargo xtask counts`: what commands ask of the disk, counted under ptrace. Unlike time it is the same on every
//! machine, so it is held: a change that makes a command sync or open more than it must fails here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::attack::inputs::Layout;
use crate::attack::program::{Build, Choice, Program};
use crate::attack::trace::{self, Answer, Class};

/// Which program to count.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    program: Choice,
}

/// What a command did, or what it may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Flushes of files, folders, or the filesystem.
    syncs: usize,
    /// Blobs of the store that were opened.
    blobs: usize,
    /// Blobs of the source that were opened.
    source: usize,
    /// Files that were made, renamed or removed, `.oci-store/` with its leases and temporary files aside.
    names: usize,
}

/// A command, what is done before it, and what it may do over LMDB and over SQLite.
struct Case {
    name: &'static str,
    before: &'static [&'static str],
    command: &'static str,
    lmdb: Counts,
    sqlite: Counts,
}

const fn counts(syncs: usize, blobs: usize, source: usize, names: usize) -> Counts {
    Counts { syncs, blobs, source, names }
}

/// SQLite's syncs are four more for each command that writes: it begins its log anew, and what is in it is brought into the
/// database when the command ends, as damage to a log would not be noticed. An import reads what the source lists once
/// more, to see what is about the image.
///
/// Of one image `one` with three layers of 2 MiB, one `wide` with 200 of 1 KiB, and ten images `ten-0` to `ten-9` with
/// three blobs of their own and one that they share. A blob costs a file of its own in the store; all else is constant.
const CASES: &[Case] = &[
    Case {
        // Five blobs, two folders, the commit, index.json and the folder that it is in.
        name: "import",
        before: &["gc"],
        command: "import @one",
        lmdb: counts(10, 0, 6, 6),
        sqlite: counts(14, 0, 6, 6),
    },
    Case {
        name: "import again",
        before: &["import @one"],
        command: "import @one",
        lmdb: counts(0, 1, 1, 0),
        sqlite: counts(0, 1, 1, 0),
    },
    Case {
        // One flush for all of them.
        name: "import of 200 small blobs",
        before: &["gc"],
        command: "import @wide",
        lmdb: counts(6, 0, 203, 203),
        sqlite: counts(10, 0, 203, 203),
    },
    Case {
        name: "export",
        before: &["import @one"],
        command: "export --sref one @out",
        lmdb: counts(0, 5, 0, 0),
        sqlite: counts(0, 5, 0, 0),
    },
    Case {
        name: "list",
        before: &["import --all @ten"],
        command: "list",
        lmdb: counts(0, 0, 0, 0),
        sqlite: counts(0, 0, 0, 0),
    },
    Case {
        // Of each image the config, and no manifest.
        name: "find of a platform",
        before: &["import --all @ten"],
        command: "find --platform linux/amd64",
        lmdb: counts(0, 10, 0, 0),
        sqlite: counts(0, 10, 0, 0),
    },
    Case {
        name: "tag",
        before: &["import --all @ten"],
        command: "tag ten-0 new",
        lmdb: counts(3, 0, 0, 1),
        sqlite: counts(7, 0, 0, 1),
    },
    Case {
        name: "rm of five",
        before: &["import --all @ten"],
        command: "rm ten-0 ten-1 ten-2 ten-3 ten-4",
        lmdb: counts(3, 0, 0, 1),
        sqlite: counts(7, 0, 0, 1),
    },
    Case {
        name: "gc with nothing to do",
        before: &["import --all @ten", "gc"],
        command: "gc",
        lmdb: counts(0, 0, 0, 0),
        sqlite: counts(0, 0, 0, 0),
    },
    Case {
        name: "gc of five images",
        before: &["import --all @ten", "gc", "rm ten-0 ten-1 ten-2 ten-3 ten-4"],
        command: "gc",
        lmdb: counts(2, 0, 0, 15),
        sqlite: counts(6, 0, 0, 15),
    },
];

/// Counts, prints a table, and fails where a command did more than it may.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Err(why) = trace::is_possible() {
        println!("counts: left out, as nothing can be traced here: {why}");
        return Ok(());
    }
    let program = args.program.get(Build::Plain)?;
    let scratch = tempfile::tempdir()?;
    let sources = scratch.path().join("sources");
    write_sources(&sources)?;
    let mut wrong = Vec::new();
    println!("| command | index | syncs | blobs opened | of the source | names changed |");
    println!("|---|---|---:|---:|---:|---:|");
    for case in CASES {
        for (index, limit) in [("lmdb", case.lmdb), ("sqlite", case.sqlite)] {
            let place = Place { sources: &sources, folder: tempfile::tempdir_in(scratch.path())?, index };
            let Counts { syncs, blobs, source, names } = place.count(&program, case)?;
            println!("| {} | {index} | {syncs} | {blobs} | {source} | {names} |", case.name);
            let is_within = syncs <= limit.syncs && blobs <= limit.blobs && source <= limit.source;
            if !(is_within && names <= limit.names) {
                wrong.push(format!("{}, {index}: more than {limit:?}", case.name));
            }
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => bail!("{}", wrong.join("\n")),
    }
}

fn write_sources(sources: &Path) -> Result<()> {
    for (name, layers, size) in [("one", 3, 2 << 20), ("wide", 200, 1 << 10)] {
        let folder = sources.join(name);
        let mut layout = Layout::create(&folder)?;
        let image = layout.image(name, &(1..=layers).collect::<Vec<_>>(), size)?;
        layout.tag(name, &image);
        layout.finish()?;
    }
    let folder = sources.join("ten");
    let mut layout = Layout::create(&folder)?;
    for number in 0..10 {
        let name = format!("ten-{number}");
        let image = layout.image(&name, &[1000, 1001 + number], 4 << 10)?;
        layout.tag(&name, &image);
    }
    layout.finish().map(drop)
}

/// A store of its own for one case.
struct Place<'p> {
    sources: &'p Path,
    folder: tempfile::TempDir,
    index: &'static str,
}

impl Place<'_> {
    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn words(&self, line: &str) -> Vec<String> {
        let out = self.folder.path().join("out");
        let word = |word: &str| match word.strip_prefix('@') {
            Some("out") => out.display().to_string(),
            Some(source) => self.sources.join(source).display().to_string(),
            None => word.to_owned(),
        };
        ["--index", self.index].into_iter().chain(line.split(' ')).map(word).collect()
    }

    fn count(&self, program: &Program, case: &Case) -> Result<Counts> {
        for line in case.before {
            program.must(&self.store(), self.words(line))?;
        }
        // What is known of index.json is believed once it is older than a tick of the clock.
        std::thread::sleep(Duration::from_millis(100));
        program.must(&self.store(), self.words("list"))?;
        let (store, sources) = (self.store(), self.sources.to_owned());
        let (blobs, own) = (store.join("blobs"), store.join(".oci-store"));
        let mut counts = Counts::default();
        let mut command = program.command(&store, self.words(case.command));
        let ended = trace::run(&mut command, Duration::from_secs(60), &mut |call| {
            let is_in = |folder: &Path| call.object_in(&[folder]).is_some();
            let is_blob = |path: PathBuf| path.parent().is_some_and(|folder| folder.ends_with("blobs/sha256"));
            match call.class() {
                Some(Class::Sync) => counts.syncs += 1,
                Some(Class::Open) if call.object_in(&[&blobs]).is_some_and(is_blob) => counts.blobs += 1,
                Some(Class::Open) if call.object_in(&[&sources]).is_some_and(is_blob) => counts.source += 1,
                Some(Class::Unlink) if is_in(&store) && !is_in(&own) => counts.names += 1,
                // What becomes visible under its name.
                Some(Class::Rename) if is_in(&blobs) || is_in(&store.join("index.json")) => counts.names += 1,
                _ => {}
            }
            Answer::Go
        })?;
        if ended.code != Some(0) {
            bail!("{}: {}", case.command, ended.stderr.trim());
        }
        Ok(counts)
    }
}
