//! Attacks on a store: each drives the real program as its users do, and afterwards asks a checker that shares no
//! code with it what is left. What they have in common is here; what they found is in `docs/reliability.md`.

pub(crate) mod checker;
pub(crate) mod commands;
pub(crate) mod controls;
pub(crate) mod crash;
pub(crate) mod faults;
pub(crate) mod fuzz;
pub(crate) mod hostile;
pub(crate) mod inputs;
pub(crate) mod interleave;
pub(crate) mod model;
pub(crate) mod patience;
pub(crate) mod powercut;
pub(crate) mod program;
pub(crate) mod race;
pub(crate) mod rot;
pub(crate) mod soak;
pub(crate) mod trace;

use anyhow::{Result, bail};

/// Both, in the order in which every attack goes through them.
pub(crate) const INDEXES: [&str; 2] = ["lmdb", "sqlite"];

/// What an attack has counted, and what it has found.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Each line names the case, so that it can be run again, and what fell.
    pub(crate) violations: Vec<String>,
}

impl Tally {
    /// Notes what fell in a case.
    pub(crate) fn fell(&mut self, case: &str, what: impl IntoIterator<Item = String>) {
        for what in what {
            let line = format!("{case}: {what}");
            eprintln!("VIOLATION {line}");
            self.violations.push(line);
        }
    }

    /// The end of an attack: its figures in one line, and an error if anything fell.
    pub(crate) fn close(self, figures: &str) -> Result<()> {
        println!("{figures}: {} violations", self.violations.len());
        if self.violations.is_empty() { Ok(()) } else { bail!("{} violations", self.violations.len()) }
    }
}
