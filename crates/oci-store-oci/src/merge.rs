//! Taking in what another tool has written into the store's `index.json`: nothing of it is lost.
//!
//! A new name becomes a ref, after all that it reaches was verified; an entry without a name, or with one that is
//! none by the grammar, becomes a pin, or if it is about something, a referrer. Where a name means something else there than here, the newer wins: the
//! file says which generation its writer had read, and a ref that was not changed since was changed there. If it
//! was changed on both sides, ours wins, with a warning. A name that is missing there is put back: other tools lose
//! entries when two of them write at once. One that was removed here after the file was read stays removed.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::hash::{BuildHasher, RandomState};

use oci_store_base::{Condition, View};

use crate::entries::Entries;
use crate::history::{self, By, Operation};
use crate::intake::{Image, Intake};
use crate::layout::Layout;
use crate::source::ImageSource;
use crate::{Descriptor, RefName, Result, Store, refs};

/// Entries that are judged over one state.
const GROUP: usize = 1024;

/// What an entry is to become.
enum Adopt {
    Ref(RefName),
    Pin,
    Referrer,
}

impl Store {
    /// Merges the `entries` of a file whose writer had read `generation`. The caller holds the projection's lock.
    pub(crate) fn merge(&self, generation: u64, entries: &Entries) -> Result<()> {
        // Places by the hashes of their names: there may be very many.
        let (mut wanted, mut names, hashes) = (Vec::new(), HashMap::new(), RandomState::new());
        let mut left = (0..entries.len()).rev().peekable();
        while left.peek().is_some() {
            self.base().view(|view| {
                for place in left.by_ref().take(GROUP) {
                    let entry = entries.get(place)?;
                    // Of several with one name the last stands for it, as tools add entries at the end. The others are kept
                    // without it.
                    let later = match entry.ref_name().map(|name| names.entry(hashes.hash_one(name))) {
                        Some(Occupied(later)) => Some(entries.get(*later.get())?),
                        Some(Vacant(free)) => {
                            free.insert(place);
                            None
                        }
                        None => None,
                    };
                    let later = later.filter(|later| later.ref_name() == entry.ref_name());
                    if later.as_ref().is_some_and(|later| later.digest == entry.digest) {
                        continue;
                    }
                    let Some(adopt) = self.judge_entry(view, generation, &entry)? else { continue };
                    let is_other = later.is_some() && matches!(adopt, Adopt::Ref(_));
                    wanted.push((if is_other { Adopt::Pin } else { adopt }, place));
                }
                Ok::<_, crate::Error>(())
            })?;
        }
        wanted.reverse();
        if wanted.is_empty() {
            return Ok(());
        }
        let folder = Layout::of_store(self.root());
        let lease = self.base().lease("import")?;
        let mut intake = Intake::new(self, &folder, &(), &lease, true);
        let mut walked: Vec<(Adopt, Descriptor, Image)> = Vec::new();
        for (adopt, place) in wanted {
            let entry = entries.get(place)?;
            match intake.walk(&entry, false) {
                Ok(image) => walked.push((adopt, entry, image)),
                // Not the entry's fault: the file has to stay as it is, for the next one to merge.
                Err(error) if error.hinders_all() => return Err(error),
                Err(error) => tracing::warn!("{}: not taken in: {error}", label(&entry)),
            }
        }
        intake.copy()?;
        loop {
            let mut good = Vec::new();
            for (adopt, entry, image) in walked {
                let allowed = entry.annotation(refs::INCOMPLETE).is_some();
                match intake.settle(&image, allowed) {
                    Ok(incomplete) => good.push((adopt, entry, image, incomplete)),
                    Err(error) => tracing::warn!("{}: not taken in: {error}", label(&entry)),
                }
            }
            if good.is_empty() {
                return Ok(());
            }
            let images: Vec<&Image> = good.iter().map(|(_, _, image, _)| image).collect();
            let published = intake.publish(&images, &mut |txn| {
                let by = By::new(txn.view(), Operation::TakenIn, None)?;
                for (adopt, entry, _, incomplete) in &good {
                    match adopt {
                        // Whatever was decided about it before has to hold now.
                        Adopt::Ref(name) if !is_newer(txn.view(), generation, name, entry)? => {}
                        Adopt::Ref(name) => {
                            history::set(txn, by, name, entry, *incomplete, Condition::Any)?;
                        }
                        Adopt::Pin => {
                            refs::add_unnamed(txn, refs::PIN, entry)?;
                        }
                        // Its record was made when its edges were.
                        Adopt::Referrer => {}
                    }
                }
                Ok(())
            })?;
            if published.is_some() {
                return Ok(());
            }
            walked = good.into_iter().map(|(adopt, entry, image, _)| (adopt, entry, image)).collect();
        }
    }

    /// What an entry is to become, or nothing, if it is nothing new.
    fn judge_entry(&self, view: View<'_>, generation: u64, entry: &Descriptor) -> Result<Option<Adopt>> {
        let name = entry.ref_name().map(str::parse::<RefName>);
        if let Some(Err(error)) = &name {
            tracing::warn!("{error}: kept without it, as a pin");
        }
        if let Some(Ok(name)) = name {
            let newer = is_newer(view, generation, &name, entry)?;
            let ours = refs::get(view, &name)?;
            if let Some(ours) = ours.filter(|ours| !newer && ours.target.digest != entry.digest) {
                let (here, there) = (ours.target.digest, &entry.digest);
                tracing::warn!("{name}: changed here and by another tool: it stays {here}, and is not {there}");
            }
            return Ok(newer.then_some(Adopt::Ref(name)));
        }
        let digest = &entry.digest;
        if refs::removed(view, &digest.to_string())?.is_some_and(|old| old.generation > generation)
            || refs::unnamed(view, refs::PIN, digest)?.is_some()
            || refs::unnamed(view, refs::REFERRER, digest)?.is_some()
        {
            return Ok(None);
        }
        if entry.annotation(refs::PINNED).is_some() {
            return Ok(Some(Adopt::Pin));
        }
        let folder = Layout::of_store(self.root());
        Ok(Some(if is_about_something(&folder, entry) { Adopt::Referrer } else { Adopt::Pin }))
    }
}

fn is_about_something(source: &dyn ImageSource, entry: &Descriptor) -> bool {
    let Ok(Some(bytes)) = crate::source::read_document(source, entry) else { return false };
    let children = crate::document::children(entry, &bytes).unwrap_or_default();
    children.iter().any(|child| child.role == crate::Role::Subject)
}

/// Whether a named entry says something that is not known here and was not decided against.
fn is_newer(view: View<'_>, generation: u64, name: &RefName, entry: &Descriptor) -> Result<bool> {
    if let Some(ours) = refs::get(view, name)? {
        return Ok(ours.target.digest != entry.digest && ours.generation <= generation);
    }
    let Some(old) = refs::removed(view, name.as_str())?.filter(|old| old.generation > generation) else {
        return Ok(true);
    };
    if old.digest == entry.digest {
        return Ok(false);
    }
    if generation == 0 {
        // Its writer keeps no annotations, so nothing says what it had read: the name may be made anew.
        return Ok(true);
    }
    // What the name meant before its last target, or something new: the removal came after the file was read.
    tracing::warn!("{name}: removed here, and written by another tool as {}: it stays removed", entry.digest);
    Ok(false)
}

fn label(entry: &Descriptor) -> String {
    entry.ref_name().map_or_else(|| entry.digest.to_string(), |name| name.escape_debug().to_string())
}
