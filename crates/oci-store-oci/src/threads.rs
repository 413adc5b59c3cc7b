//! Work that several threads share.

use std::thread;

/// Runs `work` in `threads` threads, this one among them; in fewer, where no more are to be had (`ulimit -u`).
pub(crate) fn side_by_side(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 1..threads {
            if thread::Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}
