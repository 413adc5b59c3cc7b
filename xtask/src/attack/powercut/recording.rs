//! A workload on a disk, as the disk saw it: every write, every flush, and between which of them each command ran.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::disk::{Entry, Pages};
use super::filesystem::Filesystem;
use super::place::Place;
use super::workload::{Places, Step};
use crate::attack::INDEXES;
use crate::attack::program::Program;

/// What came to the disk while the steps ran.
pub(super) struct Recording {
    pub(super) filesystem: Filesystem,
    pub(super) index: &'static str,
    pub(super) seed: u64,
    /// The disk before all that is logged.
    pub(super) base: Pages,
    pub(super) log: Vec<Entry>,
    /// For each step the position at which it began, and that at which it had ended.
    pub(super) ran: Vec<Range<usize>>,
}

/// What is to be recorded.
pub(super) struct Wanted<'w> {
    pub(super) filesystem: Filesystem,
    pub(super) index: &'static str,
    pub(super) seed: u64,
    pub(super) options: Option<&'w str>,
    /// The guards that are taken out.
    pub(super) without: Option<&'w str>,
}

impl Recording {
    /// Runs the steps on a new filesystem; each must succeed.
    pub(super) fn make(wanted: &Wanted, program: &Program, steps: &[Step], sources: &Path) -> Result<Self> {
        let place = Place::new(wanted.filesystem.size())?;
        let file = place.served.file();
        wanted.filesystem.make(&file)?;
        let base = {
            let mut state = place.served.disk.lock();
            state.log = Some(Vec::new());
            state.pages.clone()
        };
        let mounted = wanted.filesystem.mount(&place.served.file(), &place.mountpoint, wanted.options)?;
        let places = Places::new(mounted.folder(), sources);
        let mut ran = Vec::new();
        for step in steps {
            let mut command = step.command(program, &places);
            if let Some(guards) = wanted.without {
                command.env("OCI_STORE_WITHOUT", guards);
            }
            let begin = place.served.disk.position();
            let output = command.output().context("the program does not start")?;
            if !output.status.success() {
                bail!("{}: {}: {}", step.name(), output.status, String::from_utf8_lossy(&output.stderr).trim());
            }
            ran.push(begin..place.served.disk.position());
        }
        let log = place.served.disk.lock().log.take().unwrap_or_default();
        let Wanted { filesystem, index, seed, .. } = *wanted;
        Ok(Self { filesystem, index, seed, base, log, ran })
    }

    /// Filesystem and index.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.filesystem.name(), self.index)
    }

    /// Writes it down, for cases to be replayed later.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(path)?);
        let ran: Vec<_> = self.ran.iter().map(|range| json!([range.start, range.end])).collect();
        let head = json!({ "filesystem": self.filesystem.name(), "index": self.index, "seed": self.seed, "ran": ran,
            "base": self.base.iter().count(), "log": self.log.len() });
        writeln!(file, "{head}")?;
        let pages = self.base.iter().map(|(number, page)| (number * page.len() as u64, page.as_slice()));
        let log = self.log.iter().map(|entry| match entry {
            Entry::Write { offset, bytes } => (*offset, bytes.as_slice()),
            Entry::Flush => (u64::MAX, [].as_slice()),
        });
        for (offset, bytes) in pages.chain(log) {
            file.write_all(&offset.to_le_bytes())?;
            file.write_all(&(bytes.len() as u64).to_le_bytes())?;
            file.write_all(bytes)?;
        }
        Ok(file.flush()?)
    }

    /// Reads what was written down.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
        let mut head = String::new();
        file.read_line(&mut head)?;
        let head: Value = serde_json::from_str(&head).context("not a recording")?;
        let filesystem = clap::ValueEnum::from_str(head["filesystem"].as_str().unwrap_or_default(), false)
            .map_err(anyhow::Error::msg)?;
        let index = INDEXES.into_iter().find(|index| head["index"] == *index).context("no such index")?;
        let number = |value: &Value| value.as_u64().unwrap_or_default() as usize;
        let ran = head["ran"].as_array().into_iter().flatten().map(|range| number(&range[0])..number(&range[1]));
        let mut base = Pages::default();
        for _ in 0..number(&head["base"]) {
            let (offset, bytes) = read_write(&mut file)?;
            base.write(offset, &bytes);
        }
        let mut log = Vec::new();
        for _ in 0..number(&head["log"]) {
            log.push(match read_write(&mut file)? {
                (u64::MAX, _) => Entry::Flush,
                (offset, bytes) => Entry::Write { offset, bytes },
            });
        }
        let seed = head["seed"].as_u64().unwrap_or_default();
        Ok(Self { filesystem, index, seed, base, log, ran: ran.collect() })
    }
}

fn read_write(file: &mut impl Read) -> Result<(u64, Vec<u8>)> {
    let mut numbers = [[0; 8]; 2];
    for number in &mut numbers {
        file.read_exact(number)?;
    }
    let [offset, size] = numbers.map(u64::from_le_bytes);
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    Ok((offset, bytes))
}
