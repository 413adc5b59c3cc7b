//! One of several that work on a store at once: random commands on refs and data of its own, and what they left.

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};

use super::chance::Chance;
use super::workload::{Places, State};
use crate::attack::program::Program;

pub(super) struct Worker {
    /// What its refs and its data begin with.
    name: String,
    chance: Chance,
    /// Images to import: their names and digests.
    images: Vec<(String, String)>,
    /// The guards that are taken out of its commands.
    without: Option<String>,
    /// What was acknowledged.
    state: State,
    /// What there is if the command under way was done.
    next: Option<State>,
    /// The commands that were acknowledged.
    pub(super) acknowledged: usize,
}

impl Worker {
    pub(super) fn new(number: usize, seed: u64, images: &[(String, String)], without: Option<&str>) -> Self {
        let chance = Chance::new(seed.wrapping_mul(1000).wrapping_add(number as u64));
        let images = images.to_vec();
        let (name, without) = (format!("w{number}-"), without.map(str::to_owned));
        Self { name, chance, images, without, state: State::default(), next: None, acknowledged: 0 }
    }

    /// What its refs begin with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs one command after the other, until it is over, or one fails. It may fail only when it is over.
    pub(super) fn work(
        &mut self,
        program: &Program,
        places: &Places,
        over: &AtomicBool,
        ended: &AtomicUsize,
    ) -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            let (args, next) = self.any(places);
            let mut command = program.command(&places.store, &args);
            if let Some(guards) = &self.without {
                command.env("OCI_STORE_WITHOUT", guards);
            }
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("does not start")?;
            self.next = Some(next);
            let mut error = String::new();
            if let Some(pipe) = &mut child.stderr {
                pipe.read_to_string(&mut error)?;
            }
            let status = child.wait()?;
            if !status.success() {
                anyhow::ensure!(over.load(Ordering::SeqCst), "{}: {status}: {}", args.join(" "), error.trim());
                return Ok(());
            }
            if over.load(Ordering::SeqCst) {
                return Ok(());
            }
            self.state = self.next.take().unwrap_or_default();
            self.acknowledged += 1;
            ended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes what is there after a power cut as its state; what is wrong about it, if something is.
    pub(super) fn accept(&mut self, there: State) -> Option<String> {
        let good = there == self.state || self.next.as_ref() == Some(&there);
        let wrong = format!("I2: {there:?}, and not {:?}, nor {:?}", self.state, self.next);
        self.state = there;
        self.next = None;
        (!good).then_some(wrong)
    }

    /// A command, and what there is after it.
    fn any(&mut self, places: &Places) -> (Vec<String>, State) {
        let mut next = self.state.clone();
        let refs: Vec<String> = next.refs.keys().cloned().collect();
        let old = refs.get(self.chance.below(refs.len())).cloned();
        let new = format!("{}{}", self.name, self.chance.below(5));
        let args: Vec<String> = match (self.chance.below(10), old) {
            (0..=3, _) | (_, None) => {
                let (image, digest) =
                    self.images.get(self.chance.below(self.images.len())).cloned().unwrap_or_default();
                next.refs.insert(new.clone(), digest);
                let source = places.sources.display().to_string();
                vec!["import".to_owned(), source, "--sref".to_owned(), image, "--dref".to_owned(), new]
            }
            (4, Some(old)) => {
                next.refs.insert(new.clone(), next.refs.get(&old).cloned().unwrap_or_default());
                vec!["tag".to_owned(), old, new]
            }
            (5..=6, Some(old)) => {
                next.refs.remove(&old);
                vec!["rm".to_owned(), old]
            }
            (7..=8, _) => {
                let size = next.data.get(&new).map_or(1, |size| size % 50 + 1);
                next.data.insert(new.clone(), size);
                ["data", "set", "kind", &new, &"v".repeat(size)].map(str::to_owned).to_vec()
            }
            _ => vec!["gc".to_owned()],
        };
        (args, next)
    }
}
