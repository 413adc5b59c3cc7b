//! What changed which ref, and when: a record each, written in the transaction that changes the ref. Records keep no
//! blob. Every change of a ref goes through here.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use oci_store_base::{Condition, Data, Space, Txn, View};
use oci_store_cas::Digest;
use serde::{Deserialize, Serialize};

use crate::closure::whole;
use crate::{Descriptor, Error, Ref, RefName, Result, Store, refs};

/// Records of changes, by the generation that each made.
pub(crate) const LOG: &str = "log";

/// A gc forgets what is older than so many generations, or than so many seconds, and begins to when it is a tenth more.
const GENERATIONS: u64 = 10_000;
const SECONDS: u64 = 90 * 24 * 3600;

/// Records that one transaction forgets.
const GROUP: usize = 512;

/// What changed a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// An import.
    Import,
    /// It was set to what something else names.
    Tag,
    /// It was given another name.
    Rename,
    /// It was removed.
    Rm,
    /// It was removed by a policy.
    Prune,
    /// Another tool wrote it into the store's folder.
    TakenIn,
    /// A change was undone.
    Undo,
    /// Something that a later version of this library does.
    #[serde(other)]
    Other,
}

impl Operation {
    /// Its name, for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Tag => "tag",
            Self::Rename => "rename",
            Self::Rm => "rm",
            Self::Prune => "prune",
            Self::TakenIn => "taken-in",
            Self::Undo => "undo",
            Self::Other => "other",
        }
    }
}

/// A change of a ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Change {
    /// The ref's name, after the change.
    #[serde(rename = "ref")]
    pub name: String,
    /// What changed it.
    #[serde(rename = "op")]
    pub operation: Operation,
    /// The name that it had before, if that is what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it named before, if it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Descriptor>,
    /// What it named before had been let in with parts missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old_incomplete: bool,
    /// What it names since, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Digest>,
    /// When, in seconds since 1970.
    pub time: u64,
    /// The same for all that one call changed.
    pub(crate) group: u64,
}

impl Change {
    /// Whether it is about the ref of this name, before or after.
    fn is_of(&self, name: &RefName) -> bool {
        self.name == name.as_str() || self.from.as_deref() == Some(name.as_str())
    }
}

/// A ref that was set back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Its name.
    pub name: RefName,
    /// What it names now; `None`: it is removed.
    pub digest: Option<Digest>,
}

/// Who changes refs: an operation, and the group of its changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By {
    pub(crate) operation: Operation,
    pub(crate) group: u64,
}

impl By {
    /// One that goes on with a group, or begins it.
    pub(crate) fn new(view: View<'_>, operation: Operation, group: Option<u64>) -> Result<Self> {
        // In a transaction: nobody else has this number.
        let group = group.map_or_else(|| Ok::<_, Error>(refs::generation(view)?.saturating_add(1)), Ok)?;
        Ok(Self { operation, group })
    }

