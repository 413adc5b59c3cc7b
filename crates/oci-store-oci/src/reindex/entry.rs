//! An entry of the list that an index is built for becomes a ref or a pin.

use oci_store_base::{Condition, Txn, View};

use super::documents::Lost;
use crate::closure::{Closure, Missing, closure, whole};
use crate::destination::DAMAGED;
use crate::media_type::is_document;
use crate::{Descriptor, Error, Layout, RefName, Result, refs};

/// One of the list.
pub(super) struct Entry {
    pub(super) root: Descriptor,
    /// In which it was set.
    pub(super) generation: u64,
    /// The store has written it: its image was whole once, or let in with parts missing, and it names its pins.
    pub(super) is_own: bool,
    /// It is about something.
    pub(super) is_referrer: bool,
}

impl Entry {
    /// Makes the ref or pin, or leaves it at the record of a referrer; says whether it was a ref, and what of the image is
    /// wrong: what is `failed`, and, unless nothing at all is missing or `lost`, what of that it needs. What is there of an own
    /// one stays kept, whatever is not: dropping the ref would lose that too.
    pub(super) fn make(
        &self,
        txn: &mut Txn<'_>,
        failed: Option<Error>,
        lost: Option<&Lost>,
        folder: &Layout,
    ) -> Result<(bool, Vec<String>)> {
        let mut lacking = Vec::new();
        match failed.map_or_else(|| self.fits(txn.view()), Err) {
            Err(error) if self.is_own && !error.hinders_all() => lacking.push(error.to_string()),
            fits => fits?,
        }
        let incomplete = self.root.annotation(refs::INCOMPLETE).is_some();
        if let Some(lost) = lost {
            let view = txn.view();
            let image = if incomplete { closure(view, &self.root.digest)? } else { whole(view, folder, &self.root)? };
            lacking.extend(self.lacks(&image, lost, incomplete)?);
        }
        // A name that is none by the grammar is not ours: another tool's entry, kept as such are kept.
        if let Some(name) = self.name() {
            let other = refs::get(txn.view(), &name)?;
            // Of several with one name the last stands for it, as in a merge. The others are kept without it.
            if let Some(other) = other.as_ref().filter(|other| other.target.digest != self.root.digest) {
                refs::add_unnamed(txn, refs::PIN, &other.target)?;
            }
            refs::restore(txn, &name, &self.root, incomplete, self.generation, Condition::Any)?;
            return Ok((other.is_none(), lacking));
        }
        if self.is_pin() {
            refs::add_unnamed(txn, refs::PIN, &self.root)?;
        } else if self.is_own {
            refs::add_unnamed(txn, refs::REFERRER, &self.root)?;
        }
        Ok((false, lacking))
    }

    fn name(&self) -> Option<RefName> {
        self.root.ref_name()?.parse().ok()
    }

    fn is_pin(&self) -> bool {
        self.root.annotation(refs::PINNED).is_some() || !(self.is_referrer || self.is_own)
    }

    /// Of what is no document nothing was read.
    fn fits(&self, view: View<'_>) -> Result<()> {
        let Descriptor { digest, size: expected, media_type, .. } = &self.root;
        match view.blob(digest)?.filter(|blob| blob.size != *expected && !is_document(media_type)) {
            None => Ok(()),
            Some(blob) => {
                let (digest, expected, truncated) = (digest.clone(), *expected, blob.size < *expected);
                Err(oci_store_cas::Error::SizeMismatch { digest, expected, actual: blob.size, truncated }.into())
            }
        }
    }

    /// What the image needs and is not there, or is damaged; an error, if that is too much to take it.
    fn lacks(&self, closure: &Closure, lost: &Lost, incomplete: bool) -> Result<Vec<String>> {
        let mut missing = closure.missing.clone();
        let mut lacking = Vec::new();
        for member in &closure.members {
            let Some((_, is_there)) = lost.get(&member.digest) else { continue };
            let (parent, role) = member.parent.unzip();
            let blob = Missing { digest: member.digest.clone(), role, path: closure.path_to(parent) };
            lacking.push(if *is_there { format!("{}: {DAMAGED}", blob.digest) } else { blob.to_string() });
            missing.push(blob);
        }
        let is_named = self.name().is_some() || self.root.annotation(refs::PINNED).is_some();
        let is_nothing = missing.iter().any(|missing| missing.path.is_empty());
        if !self.is_own && (is_nothing || (!missing.is_empty() && !incomplete && !is_named)) {
            let is_damaged = |blob: &&Missing| lost.get(&blob.digest).is_some_and(|(_, is_there)| *is_there);
            return Err(match missing.iter().find(is_damaged) {
                Some(damaged) => Error::document(&damaged.digest, DAMAGED),
                None => Error::Incomplete(missing),
            });
        }
        // What it was let in without is not wrong.
        lacking.extend(closure.missing.iter().filter(|_| !incomplete).map(ToString::to_string));
        Ok(lacking)
    }
}
