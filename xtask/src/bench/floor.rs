//! What the hardware needs for a work, where no program does just that.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};

/// Copies the files of a folder, each flushed by itself, on all processors.
#[derive(clap::Args)]
pub(crate) struct Args {
    from: PathBuf,
    to: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    fs::create_dir(&args.to)?;
    let names: Vec<_> = fs::read_dir(&args.from)?.collect::<io::Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let copy = || -> Result<()> {
        while let Some(entry) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            copy(&entry.path(), &args.to.join(entry.file_name()))
                .with_context(|| entry.path().display().to_string())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(copy)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread died"))?)
    })?;
    File::open(&args.to)?.sync_all()?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::create(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}
