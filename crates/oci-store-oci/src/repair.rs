//! Repair: what is missing or damaged is fetched again, by its digest, from a source that has it.

use std::collections::BTreeSet;

use oci_store_base::Error as Base;
use oci_store_cas::Digest;

use crate::closure::closure;
use crate::intake::Intake;
use crate::progress::Progress;
use crate::source::{ImageSource, Source};
use crate::{Checked, Descriptor, Error, RefName, Result, Store, refs};

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Blobs that were missing or damaged, and are whole now.
    pub repaired: Vec<Digest>,
    /// How it is now: what is still wrong, is in none of the sources.
    pub checked: Checked,
}

impl Store {
    /// Checks images, as [`check`](Self::check) does with `read_data`, and fetches what is missing or damaged from
    /// `sources`, in their order; also what an image was let in without. They are asked for digests, and need not list the
    /// images. Each blob is verified as it streams, and takes the place of the bad one in one step: who reads it meanwhile
    /// has the old bytes or the new, and sees them fail, or not. Refs name what they named; one that was incomplete, and is
    /// whole now, is so no more.
    ///
    /// Idempotent. Safe beside all else: it is an import of what is there already.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; those of the base store. What a source lacks, or has damaged too, is none: the outcome
    /// says what is still wrong. But a stream that can't be read to its end is one.
    pub fn repair(&self, names: &[RefName], sources: Vec<Source<'_>>, progress: &dyn Progress) -> Result<Repaired> {
        let mut checked = self.check(names, true, progress)?;
        let before = self.wanted(&checked)?;
        for source in sources {
            if checked.problems.is_empty() && checked.incomplete.is_empty() {
                break;
            }
            self.distrust(&checked)?;
            match source {
                Source::InPlace(source) => self.repair_all(&*source, &checked, progress)?,
                Source::Stream(stream) => {
                    let lease = self.base().lease("repair")?;
                    self.repair_all(&stream.receive(self, &lease, progress)?, &checked, progress)?;
                }
            }
            // What a repaired manifest names may be missing as well: this look finds it.
            checked = self.check(names, true, &())?;
        }
        let after = self.wanted(&checked)?;
        Ok(Repaired { repaired: before.difference(&after).cloned().collect(), checked })
    }

    /// What a source could mend: what is wrong, and what images were let in without.
    fn wanted(&self, checked: &Checked) -> Result<BTreeSet<Digest>> {
        let mut wanted = bad(checked);
        self.base().view(|view| {
            for image in &checked.incomplete {
                if let Some(root) = root_of(view, image)? {
                    wanted.extend(closure(view, &root.digest)?.missing.into_iter().map(|missing| missing.digest));
                }
            }
            Ok::<_, Error>(())
        })?;
        Ok(wanted)
    }

    /// Notes of each blob that something is wrong with that it is damaged, also if it is its size, or its file is gone.
    fn distrust(&self, checked: &Checked) -> Result<()> {
        self.base().update(|txn| {
            for digest in bad(checked) {
                txn.note_check(&digest, false)?;
            }
            Ok(())
        })
    }

    fn repair_all(&self, source: &dyn ImageSource, checked: &Checked, progress: &dyn Progress) -> Result<()> {
        let problems = checked.problems.iter().map(|problem| problem.image.as_str());
        let images: BTreeSet<&str> = problems.chain(checked.incomplete.iter().map(String::as_str)).collect();
        for image in images {
            match self.repair_from(source, image, progress) {
                Err(error @ Error::Base(Base::Cancelled)) => return Err(error),
                Err(error) => tracing::warn!("{image}: {error}"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn repair_from(&self, source: &dyn ImageSource, name: &str, progress: &dyn Progress) -> Result<()> {
        // It may have been removed, or set to something else, since it was looked at.
        let Some(root) = self.base().view(|view| root_of(view, name))? else { return Ok(()) };
        let lease = self.base().lease("import")?;
        let mut intake = Intake::new(self, source, progress, &lease, false);
        let image = intake.walk(&root, false)?;
        intake.copy()?;
        for (digest, why) in intake.failures() {
            tracing::warn!("{digest}: {why}");
        }
        while intake.publish(&[&image], &mut |_| Ok(()))?.is_none() {}
        Ok(())
    }
}

fn bad(checked: &Checked) -> BTreeSet<Digest> {
    checked.problems.iter().map(|problem| problem.blob.digest.clone()).collect()
}

/// What a check calls an image: a ref's name, or the digest of a pin or a referrer.
fn root_of(view: oci_store_base::View<'_>, image: &str) -> Result<Option<Descriptor>> {
    if let Ok(name) = image.parse::<RefName>()
        && let Some(found) = refs::get(view, &name)?
    {
        return Ok(Some(found.target));
    }
    match image.parse::<Digest>() {
        Ok(digest) => Ok(match refs::unnamed(view, refs::PIN, &digest)? {
            None => refs::unnamed(view, refs::REFERRER, &digest)?,
            pin => pin,
        }),
        Err(_) => Ok(None),
    }
}
