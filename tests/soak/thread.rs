//! A thread of the soak: which operation comes next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store::{ImageSource, Layout, Store};

use crate::outcome::{End, Failed, Outcome};
use crate::random::Random;
use crate::record::{Call, Record, seconds};

/// What a worker was told.
pub(crate) struct Job {
    pub(crate) store: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) index: String,
    pub(crate) seed: u64,
    pub(crate) threads: u64,
    pub(crate) operations: u64,
    pub(crate) folder: PathBuf,
    pub(crate) number: u64,
}

/// An image of a source.
pub(crate) struct Image {
    pub(crate) source: PathBuf,
    pub(crate) name: String,
    pub(crate) digest: String,
}

impl Image {
    pub(crate) fn all(sources: &Path) -> Result<Vec<Self>, Failed> {
        let mut images = Vec::new();
        for folder in std::fs::read_dir(sources)? {
            let source = folder?.path();
            for entry in Layout::open(&source)?.entries()? {
                let name = entry.name.ok_or("an image of a source has no name")?;
                images.push(Self { source: source.clone(), name, digest: entry.descriptor.digest.to_string() });
            }
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }
}

pub(crate) struct Worker {
    pub(crate) job: Arc<Job>,
    pub(crate) store: Store,
    pub(crate) images: Arc<Vec<Image>>,
    pub(crate) random: Random,
    record: Record,
    /// The same for nobody else.
    pub(crate) label: String,
    pub(crate) counted: u64,
}

type Operation = fn(&mut Worker) -> Result<(), Failed>;

/// Each operation, with how often it comes.
const MIX: &[(u64, Operation)] = &[
    (150, Worker::import),
    (6, Worker::import_all),
    (45, Worker::export),
    (15, Worker::export_together),
    (20, Worker::write),
    (60, Worker::cat),
    (90, Worker::tag),
    (60, Worker::tag_new),
    (80, Worker::remove),
    (30, Worker::remove_old),
    (45, Worker::rename),
    (20, Worker::pin),
    (25, Worker::unpin),
    (110, Worker::get),
    (45, Worker::list),
    (40, Worker::resolve),
    (25, Worker::gc),
    (8, Worker::gc_dry_run),
    (4, Worker::gc_full),
    (20, Worker::check),
    (3, Worker::check_all),
    (2, Worker::reindex),
    (2, Worker::convert),
    (50, Worker::set_data),
    (50, Worker::get_data),
    (20, Worker::remove_data),
    (50, Worker::count),
    (15, Worker::blob_data),
    (10, Worker::data_of_blob),
    (3, Worker::reopen),
];

impl Worker {
    pub(crate) fn new(job: Arc<Job>, store: Store, images: Arc<Vec<Image>>, record: Record, number: u64) -> Self {
        let random = Random::new(job.seed.wrapping_mul(1_000_003).wrapping_add(job.number * 64 + number));
        let label = format!("{}-{number}", job.number);
        Self { job, store, images, random, record, label, counted: 0 }
    }

    pub(crate) fn run(mut self) -> Result<(), Failed> {
        let total: u64 = MIX.iter().map(|(weight, _)| weight).sum();
        for _ in 0..self.job.operations {
            let mut at = self.random.below(total);
            for (weight, operation) in MIX {
                if at < *weight {
                    operation(&mut self)?;
                    break;
                }
                at -= weight;
            }
        }
        Ok(())
    }

    /// Whether the next operation is a process of its own.
    pub(crate) fn outside(&mut self) -> bool {
        self.random.permille(40)
    }

    /// Records an operation that is no call on a register.
    pub(crate) fn plain(&mut self, kind: &str, run: impl FnOnce(&mut Self) -> Outcome) -> Result<(), Failed> {
        self.record.begin(&[])?;
        let end = run(self);
        self.record.end(kind, &[], &[], &end)
    }

    /// Records a call on one register; `run` returns the value that was set, or seen.
    pub(crate) fn call(
        &mut self,
        kind: &str,
        call: Call,
        run: impl FnOnce(&mut Self) -> Outcome<String>,
    ) -> Result<(), Failed> {
        self.calls(kind, &[call], |worker| {
            let done = run(worker);
            (vec![answer(&done)], done.map(drop))
        })
    }

    /// Records calls on several registers; `run` returns an answer for each.
    pub(crate) fn calls(
        &mut self,
        kind: &str,
        calls: &[Call],
        run: impl FnOnce(&mut Self) -> (Vec<Option<String>>, Outcome),
    ) -> Result<(), Failed> {
        self.record.begin(calls)?;
        let (answers, end) = run(self);
        self.record.end(kind, calls, &answers, &end)
    }

    /// The refs of these seconds: all who are at work meet at them, and each history stays short.
    pub(crate) fn era(&self) -> u64 {
        seconds() / 2
    }

    /// One of the refs of now.
    pub(crate) fn name(&mut self) -> String {
        format!("e{}-{}", self.era(), self.random.below(8))
    }

    pub(crate) fn image(&mut self) -> Result<(PathBuf, String, String), Failed> {
        let image = self.random.pick(&self.images).ok_or("there are no images")?;
        Ok((image.source.clone(), image.name.clone(), image.digest.clone()))
    }
}

/// What the record says of a call that ended so.
pub(crate) fn answer(done: &Outcome<String>) -> Option<String> {
    match done {
        Ok(value) => Some(format!("ok {value}")),
        Err(End::Absent) => Some("absent".to_owned()),
        Err(End::Conflict) => Some("conflict".to_owned()),
        Err(End::Ambiguous | End::Killed | End::Bad(_)) => None,
    }
}
