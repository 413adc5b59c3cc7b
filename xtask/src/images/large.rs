//! `large`: how fast bytes move.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::contents::Contents;
use super::layout::{Layout, StoredLayer};

const FILE_MIB: u64 = 4;

/// One image of `layers` layers, each of `mib` MiB in files of a few MiB: noise and text by turns.
pub(super) fn write(folder: &Path, layers: u64, mib: u64) -> Result<()> {
    let mut layout = Layout::create(folder)?;
    let made = in_parallel(layers, |n| layer(&layout, n, mib))?;
    let manifest = layout.image("amd64", &made)?;
    layout.tag("latest", &manifest);
    layout.finish()
}

fn layer(layout: &Layout, n: u64, mib: u64) -> Result<StoredLayer> {
    layout.layer(&format!("large-{n}"), |layer| {
        let mut left = mib << 20;
        for file in 0.. {
            if left == 0 {
                break;
            }
            let size = left.min(FILE_MIB << 20);
            let path = format!("srv/{n}/{file:05}");
            let contents = if file % 2 == 0 { Contents::noise(&path) } else { Contents::text(&path) };
            layer.add(&path, contents, size)?;
            left -= size;
        }
        Ok(())
    })
}

/// `work` of 0, 1, … in this order, done by as many threads as there are cores.
fn in_parallel<T: Send>(count: u64, work: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicU64::new(0);
    let take_turns = || -> Result<Vec<(u64, T)>> {
        let mut done = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return Ok(done);
            }
            done.push((n, work(n).with_context(|| format!("layer {n}"))?));
        }
    };
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut done = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take_turns)).collect();
        for worker in workers {
            done.extend(worker.join().map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok(())
    })?;
    done.sort_by_key(|(n, _)| *n);
    Ok(done.into_iter().map(|(_, made)| made).collect())
}
