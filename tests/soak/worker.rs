//! One of the processes of the soak (`cargo xtask soak`): threads that do a random mix of operations on a store that
//! others work on too, some through the library, some through the program, and that record what they did.
//!
//! It is an example so that it is built against the library as any program is. It takes, in this order: the store's
//! folder, the program, the index that the store is to have, a seed, threads, operations for each thread, the folder of
//! the soak, and a number that no other worker has.

mod data;
mod images;
mod outcome;
mod program;
mod random;
mod record;
mod refs;
mod thread;
mod upkeep;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outcome::Failed;
use record::{Record, seconds};
use thread::{Image, Job, Worker};

/// An operation that takes longer hangs. Nobody is stopped for nearly as long.
const HANGS: u64 = 60;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failed> {
    // Who started it would end it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let job = Arc::new(job()?);
    let store = oci_store::open(&job.store)?;
    let images = Arc::new(Image::all(&job.folder.join("sources"))?);
    let mut beats = Vec::new();
    let mut threads = Vec::new();
    for number in 0..job.threads {
        let record = Record::new(&job, number)?;
        beats.push(record.beat());
        let worker = Worker::new(Arc::clone(&job), store.clone(), Arc::clone(&images), record, number);
        threads.push(std::thread::spawn(move || worker.run()));
    }
    drop(store);
    let done = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
                let now = seconds();
                if let Some(since) = beats.iter().map(|beat| beat.load(Ordering::Relaxed)).find(|b| now > b + HANGS) {
                    eprintln!("worker: an operation hangs, since {} s", now - since);
                    std::process::abort();
                }
            }
        }
    });
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    done.store(true, Ordering::Relaxed);
    watch.join().map_err(|_| "the watch panicked")?;
    Ok(())
}

fn job() -> Result<Job, Failed> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or_else(|| format!("{what} is missing"));
    Ok(Job {
        store: PathBuf::from(next("store")?),
        program: PathBuf::from(next("program")?),
        index: next("index")?,
        seed: next("seed")?.parse()?,
        threads: next("threads")?.parse()?,
        operations: next("operations")?.parse()?,
        folder: PathBuf::from(next("folder")?),
        number: next("number")?.parse()?,
    })
}
