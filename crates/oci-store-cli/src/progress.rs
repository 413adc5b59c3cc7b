use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oci_store::Progress;

use crate::interrupt;

/// A bar on stderr, where that is a terminal: bytes, rate, time left. Ctrl-C cancels what it shows.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(verb: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = "{prefix} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(verb);
        interrupt::install();
        Self(bar)
    }
}

impl Progress for Bar {
    fn expect(&self, _blobs: u64, bytes: u64) {
        self.0.inc_length(bytes);
    }

    fn passed(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn cancelled(&self) -> bool {
        interrupt::is_interrupted()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
