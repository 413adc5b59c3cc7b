//! Removing refs: by their names, and by a policy.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci_store_base::Txn;

use crate::history::{self, By, Operation};
use crate::{Error, Ref, RefName, Result, Store, refs};

/// As many are removed in one transaction: a disk that is full has room for a small one only.
const GROUP: usize = 256;

/// Which refs [`Store::prune`] removes. What is set narrows it down: a ref goes if all of it says so.
#[derive(Clone, Copy, Default)]
pub struct Policy<'p> {
    /// All but so many of each [name](RefName::base), the newest by the time at which they were set.
    pub keep_last: Option<usize>,
    /// Those that were set longer ago than this.
    pub older_than: Option<Duration>,
    /// Those that it takes; the others are not looked at, and not counted.
    pub filter: Option<&'p dyn Fn(&RefName) -> bool>,
}

impl fmt::Debug for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keep_last, older_than, filter } = self;
        let filter = filter.map(|_| "_");
        f.debug_struct("Policy")
            .field("keep_last", keep_last)
            .field("older_than", older_than)
            .field("filter", &filter)
            .finish()
    }
}

impl Policy<'_> {
    /// Those that are to go of the refs of one name, the oldest first.
    fn choose(&self, mut refs: Vec<Ref>, now: u64) -> Vec<Ref> {
        refs.retain(|found| self.filter.is_none_or(|takes| takes(&found.name)));
        // By the order in which they were set, whatever the clock said. Of an index that was built from the folder alone nobody
        // knows that: refs that are as old as the oldest that stays, stay.
        refs.sort_by_key(|found| (found.generation, found.updated));
        let kept = refs.split_off(refs.len().saturating_sub(self.keep_last.unwrap_or(0)));
        let oldest = kept.first().map(|found| found.generation);
        refs.retain(|found| oldest.is_none_or(|oldest| found.generation < oldest));
        let before = self.older_than.map(|age| now.saturating_sub(age.as_secs()));
        refs.retain(|found| before.is_none_or(|before| found.updated <= before));
        refs
    }

    fn is_empty(&self) -> bool {
        self.keep_last.is_none() && self.older_than.is_none() && self.filter.is_none()
    }
}

/// What has been removed so far.
#[derive(Default)]
struct Removal {
    removed: Vec<Option<Ref>>,
    /// The generation of the last.
    last: Option<u64>,
}

impl Removal {
    fn add(&mut self, group: Vec<Option<(u64, Ref)>>) {
        for old in group {
            self.last = old.as_ref().map(|(generation, _)| *generation).or(self.last);
            self.removed.push(old.map(|(_, old)| old));
        }
    }
}

