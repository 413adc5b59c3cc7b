//! Work that several threads share.

use std::thread;

use oci_store_cas::threads::has_room;

/// Runs `work` in `threads` threads, this one among them; in fewer, where no more are to be had (`ulimit -u`, `ulimit -v`).
pub(crate) fn side_by_side(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 1..threads {
            if !has_room() || thread::Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}
