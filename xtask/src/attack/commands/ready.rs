//! A scenario, made ready over one index: what lies there before the command, and what it makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Case, Lab, Scenario, copy};
use crate::attack::checker::examine;
use crate::attack::patience;

/// What can be told of a store: refs, those of a destination, and what the probes print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(super) refs: BTreeMap<String, String>,
    pub(super) exported: BTreeMap<String, String>,
    pub(super) probes: Vec<String>,
}

/// A scenario that can be run, as often as is wanted, from the same beginning.
#[derive(Debug)]
pub(crate) struct Ready<'l> {
    pub(crate) lab: &'l Lab,
    pub(crate) scenario: &'static Scenario,
    pub(crate) index: &'static str,
    bundle: PathBuf,
    pub(super) before: State,
    pub(super) after: State,
}

/// Every store has these, and one full collection behind it, so that a plain one is a plain one.
const SETUP: &[&str] = &[
    "import {base} --all",
    "data set note one 1",
    "data set note two 2",
    "blob-data set {layer} about 1",
    "pin base-1",
];

impl<'l> Ready<'l> {
    /// Makes a scenario ready. `None` if the program does not know its command.
    pub(crate) fn make(lab: &'l Lab, scenario: &'static Scenario, index: &'static str) -> Result<Option<Self>> {
        let bundle = lab.path().join(format!("{}-{index}", scenario.name));
        fs::create_dir_all(&bundle)?;
        let case = Case { folder: bundle.clone(), index };
        if !scenario.absent {
            let made = patience::run(lab.command(&case, "gc").args(["--index", index]))?;
            if let Some(failure) = made.failure() {
                bail!("{index}: gc: {failure}");
            }
            for line in SETUP.iter().chain(scenario.setup) {
                must(lab, &case, line)?;
                if *line == "pin base-1" {
                    must(lab, &case, "gc --full")?;
                }
            }
        }
        if let Some(by_hand) = scenario.by_hand {
            by_hand(lab, &case)?;
        }
        let mut ready = Self { lab, scenario, index, bundle, before: State::default(), after: State::default() };
        // The looks at the state before may change the store, as they open it; they have one of their own.
        let look = ready.case(&lab.path().join("before"))?;
        ready.before = ready.look(&look)?;
        let case = ready.case(&lab.path().join("after"))?;
        let done = patience::run(&mut ready.command(&case))?;
        if done.failure().is_some() && scenario.name == "import-archive" {
            println!("{index} {}: left out: the program says: {}", scenario.name, done.stderr.trim());
            return Ok(None);
        }
        if let Some(failure) = done.failure() {
            bail!("{index}: {}: {failure}", scenario.command);
        }
        ready.after = ready.look(&case)?;
        Ok(Some(ready))
    }

    /// A fresh copy to run the command in, in the place of what was there.
    pub(crate) fn case(&self, folder: &Path) -> Result<Case> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        copy(&self.bundle, folder)?;
        Ok(Case { folder: folder.to_owned(), index: self.index })
    }

    /// The command that is attacked, not started.
    pub(crate) fn command(&self, case: &Case) -> std::process::Command {
        self.line(case, self.scenario.command)
    }

    /// Any other.
    pub(crate) fn line(&self, case: &Case, line: &str) -> std::process::Command {
        let mut command = self.lab.command(case, line);
        if self.scenario.absent {
            command.args(["--index", self.index]);
        }
        command
    }

    fn look(&self, case: &Case) -> Result<State> {
        let mut state = State { exported: examine(&case.destination())?.refs, ..State::default() };
        for line in self.scenario.probes {
            let ended = patience::run(&mut self.line(case, line))?;
            if let Some(failure) = ended.failure() {
                bail!("{line}: {failure}");
            }
            state.probes.push(ended.stdout);
        }
        state.refs = examine(&case.store())?.refs;
        Ok(state)
    }
}

fn must(lab: &Lab, case: &Case, line: &str) -> Result<()> {
    match patience::run(&mut lab.command(case, line))?.failure() {
        None => Ok(()),
        Some(failure) => bail!("{line}: {failure}"),
    }
}
