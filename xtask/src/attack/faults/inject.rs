//! One fault in one run, and what the program may make of it.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::mischief::{self, Mischief};
use crate::attack::commands::{Case, Ready};
use crate::attack::patience::LIMIT;
use crate::attack::trace::{self, Answer, Call, Class, Ended};

/// Which call goes wrong, and in which of the ways that it can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) call: u64,
    pub(super) way: usize,
    pub(super) lasting: bool,
    pub(super) hidden: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Injected {
    name: &'static str,
    class: Class,
    object: PathBuf,
    mischief: Mischief,
    /// The file had been written to since it was synced last.
    unsynced: bool,
    /// It was written anew after that. The names in a folder are no pages: whoever syncs them later, syncs them.
    renewed: bool,
    /// The names in it were durable before.
    named: bool,
    /// And then it was synced; or it was thrown away.
    made_good: bool,
}

impl Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {:?}", self.name, self.object.display(), self.mischief)
    }
}

/// The faults of a command: the number of each call on a file of ours, and each way in which it can go wrong.
pub(super) fn plan(ready: &Ready<'_>, folder: &Path) -> Result<Vec<(u64, usize)>> {
    let case = ready.case(folder)?;
    let mut plan = Vec::new();
    let mut calls = 0;
    trace::run(&mut ready.command(&case), LIMIT, &mut |call| {
        if object(ready, &case, call).is_some() {
            calls += 1;
            plan.extend((0..mischief::all(call).len()).map(|way| (calls, way)));
        }
        Answer::Go
    })?;
    Ok(plan)
}

/// The file of ours that a call is about. The memory that is synced is always the index's.
fn object(ready: &Ready<'_>, case: &Case, call: &Call) -> Option<PathBuf> {
    let class = call.class()?;
    if class == Class::Sync && call.name() == "msync" {
        return Some(case.store().join(".oci-store/index"));
    }
    call.object_in(&[&case.store(), &case.destination(), &ready.lab.input()])
}

impl Fault {
    /// Runs the command with the fault; nothing if it did not come that far this time.
    pub(super) fn inject(self, ready: &Ready<'_>, case: &Case) -> Result<Option<(Injected, Ended)>> {
        let mut calls = 0;
        let mut injected: Option<Injected> = None;
        let mut written = HashSet::new();
        // Folders in which the name of SQLite's log is durable, and such as were synced in this run.
        let mut durable: HashSet<PathBuf> = logs(&case.store());
        let ended = trace::run(&mut ready.command(case), LIMIT, &mut |call| {
            let Some(object) = object(ready, case, call) else { return Answer::Go };
            calls += 1;
            let unsynced = match call.class() {
                Some(Class::Write | Class::Copy | Class::Truncate) => {
                    written.insert(object.clone());
                    false
                }
                Some(Class::Sync) => written.remove(&object) || object.is_dir(),
                _ => false,
            };
            if let Some(before) = injected.as_mut().filter(|before| before.object == object) {
                before.renewed |= matches!(call.class(), Some(Class::Write | Class::Copy));
                before.made_good |= before.renewed && call.class() == Some(Class::Sync);
                before.made_good |= call.class() == Some(Class::Unlink);
            }
            match (&injected, call.class()) {
                (None, Some(class)) if calls >= self.call => {
                    let all = mischief::all(call);
                    let Some(mischief) = all.get(self.way % all.len().max(1)).copied() else { return Answer::Go };
                    let renewed = object.is_dir();
                    let named = durable.contains(&object);
                    injected = Some(Injected {
                        name: call.name(),
                        class,
                        object,
                        mischief,
                        unsynced,
                        renewed,
                        named,
                        made_good: false,
                    });
                    mischief.answer(call, self.hidden)
                }
                (Some(before), Some(class)) if self.lasting && before.goes_on(class, &object) => {
                    before.mischief.answer(call, self.hidden)
                }
                (_, class) => {
                    if class == Some(Class::Sync) && object.is_dir() {
                        durable.insert(object);
                    }
                    Answer::Go
                }
            }
        })?;
        Ok(injected.map(|injected| (injected, ended)))
    }
}

impl Injected {
    /// Whether a fault that lasts hits a later call too. Interruptions and short counts don't last.
    fn goes_on(&self, class: Class, object: &Path) -> bool {
        let lasts = !matches!(self.mischief, Mischief::Short | Mischief::Fails(nix::errno::Errno::EINTR));
        lasts && self.class == class && self.object == object
    }

    /// SQLite could not bring what it has in its log, synced, into its database: then the log is still there.
    fn is_checkpoint(&self) -> bool {
        let log = self.object.with_extension("sqlite-wal");
        self.object.ends_with("index.sqlite") && std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
    }

    /// SQLite syncs the folder of its log, whose name the store has made durable before, and does not look whether that
    /// went well.
    fn is_folder_of_log(&self) -> bool {
        self.named && self.object.join(LOG).exists()
    }

    /// What is wrong with how the program ended.
    pub(super) fn judge(&self, ended: &Ended) -> Vec<String> {
        let said = ended.stderr.trim();
        let mut lines = Vec::new();
        if ended.hung {
            lines.push(format!("I7: hung: {said}"));
        } else if let Some(signal) = ended.signal {
            lines.push(format!("I9: died by {signal}: {said}"));
        } else if said.contains("panicked at") {
            lines.push(format!("I9: {said}"));
        } else if ended.code == Some(0) {
            // Whoever syncs the same file once more is told that all is well, and it isn't.
            if self.class == Class::Sync
                && self.unsynced
                && !self.made_good
                && self.mischief != Mischief::Fails(nix::errno::Errno::EINTR)
                && !self.is_checkpoint()
                && !self.is_folder_of_log()
            {
                lines.push(format!("I9: success, and a sync has failed: {said}"));
            }
        } else {
            lines.extend(one_line(said));
        }
        lines
    }
}

/// SQLite's log.
const LOG: &str = "index.sqlite-wal";

/// The folders of a store's indexes that have one.
fn logs(store: &Path) -> HashSet<PathBuf> {
    let indexes = std::fs::read_dir(store.join(".oci-store/index")).into_iter().flatten().flatten();
    indexes.map(|index| index.path()).filter(|index| index.join(LOG).exists()).collect()
}

/// A failure is one line, and names an object and a cause (I9).
fn one_line(said: &str) -> Option<String> {
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors.as_slice() else {
        return Some(format!("I9: {} error lines: {said:?}", errors.len()));
    };
    let has_object = error.contains('/') || error.contains("sha256:");
    let has_cause = error.matches(": ").count() > 1;
    (!(has_object && has_cause)).then(|| format!("I9: names no object, or no cause: {error}"))
}
