//! Threads where memory is limited.

use std::fs;

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
