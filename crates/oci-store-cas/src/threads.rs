//! Work that several threads share, also where memory is limited.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
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

/// As many threads as there are processors.
#[must_use]
pub fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` for each number below `count`, [side by side](side_by_side) unless they are less than `few`; returns what
/// came of them, in their order. After the first error no more are begun.
///
/// # Errors
/// The first error of `work`.
pub fn try_map<T: Send, E: Send>(
    count: usize,
    few: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((Vec::new(), None));
    side_by_side(if count < few { 1 } else { available().min(count) }, || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let outcome = work(number);
            let (good, failed) = &mut *done.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(one) => good.push((number, one)),
                Err(error) => {
                    failed.get_or_insert(error);
                    next.store(count, Ordering::Relaxed);
                }
            }
        }
    });
    let (mut good, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    good.sort_unstable_by_key(|(number, _)| *number);
    failed.map_or(Ok(good.into_iter().map(|(_, one)| one).collect()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_in_their_order_until_one_fails() {
        for few in [0, 1000] {
            let squares: Result<Vec<usize>, ()> = try_map(100, few, |n| Ok(n * n));
            assert_eq!(squares, Ok((0..100).map(|n| n * n).collect()));
            assert_eq!(try_map(0, few, |_| Ok::<(), ()>(())), Ok(vec![]));
            let begun = AtomicUsize::new(0);
            let failed = try_map(1_000_000, few, |n| {
                begun.fetch_add(1, Ordering::Relaxed);
                if n == 10 { Err(n) } else { Ok(()) }
            });
            assert_eq!(failed, Err(10));
            assert!(begun.into_inner() < 1_000_000);
        }
    }
}
