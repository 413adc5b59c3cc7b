use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::failure::code;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, Ctrl-C (or SIGTERM) asks the command to end and clean up. What has not ended a second later, or
/// is asked again, is ended: that is safe at any instruction, and leaves the next gc a little to do.
pub(crate) fn install() {
    let handled = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(code::INTERRUPTED.into());
        }
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            std::process::exit(code::INTERRUPTED.into());
        });
    });
    if let Err(error) = handled {
        tracing::debug!("no handler for Ctrl-C: {error}");
    }
}

pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
