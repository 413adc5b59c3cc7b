//! What a command that lasts tells meanwhile, on stderr: bars on a terminal, and elsewhere a line now and then. One that
//! is quick tells nothing.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use oci_store::cas::threads::has_room;
use oci_store::{Digest, Progress};

use crate::context::Context;
use crate::interrupt;
use crate::output::{count, size};

/// What takes no longer is not worth a bar; nor is a blob.
const QUICK: Duration = Duration::from_millis(500);
const FRAME: Duration = Duration::from_millis(100);
/// Where there is no terminal: the first line, and those after it.
const LONG: Duration = Duration::from_secs(15);
const LINES: Duration = Duration::from_secs(5);
/// How fast it is can't be told earlier: so long after the first bytes.
const MEASURED: Duration = Duration::from_secs(1);
/// Bars of single blobs, at most.
const SHOWN: usize = 8;

/// The bars that are on the terminal now.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Counts what is done, and has it told. Ctrl-C cancels what it counts.
#[derive(Debug)]
pub(crate) struct Bar {
    counted: Arc<Counted>,
    teller: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Counted {
    verb: &'static str,
    began: Instant,
    blobs: Count,
    bytes: Count,
    under_way: Mutex<HashMap<ThreadId, UnderWay>>,
}

#[derive(Debug, Default)]
struct Count {
    done: AtomicU64,
    all: AtomicU64,
}

impl Count {
    /// What is done, and what that is of.
    fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }
}

/// A blob whose bytes are passing.
#[derive(Clone, Debug)]
struct UnderWay {
    blob: Digest,
    size: u64,
    passed: u64,
    since: Instant,
}

impl Bar {
    pub(crate) fn new(context: &Context, verb: &'static str) -> Self {
        interrupt::install();
        let (blobs, bytes) = Default::default();
        let counted = Arc::new(Counted { verb, began: Instant::now(), blobs, bytes, under_way: Mutex::default() });
        let (end, ended) = mpsc::channel();
        let told = Arc::clone(&counted);
        // Where there is no thread to be had, nothing is told.
        let teller =
            (!context.is_quiet() && has_room()).then(|| thread::Builder::new().spawn(move || tell(&told, &ended)).ok());
        Self { counted, teller: teller.flatten().map(|teller| (end, teller)) }
    }
}

impl Counted {
    fn under_way(&self) -> MutexGuard<'_, HashMap<ThreadId, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `import: 3 of 12 blobs, 1.2 GiB of 3.4 GiB, 120 MiB/s, 19 seconds left`
    fn line(&self, elapsed: Duration) -> String {
        let ((blobs, of_blobs), (bytes, of_bytes)) = (self.blobs.get(), self.bytes.get());
        let mut line = format!("{}: {blobs} of {}", self.verb, count(of_blobs, "blob"));
        if of_bytes > 0 {
            let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
            line += &format!(", {} of {}, {}/s", size(bytes), size(of_bytes), size(rate as u64));
            if rate >= 1.0 {
                line += &format!(
                    ", {} left",
                    count((of_bytes.saturating_sub(bytes) as f64 / rate).ceil() as u64, "second")
                );
            }
        }
        line
    }
}

impl Progress for Bar {
    fn expect(&self, blobs: u64, bytes: u64) {
        self.counted.blobs.all.fetch_add(blobs, Ordering::Relaxed);
        self.counted.bytes.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn begin(&self, blob: &Digest, bytes: u64) {
        let begun = UnderWay { blob: blob.clone(), size: bytes, passed: 0, since: Instant::now() };
        self.counted.under_way().insert(thread::current().id(), begun);
    }

    fn passed(&self, bytes: u64) {
        self.counted.bytes.done.fetch_add(bytes, Ordering::Relaxed);
        if let Some(blob) = self.counted.under_way().get_mut(&thread::current().id()) {
            blob.passed += bytes;
        }
    }

    fn blob_done(&self) {
        self.counted.blobs.done.fetch_add(1, Ordering::Relaxed);
        self.counted.under_way().remove(&thread::current().id());
    }

    fn cancelled(&self) -> bool {
        interrupt::is_interrupted()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((end, teller)) = self.teller.take() {
            drop(end);
            let _ = teller.join();
        }
    }
}

/// Tells until it is over.
fn tell(counted: &Counted, ended: &Receiver<()>) {
    let goes_on = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !goes_on(QUICK) {
        return;
    }
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    if !bars.is_hidden() {
        set_bars(Some(bars.clone()));
        let mut shown = Shown::new(bars.clone());
        loop {
            shown.draw(counted);
            if !goes_on(FRAME) {
                break;
            }
        }
        set_bars(None);
        let _ = bars.clear();
        return;
    }
    let mut pause = LONG.saturating_sub(QUICK);
    while goes_on(pause) {
        pause = LINES;
        // What waits for somebody else has nothing to tell: that is said of the lock.
        if counted.blobs.get().1 > 0 {
            let _ = writeln!(io::stderr(), "{}", counted.line(counted.began.elapsed()));
        }
    }
}

/// The bars: one of all, and below it those of blobs that last.
struct Shown {
    bars: MultiProgress,
    all: ProgressBar,
    /// Since when there are bytes to be told of.
    bytes_since: Option<Instant>,
    template: &'static str,
    blobs: Vec<ProgressBar>,
}

impl Shown {
    fn new(bars: MultiProgress) -> Self {
        let (all, template) = (bars.add(ProgressBar::new(0)), template(None));
        all.set_style(style(template));
        Self { bars, all, bytes_since: None, template, blobs: Vec::new() }
    }

