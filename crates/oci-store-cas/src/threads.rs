//! Work that several threads share, also where memory is limited.

use std::{fs, thread};

use rustix::process::{Resource, getrlimit};

/// More than a thread takes when it begins, in bytes, with something left for those that run.
const ROOM: u64 = 6 << 20;

/// Whether there is address space (`ulimit -v`) for one more thread. One that gets its stack and then nothing more ends the
/// process, and nobody can catch that.
#[must_use]
pub fn has_room() -> bool {
    let Some(limit) = getrlimit(Resource::As).current else { return true };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmSize:")?.split_whitespace().next()?.parse::<u64>().ok());
    size.is_none_or(|kib| kib.saturating_mul(1024).saturating_add(ROOM) <= limit)
}

/// Runs `work` in `threads` threads, this one among them; in fewer, where no more are to be had (`ulimit -u`, `ulimit -v`).
pub fn side_by_side(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 1..threads {
            if !has_room() || thread::Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}
