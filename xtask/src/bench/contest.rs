//! Several ways to do one work, in turn, round after round: what a shared machine does to one, it does to all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::sample::{Sample, Work, measure};

type Prepare<'c> = Box<dyn Fn(&Path) -> Result<()> + 'c>;
type Commands<'c> = Box<dyn Fn(&Path) -> Vec<Vec<String>> + 'c>;

/// One way to do a work.
pub(super) struct Contender<'c> {
    pub(super) name: String,
    prepare: Prepare<'c>,
    commands: Commands<'c>,
}

impl<'c> Contender<'c> {
    /// `commands` are given a folder that is new in each round.
    pub(super) fn new(name: &str, commands: impl Fn(&Path) -> Vec<Vec<String>> + 'c) -> Self {
        Self { name: name.to_owned(), prepare: Box::new(|_| Ok(())), commands: Box::new(commands) }
    }

    /// What is done to the folder before, unmeasured.
    pub(super) fn after(mut self, prepare: impl Fn(&Path) -> Result<()> + 'c) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    fn once(&self, folder: &Path) -> Result<Sample> {
        let again = || format!("{} in {}", self.name, folder.display());
        fs::create_dir_all(folder).with_context(again)?;
        (self.prepare)(folder).with_context(again)?;
        let work = Work { commands: (self.commands)(folder), written: folder.to_owned() };
        let sample = measure(&work).with_context(again)?;
        Ok(sample)
    }
}

/// What one contender's time may be of another's.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Goal {
    /// The one that the store is compared with, by what its name begins with.
    pub(super) than: String,
    /// What the store's time, over either index, may be of that one's.
    pub(super) limit: f64,
}

/// At most `limit` times what another takes.
pub(super) fn within(limit: f64, than: &str) -> Goal {
    Goal { than: than.to_owned(), limit }
}

/// At least `times` as fast as another.
pub(super) fn faster(times: f64, than: &str) -> Goal {
    within(1.0 / times, than)
}

/// Several ways to do one work.
pub(super) struct Contest<'c> {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) contenders: Vec<Contender<'c>>,
    pub(super) goals: Vec<Goal>,
    /// Its rounds leave many small files, which are removed after the last one: ext4 is slow to make files where many
    /// have gone a moment ago.
    pub(super) many: bool,
}

/// What came out of one.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) rounds: Vec<(String, Vec<Sample>)>,
    pub(super) goals: Vec<Goal>,
}

impl Contest<'_> {
    /// Each contender once to warm up, then all of them in turn, to and fro, `rounds` times.
    pub(super) fn run(&self, scratch: &Path, rounds: usize) -> Result<Outcome> {
        let folder = scratch.join("rounds");
        let mut samples: Vec<(String, Vec<Sample>)> =
            self.contenders.iter().map(|contender| (contender.name.clone(), Vec::new())).collect();
        for round in 0..=rounds {
            // To and fro, as what the one before has left behind costs the next one.
            let mut order: Vec<usize> = (0..self.contenders.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for number in order {
                let (Some(contender), Some((_, samples))) = (self.contenders.get(number), samples.get_mut(number))
                else {
                    continue;
                };
                let own = folder.join(format!("{round}-{number}"));
                let sample = contender.once(&own)?;
                if !self.many {
                    fs::remove_dir_all(&own)?;
                }
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        fs::remove_dir_all(&folder)?;
        Ok(Outcome { name: self.name.clone(), about: self.about.clone(), rounds: samples, goals: self.goals.clone() })
    }
}