    fn change(self, name: &RefName, old: Option<Ref>, new: Option<Digest>) -> Change {
        let (name, operation, time) = (name.to_string(), self.operation, now());
        let old_incomplete = old.as_ref().is_some_and(|old| old.incomplete);
        let old = old.map(|old| old.target);
        Change { name, operation, from: None, old, old_incomplete, new, time, group: self.group }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Sets a ref, as [`refs::set`].
pub(crate) fn set(
    txn: &mut Txn<'_>,
    by: By,
    name: &RefName,
    target: &Descriptor,
    incomplete: bool,
    condition: Condition,
) -> Result<u64> {
    let old = refs::get(txn.view(), name)?;
    let generation = refs::set(txn, name, target, incomplete, condition)?;
    if !old.as_ref().is_some_and(|old| old.target.digest == target.digest && old.incomplete == incomplete) {
        write(txn, generation, &by.change(name, old, Some(target.digest.clone())))?;
    }
    Ok(generation)
}

/// Removes a ref, as [`refs::remove`].
pub(crate) fn remove(txn: &mut Txn<'_>, by: By, name: &RefName) -> Result<Option<(u64, Ref)>> {
    let Some((generation, old)) = refs::remove(txn, name)? else { return Ok(None) };
    write(txn, generation, &by.change(name, Some(old.clone()), None))?;
    Ok(Some((generation, old)))
}

/// Gives a ref a name that is not there.
pub(crate) fn rename(txn: &mut Txn<'_>, by: By, old: &Ref, to: &RefName) -> Result<u64> {
    let set = refs::set(txn, to, &old.target, old.incomplete, Condition::Absent)?;
    let removed = refs::remove(txn, &old.name)?;
    let generation = removed.map_or(set, |(generation, _)| generation);
    let change = by.change(to, None, Some(old.target.digest.clone()));
    write(txn, generation, &Change { from: Some(old.name.to_string()), ..change })?;
    Ok(generation)
}

fn write(txn: &mut Txn<'_>, generation: u64, change: &Change) -> Result<()> {
    let value = serde_json::to_vec(change).map_err(|error| Error::document("record", error))?;
    // As text, numbers of one length sort as numbers.
    txn.set_data(Space::Store, LOG, &format!("{generation:020}"), &value, None, Condition::Any)?;
    Ok(())
}

fn decode(data: &Data) -> Result<Change> {
    serde_json::from_slice(&data.value).map_err(|error| Error::document(format!("record {:?}", data.key), error))
}

/// Writes what another index had.
pub(crate) fn restore(txn: &mut Txn<'_>, old: &Data) -> oci_store_base::Result<()> {
    txn.set_data(Space::Store, LOG, &old.key, &old.value, None, Condition::Any).map(drop)
}

/// Which of the oldest `limit` records are beyond the bounds by `slack` tenths.
fn overdue(view: View<'_>, slack: u64, limit: usize) -> Result<Vec<String>> {
    let beyond = |bound: u64| bound + bound / 10 * slack;
    let generation = refs::generation(view)?.saturating_sub(beyond(GENERATIONS));
    let time = now().saturating_sub(beyond(SECONDS));
    let mut keys = Vec::new();
    for data in view.data_page(Space::Store, LOG, "", None, limit)? {
        if data.key.parse().is_ok_and(|key: u64| key >= generation) && decode(&data)?.time >= time {
            break;
        }
        keys.push(data.key);
    }
    Ok(keys)
}

impl Store {
    /// What changed refs, the last change first: of one ref, or of all; at most `limit`. A gc forgets what is more than
    /// 10,000 changes or 90 days ago.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn log(&self, name: Option<&RefName>, limit: usize) -> Result<Vec<Change>> {
        let mut last = VecDeque::new();
        self.base().view(|view| {
            refs::each_record(view, LOG, &mut |data| {
                let change = decode(&data)?;
                if limit > 0 && name.is_none_or(|name| change.is_of(name)) {
                    if last.len() == limit {
                        last.pop_front();
                    }
                    last.push_back(change);
                }
                Ok(())
            })
        })?;
        Ok(last.into_iter().rev().collect())
    }

    /// Forgets changes of long ago, if there are enough of them.
    pub(crate) fn prune_log(&self) -> Result<()> {
        let mut slack = 1;
        while !self.base().view(|view| overdue(view, slack, 1))?.is_empty() {
            slack = 0;
            let prune = || {
                self.base().update(|txn| {
                    for key in overdue(txn.view(), slack, GROUP)? {
                        txn.delete_data(Space::Store, LOG, &key, Condition::Any)?;
                    }
                    Ok::<_, Error>(())
                })
            };
            self.base().with_reserve(Error::is_no_space, prune)?;
        }
        Ok(())
    }

    /// Undoes the last change of the ref `name`, or without one all that the last call changed: each ref names again what it
    /// did before, if that is still there. That is a change as well, which can be undone. Atomic. Returns the refs, each
    /// with what it names now.
    ///
    /// # Errors
    /// [`Error::NothingToUndo`]; [`Error::NotUndone`] around [`Error::Incomplete`] if a gc has taken some of it, or
    /// [`Error::RefConflict`]; [`Error::NotShown`].
    pub fn undo(&self, name: Option<&RefName>) -> Result<Vec<Undone>> {
        self.refresh()?;
        let (generation, undone) = self.base().update(|txn| {
            let changes = last_changes(txn.view(), name)?;
            if changes.is_empty() {
                return Err(Error::NothingToUndo(name.map(ToString::to_string)));
            }
            let by = By::new(txn.view(), Operation::Undo, None)?;
            let (mut generation, mut undone) = (refs::generation(txn.view())?, Vec::new());
            for change in changes.iter().rev() {
                let (made, now) = self.undo_one(txn, by, change).map_err(|error| match error {
                    error if error.hinders_all() => error,
                    error => Error::NotUndone { name: change.name.clone(), error: Box::new(error) },
                })?;
                generation = generation.max(made);
                undone.extend(now);
            }
            undone.sort_by(|a: &Undone, b| a.name.cmp(&b.name));
            Ok((generation, undone))
        })?;
        self.project(generation).map_err(Error::not_shown("it is undone"))?;
        Ok(undone)
    }

    fn undo_one(&self, txn: &mut Txn<'_>, by: By, change: &Change) -> Result<(u64, Vec<Undone>)> {
        let name: RefName = change.name.parse()?;
        let found = refs::get(txn.view(), &name)?;
        if found.as_ref().map(|found| &found.target.digest) != change.new.as_ref() {
            return Err(Error::RefConflict(change.name.clone()));
        }
        if let (Some(from), Some(found)) = (&change.from, &found) {
            let from: RefName = from.parse()?;
            let generation = rename(txn, by, found, &from)?;
            return Ok((
                generation,
                vec![Undone { name: from, digest: change.new.clone() }, Undone { name, digest: None }],
            ));
        }
        let Some(old) = &change.old else {
            let removed = remove(txn, by, &name)?;
            let generation = removed.map_or(0, |(generation, _)| generation);
            return Ok((generation, vec![Undone { name, digest: None }]));
        };
        self.read_edges(txn, old)?;
        let missing = whole(txn.view(), &self.as_source(), old)?.missing;
        if missing.iter().any(|missing| missing.path.is_empty() || !change.old_incomplete) {
            return Err(Error::Incomplete(missing));
        }
        txn.touch_blob(&old.digest)?;
        let generation = set(txn, by, &name, old, change.old_incomplete, Condition::Any)?;
        Ok((generation, vec![Undone { name, digest: Some(old.digest.clone()) }]))
    }
}

/// The last change of a ref, or the last group of all; in the order in which they were made.
fn last_changes(view: View<'_>, name: Option<&RefName>) -> Result<Vec<Change>> {
    let mut last: Option<Change> = None;
    refs::each_record(view, LOG, &mut |data| {
        let change = decode(&data)?;
        if name.is_none_or(|name| change.is_of(name)) {
            last = Some(change);
        }
        Ok(())
    })?;
    let Some(last) = last else { return Ok(Vec::new()) };
    if name.is_some() {
        return Ok(vec![last]);
    }
    // Those of other calls may stand between them: one that changes very many refs does it in steps.
    let mut group = Vec::new();
    refs::each_record(view, LOG, &mut |data| {
        group.extend(Some(decode(&data)?).filter(|change| change.group == last.group));
        Ok(())
    })?;
    Ok(group)
}