impl Store {
    /// Removes a ref, and nothing else: blobs are the gc's. Atomic.
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`Error::NotShown`].
    pub fn remove_ref(&self, name: &RefName) -> Result<Ref> {
        let mut removed = self.remove_refs(std::slice::from_ref(name))?;
        removed.pop().flatten().ok_or_else(|| Error::RefNotFound(name.to_string()))
    }

    /// Removes refs, and nothing else; returns what each named, or `None` for one that is not there. Atomic up to
    /// 256 of them: an error of a later group leaves those of the groups before removed. `index.json` is written once.
    ///
    /// # Errors
    /// [`Error::NotShown`]; those of the base store.
    pub fn remove_refs(&self, names: &[RefName]) -> Result<Vec<Option<Ref>>> {
        let mut groups = names.chunks(GROUP);
        let changes = Cell::new(None);
        self.remove_in_groups(|| {
            let Some(names) = groups.next() else { return Ok(None) };
            let remove = |txn: &mut Txn<'_>, by| names.iter().map(|name| history::remove(txn, by, name)).collect();
            self.remove_group(Operation::Rm, &changes, remove).map(Some)
        })
    }

    /// Removes refs by a policy, and nothing else; returns those that went, or with `dry_run` those that would. What goes
    /// is decided in the transaction that removes it, from what is there then: a ref that is set anew meanwhile is a new
    /// one, and of each name as many stay as the policy says. Atomic up to 256 refs, as
    /// [`remove_refs`](Self::remove_refs) is; the oldest of a name go first. A policy that says nothing removes nothing.
    ///
    /// # Errors
    /// [`Error::NotShown`]; those of the base store.
    pub fn prune(&self, policy: &Policy<'_>, dry_run: bool) -> Result<Vec<Ref>> {
        self.refresh()?;
        if policy.is_empty() {
            return Ok(Vec::new());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut by_name: BTreeMap<String, Vec<Ref>> = BTreeMap::new();
        self.base().view(|view| {
            refs::each(view, &mut |found| {
                by_name.entry(found.name.base().to_owned()).or_default().push(found);
                Ok(())
            })
        })?;
        let mut would: Vec<(String, Vec<Ref>)> =
            by_name.into_iter().map(|(name, refs)| (name, policy.choose(refs, now))).collect();
        would.retain(|(_, chosen)| !chosen.is_empty());
        if dry_run {
            return Ok(would.into_iter().flat_map(|(_, chosen)| chosen).collect());
        }
        let mut names: VecDeque<String> = would.into_iter().map(|(name, _)| name).collect();
        let changes = Cell::new(None);
        let removed = self.remove_in_groups(|| {
            if names.is_empty() {
                return Ok(None);
            }
            let mut done = 0;
            let removed = self.remove_group(Operation::Prune, &changes, |txn, by| {
                done = 0;
                let mut group = Vec::new();
                for name in &names {
                    let chosen = policy.choose(refs::of(txn.view(), name)?, now);
                    for found in chosen.iter().take(GROUP - group.len()) {
                        group.push(history::remove(txn, by, &found.name)?);
                    }
                    if group.len() == GROUP {
                        break;
                    }
                    done += 1;
                }
                Ok(group)
            })?;
            names.drain(..done);
            Ok(Some(removed))
        })?;
        Ok(removed.into_iter().flatten().collect())
    }

    /// One transaction that removes, on a full disk too. `changes` is the number that all transactions of one call have in
    /// the log.
    fn remove_group(
        &self,
        operation: Operation,
        changes: &Cell<Option<u64>>,
        mut remove: impl FnMut(&mut Txn<'_>, By) -> Result<Vec<Option<(u64, Ref)>>>,
    ) -> Result<Vec<Option<(u64, Ref)>>> {
        let (by, removed) = self.base().with_reserve(Error::is_no_space, || {
            self.base().update(|txn| {
                let by = By::new(txn.view(), operation, changes.get())?;
                Ok::<_, Error>((by, remove(txn, by)?))
            })
        })?;
        if removed.iter().any(Option::is_some) {
            changes.set(Some(by.group));
        }
        Ok(removed)
    }

    /// Removes group by group until there is none, or one fails; then shows what is removed.
    fn remove_in_groups(
        &self,
        mut next: impl FnMut() -> Result<Option<Vec<Option<(u64, Ref)>>>>,
    ) -> Result<Vec<Option<Ref>>> {
        self.refresh()?;
        let mut removal = Removal::default();
        let ended = loop {
            match next() {
                Ok(Some(group)) => removal.add(group),
                Ok(None) => break Ok(()),
                // What the groups before have removed is to be shown all the same.
                Err(error) => break Err(error),
            }
        };
        if let Some(generation) = removal.last {
            let mut removed = removal.removed.iter().flatten();
            let done = || match (removed.next(), removed.count()) {
                (Some(one), 0) => format!("the ref {} is removed", one.name),
                (_, others) => format!("{} refs are removed", others + 1),
            };
            self.project(generation).map_err(|error| Error::not_shown(done())(error))?;
        }
        ended.map(|()| removal.removed)
    }
}