    fn draw(&mut self, counted: &Counted) {
        let ((blobs, of_blobs), (bytes, of_bytes)) = (counted.blobs.get(), counted.bytes.get());
        let is_first = self.bytes_since.is_none() && of_bytes > 0;
        if is_first {
            self.bytes_since = Some(Instant::now());
        }
        let template = template(self.bytes_since.map(|since| since.elapsed()));
        if template != self.template {
            self.template = template;
            self.all.set_style(style(template));
        }
        self.all.set_length(of_bytes);
        self.all.set_position(bytes);
        self.all.set_prefix(counted.verb);
        self.all.set_message(format!("{blobs}/{}", count(of_blobs, "blob")));
        let mut lasting: Vec<UnderWay> =
            counted.under_way().values().filter(|blob| blob.since.elapsed() >= QUICK).cloned().collect();
        lasting.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.blob.cmp(&b.blob)));
        // Of one alone, the bar of all tells enough.
        lasting.truncate(if of_blobs > 1 { SHOWN } else { 0 });
        while self.blobs.len() > lasting.len() {
            if let Some(bar) = self.blobs.pop() {
                self.bars.remove(&bar);
            }
        }
        while self.blobs.len() < lasting.len() {
            let bar = self.bars.add(ProgressBar::new(0));
            bar.set_style(style("  {msg} [{wide_bar}] {bytes}/{total_bytes}"));
            self.blobs.push(bar);
        }
        for (bar, blob) in self.blobs.iter().zip(lasting) {
            bar.set_length(blob.size);
            bar.set_position(blob.passed);
            bar.set_message(crate::table::short_digest(&blob.blob.to_string()).into_owned());
        }
        self.all.tick();
        if is_first {
            // What is done already was not done just now.
            self.all.reset_eta();
        }
    }
}

/// What the bar of all tells when there were bytes for so long.
fn template(with_bytes: Option<Duration>) -> &'static str {
    match with_bytes {
        None => "{prefix} {msg}",
        Some(time) if time < MEASURED => "{prefix} {msg} [{wide_bar}] {bytes}/{total_bytes}",
        Some(_) => "{prefix} {msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn set_bars(bars: Option<MultiProgress>) {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = bars;
}

/// Stderr, from which bars step aside for what is written.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*BARS.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bars) => bars.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_once_it_is_measured() {
        let tells_rate = |with_bytes| template(with_bytes).contains("bytes_per_sec");
        assert!(!tells_rate(None) && !tells_rate(Some(Duration::ZERO)) && !tells_rate(Some(FRAME)));
        assert!(tells_rate(Some(MEASURED)));
        assert!(template(Some(Duration::ZERO)).contains("{bytes}/{total_bytes}"));
    }

    #[test]
    fn a_line_tells_how_much_of_how_much_how_fast_and_how_long_still() {
        let (blobs, bytes) = Default::default();
        let counted = Counted { verb: "import", began: Instant::now(), blobs, bytes, under_way: Mutex::default() };
        assert_eq!(counted.line(Duration::from_secs(9)), "import: 0 of 0 blobs");
        let bar = Bar { counted: Arc::new(counted), teller: None };
        bar.expect(3, 40 << 20);
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        bar.begin(&digest, 20 << 20);
        bar.passed(10 << 20);
        assert_eq!(bar.counted.under_way().values().next().map(|blob| blob.passed), Some(10 << 20));
        bar.passed(10 << 20);
        bar.blob_done();
        assert!(bar.counted.under_way().is_empty());
        let line = bar.counted.line(Duration::from_secs(10));
        assert_eq!(line, "import: 1 of 3 blobs, 20.0 MiB of 40.0 MiB, 2.0 MiB/s, 10 seconds left");
    }
}
