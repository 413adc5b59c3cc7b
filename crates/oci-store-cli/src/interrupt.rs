//! Signals: what asks a command to end, and what must not end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use oci_store::cas::threads::has_room;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// The signal that came, or 0.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on, Ctrl-C (or SIGTERM, or SIGHUP) asks the command to end and clean up. What has not ended a second
/// later, or is asked again, is ended: that is safe at any instruction, and leaves the next gc a little to do.
pub(crate) fn install() {
    let ignored = ignored();
    // Whoever starts a command with `nohup`, or in the background of a script, wants it to go on.
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    if !has_room() {
        return;
    }
    let watch = Signals::new(wanted).and_then(|signals| thread::Builder::new().spawn(move || watch(signals)));
    if let Err(error) = watch {
        tracing::debug!("no handler for Ctrl-C: {error}");
    }
}

/// From now on, a write beyond the limit on the size of files (`ulimit -f`) fails like any other that there is no
/// room for, and does not kill the process.
pub(crate) fn outlive_file_limit() {
    if let Err(error) = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))) {
        tracing::debug!("no handler for SIGXFSZ: {error}");
    }
}

/// From now on, a command that is asked to end does so at once, as by a kill, and what it was at stays as it is: for who
/// is to go on with it.
pub(crate) fn end_at_once() {
    AT_ONCE.store(true, Ordering::Relaxed);
}

fn watch(mut signals: Signals) {
    for signal in signals.forever() {
        if AT_ONCE.load(Ordering::Relaxed) {
            // Nothing is told to stop, and so nothing is cleaned up.
            std::process::exit(code_of(signal).into());
        }
        if SIGNAL.swap(signal, Ordering::Relaxed) != 0 {
            std::process::exit(code().into());
        }
        // Without a thread for that, only what is asked twice is ended.
        if has_room() {
            let _ = thread::Builder::new().spawn(|| {
                thread::sleep(Duration::from_secs(1));
                std::process::exit(code().into());
            });
        }
    }
}

/// The signals that this process was started to ignore, a bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

pub(crate) fn is_interrupted() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// How a process ends that was asked to, as shells count it: 128 and the signal; 130 is Ctrl-C.
pub(crate) fn code() -> u8 {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => 128 + SIGINT as u8,
        signal => code_of(signal),
    }
}

fn code_of(signal: i32) -> u8 {
    128_u8.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}
