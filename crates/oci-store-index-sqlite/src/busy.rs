//! Waiting for a turn, as long as it takes.

use std::thread;
use std::time::Duration;

use rusqlite::ErrorCode;

/// SQLite's busy handler: sleeps 0.1 ms at first, 20 ms at most, and never gives up.
pub(crate) fn wait(tries: i32) -> bool {
    let doublings = tries.clamp(0, 8).unsigned_abs();
    thread::sleep(Duration::from_micros(100 << doublings).min(Duration::from_millis(20)));
    true
}

/// Runs `attempt` until it is not refused for being busy. SQLite does not ask its busy handler where it sees a
/// deadlock, while it recovers a log, or while it changes the journal mode. `attempt` must leave nothing behind
/// when it fails.
pub(crate) fn retry<T>(mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let mut tries = 0;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) => wait(tries),
            done => return done,
        };
        tries = tries.saturating_add(1);
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseBusy, DatabaseLocked, FileLockingProtocolFailed};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | FileLockingProtocolFailed))
}
