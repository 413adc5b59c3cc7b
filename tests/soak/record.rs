//! The record of what a thread did, which outlives the process: each line is written before the next thing is done.
//!
//! ```text
//! i TIME CALL OBJECT OP VALUE    before: a call on a register; `?` is a value that the caller does not know
//! r TIME CALL OBJECT ANSWER      after: `ok VALUE`, `absent`, `conflict`; none if it is not known how it ended
//! o TIME KIND OUTCOME            an operation is over
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::outcome::{End, Failed, Outcome};
use crate::thread::Job;

/// A call on a register: a ref, a pin, a value.
pub(crate) struct Call {
    pub(crate) object: String,
    /// `set`, `new` (only if it is absent), `del`, `get`, `cas`.
    pub(crate) op: &'static str,
    pub(crate) value: String,
}

impl Call {
    pub(crate) fn new(op: &'static str, object: impl ToString, value: impl ToString) -> Self {
        Self { object: object.to_string(), op, value: value.to_string() }
    }
}

pub(crate) struct Record {
    file: File,
    /// A byte for each operation of any worker.
    progress: File,
    calls: u64,
    beat: Arc<AtomicU64>,
}

impl Record {
    pub(crate) fn new(job: &Job, thread: u64) -> Result<Self, Failed> {
        let append = |name: String| OpenOptions::new().create(true).append(true).open(job.folder.join(name));
        let file = append(format!("history/{}-{thread}", job.number))?;
        let beat = Arc::new(AtomicU64::new(seconds()));
        Ok(Self { file, progress: append("progress".to_owned())?, calls: 0, beat })
    }

    /// Says when the last operation began.
    pub(crate) fn beat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.beat)
    }

    /// Before an operation.
    pub(crate) fn begin(&mut self, calls: &[Call]) -> Result<(), Failed> {
        self.beat.store(seconds(), Ordering::Relaxed);
        self.calls += 1;
        let (time, id) = (nanoseconds(), self.calls);
        let mut text = String::new();
        for call in calls {
            text.push_str(&format!("i {time} {id} {} {} {}\n", call.object, call.op, call.value));
        }
        Ok(self.file.write_all(text.as_bytes())?)
    }

    /// After it: `answers` are in the order of the calls.
    pub(crate) fn end(
        &mut self,
        kind: &str,
        calls: &[Call],
        answers: &[Option<String>],
        end: &Outcome,
    ) -> Result<(), Failed> {
        let (time, id) = (nanoseconds(), self.calls);
        let mut text = String::new();
        for (call, answer) in calls.iter().zip(answers) {
            if let Some(answer) = answer {
                text.push_str(&format!("r {time} {id} {} {answer}\n", call.object));
            }
        }
        let word = end.as_ref().err().map_or_else(|| "ok".to_owned(), End::word);
        text.push_str(&format!("o {time} {kind} {word}\n"));
        self.file.write_all(text.as_bytes())?;
        Ok(self.progress.write_all(b".")?)
    }
}

/// Of a clock that all processes share, and nobody sets.
pub(crate) fn nanoseconds() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    u128::from(now.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(now.tv_nsec.unsigned_abs())
}

pub(crate) fn seconds() -> u64 {
    clock_gettime(ClockId::Monotonic).tv_sec.unsigned_abs()
}
