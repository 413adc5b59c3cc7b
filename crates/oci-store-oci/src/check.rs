//! The completeness check: whether all that an image needs is in the store, and is what it should be.

use std::collections::HashSet;
use std::fmt;
use std::io::ErrorKind;

use oci_store_base::View;
use oci_store_cas::Digest;

use crate::closure::{Closure, Member, Missing, closure, whole};
use crate::progress::{Progress, check_cancelled};
use crate::seen::{GOOD, MET, READ, Seen};
use crate::source::ImageSource;
use crate::{Error, Reading, RefName, Result, Store, refs};

/// What a check has found wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It is not there.
    Missing,
    /// Its file has another size than it should.
    WrongSize,
    /// Its bytes are not those that its digest names.
    Damaged,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Which image: a ref's name, or the digest of a pin, or of a referrer.
    pub image: String,
    /// What is wrong.
    pub fault: Fault,
    /// With which blob, and the path to it.
    pub blob: Missing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = &self.blob;
        match self.fault {
            Fault::Missing => write!(f, "{}: {blob}", self.image),
            Fault::WrongSize => write!(f, "{}: {}: its file has the wrong size", self.image, blob.digest),
            Fault::Damaged => write!(f, "{}: {}: its bytes are damaged", self.image, blob.digest),
        }
    }
}

/// What a check has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// How many images.
    pub images: u64,
    /// How many blobs, each counted once.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were read and hashed.
    pub read: u64,
    /// The bytes of those.
    pub read_bytes: u64,
    /// All that is wrong with images.
    pub problems: Vec<Problem>,
    /// What is wrong with the index, which is looked at if all images are: nothing else is, then.
    pub index: Option<String>,
    /// Images that lack something that they were let in without.
    pub incomplete: Vec<String>,
}

/// What is to be checked.
struct Image {
    kept: Kept,
    root: Digest,
    incomplete: bool,
}

/// What makes it one.
enum Kept {
    Ref(RefName),
    Pin,
    /// It is about an image, and nobody has named it.
    Referrer,
}

impl Image {
    /// What it is called in messages.
    fn label(&self) -> String {
        match &self.kept {
            Kept::Ref(name) => name.to_string(),
            Kept::Pin | Kept::Referrer => self.root.to_string(),
        }
    }

    fn name(&self) -> Option<&RefName> {
        match &self.kept {
            Kept::Ref(name) => Some(name),
            Kept::Pin | Kept::Referrer => None,
        }
    }

    /// What it consists of, or `None` if it is no image any more.
    fn closure(&self, view: View<'_>, source: &dyn ImageSource) -> Result<Option<Closure>> {
        let found = match &self.kept {
            Kept::Ref(name) => refs::get(view, name)?.map(|found| found.target),
            Kept::Pin => refs::unnamed(view, refs::PIN, &self.root)?,
            Kept::Referrer => refs::unnamed(view, refs::REFERRER, &self.root)?,
        };
        let Some(root) = found.filter(|found| found.digest == self.root) else { return Ok(None) };
        if self.incomplete { closure(view, &root.digest) } else { whole(view, source, &root) }.map(Some)
    }
}

/// Passes on that it is cancelled, and nothing else: what is looked at again was counted.
struct Unheard<'p>(&'p dyn Progress);

impl Progress for Unheard<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

impl Store {
    /// Checks images: that every blob that they need has a row and a file of the right size, and of those that
    /// `reading` takes, that the bytes are those that the digest names; `true` is all, `false` none. `names` are refs;
    /// none means all refs and pins, what is about them, and the rows of the index. What an image was let in without is not
    /// wrong.
    ///
    /// The outcome of reading is recorded: a blob found damaged is fetched again by the next import that has it. And a ref
    /// of which it is noted that its image lacks something is told to be whole once it is.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; those of the base store.
    pub fn check(&self, names: &[RefName], reading: impl Into<Reading>, progress: &dyn Progress) -> Result<Checked> {
        let index = if names.is_empty() { self.index_damage()? } else { None };
        match index {
            None => self.check_images(names, reading.into(), progress),
            index => Ok(Checked { index, ..Checked::default() }),
        }
    }

    /// What is wrong with the index.
    pub(crate) fn index_damage(&self) -> Result<Option<String>> {
        match self.base().check_index() {
            Ok(()) => Ok(None),
            Err(error @ oci_store_base::Error::IndexLost { .. }) => Ok(Some(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The same as [`check`](Self::check), but for the index.
    pub(crate) fn check_images(&self, names: &[RefName], reading: Reading, progress: &dyn Progress) -> Result<Checked> {
        if reading == Reading::Nothing {
            return Ok(self.look(names, reading, progress)?.0);
        }
        let (mut checked, seen) = self.look(names, reading, &Unheard(progress))?;
        let read = self.read_blobs(&seen, reading, progress)?;
        drop(seen);
        // What was read badly is noted; what was read well, and was noted as damaged, is not any more. And an image may
        // have been removed, and collected, meanwhile.
        if read.bad > 0 || !checked.problems.is_empty() {
            checked = self.look(names, Reading::Nothing, &Unheard(progress))?.0;
        }
        Ok(Checked { read: read.blobs, read_bytes: read.bytes, ..checked })
    }

    /// The images that are called so; all, pins and referrers too, if none is.
    fn images(&self, names: &[RefName]) -> Result<Vec<Image>> {
        let of = |found: refs::Ref| Image {
            kept: Kept::Ref(found.name),
            root: found.target.digest,
            incomplete: found.incomplete,
        };
        let mut images: Vec<Image> = Vec::new();
        self.base().view(|view| {
            for name in names {
                let found = refs::get(view, name)?;
                images.push(of(found.ok_or_else(|| Error::RefNotFound(name.to_string()))?));
            }
            if !names.is_empty() {
                return Ok(());
            }
            refs::each(view, &mut |found| {
                images.push(of(found));
                Ok(())
            })?;
            refs::each_unnamed(view, refs::PIN, &mut |pin| {
                images.push(Image { kept: Kept::Pin, root: pin.digest, incomplete: false });
                Ok(())
            })?;
            // They came with images, and if one of these was let in without something, so may they have been.
            let incomplete = images.iter().any(|image| image.incomplete);
            refs::each_unnamed(view, refs::REFERRER, &mut |about| {
                images.push(Image { kept: Kept::Referrer, root: about.digest, incomplete });
                Ok(())
            })
        })?;
        Ok(images)
    }

    /// Looks at images without reading blobs. Returns also what there is to be read: blobs with a file of the right size.
    fn look(&self, names: &[RefName], reading: Reading, progress: &dyn Progress) -> Result<(Checked, Seen)> {
        let mut checked = Checked::default();
        let images = self.images(names)?;
        let mut seen = if names.is_empty() { self.base().view(Seen::with_all)? } else { Seen::default() };
        let mut became_whole: Vec<RefName> = Vec::new();
        for image in images {
            let Some(closure) = self.base().view(|view| image.closure(view, &self.as_source()))? else { continue };
            let is_image = !matches!(image.kept, Kept::Referrer);
            checked.images += u64::from(is_image);
            let mut new = (0, 0);
            for member in &closure.members {
                if seen.mark(&member.digest, 0) & MET == 0 {
                    new = (new.0 + 1, new.1 + member.size);
                }
            }
            progress.expect(new.0, 0);
            checked.blobs += new.0;
            checked.bytes += new.1;
            let mut problems = self.look_at(&image, &closure, reading, progress, &mut seen)?;
            if !problems.is_empty() {
                // Or it was removed, and collected, while it was looked at.
                problems = self.look_again(&image, reading, progress, &mut seen)?;
            }
            if is_image && image.incomplete && !closure.missing.is_empty() {
                checked.incomplete.push(image.label());
            }
            if image.incomplete && closure.missing.is_empty() && problems.is_empty() {
                became_whole.extend(image.name().cloned());
            }
            checked.problems.extend(problems);
        }
        if !became_whole.is_empty()
            && let Err(error) = self.note_whole(&became_whole)
        {
            // What was found is true all the same.
            tracing::warn!("it could not be noted that {became_whole:?} are whole now: {error}");
        }
        Ok((checked, seen))
    }

    /// Takes back the note that images of refs lack something, of those that do not any more.
    fn note_whole(&self, names: &[RefName]) -> Result<()> {
        let generation = self.base().update(|txn| {
            let mut generation = 0;
            for name in names {
                let Some(found) = refs::get(txn.view(), name)?.filter(|found| found.incomplete) else { continue };
                if whole(txn.view(), &self.as_source(), &found.target)?.missing.is_empty() {
                    generation = refs::set_whole(txn, &found)?;
                }
            }
            Ok::<_, Error>(generation)
        })?;
        if generation == 0 { Ok(()) } else { self.project(generation) }
    }

    /// What is wrong with an image that nobody can take away meanwhile: a lease names it, and it is still an image
    /// after that.
    fn look_again(
        &self,
        image: &Image,
        reading: Reading,
        progress: &dyn Progress,
        seen: &mut Seen,
    ) -> Result<Vec<Problem>> {
        let lease = self.base().lease("check")?;
        let mut named = HashSet::new();
        loop {
            let Some(closure) = self.base().view(|view| image.closure(view, &self.as_source()))? else {
                return Ok(Vec::new());
            };
            let new: Vec<Digest> = closure
                .members
                .iter()
                .map(|member| member.digest.clone())
                .filter(|d| named.insert(d.clone()))
                .collect();
            if new.is_empty() {
                return self.look_at(image, &closure, reading, &Unheard(progress), seen);
            }
            lease.name(&new)?;
        }
    }

    /// Looks at the blobs of a closure that are not known to be good.
    fn look_at(
        &self,
        image: &Image,
        closure: &Closure,
        reading: Reading,
        progress: &dyn Progress,
        seen: &mut Seen,
    ) -> Result<Vec<Problem>> {
        let problem = |fault, blob| Problem { image: image.label(), fault, blob };
        let missing = closure.missing.iter().filter(|_| !image.incomplete);
        let mut problems: Vec<Problem> = missing.map(|missing| problem(Fault::Missing, missing.clone())).collect();
        for member in &closure.members {
            if seen.mark(&member.digest, 0) & GOOD != 0 {
                continue;
            }
            check_cancelled(progress)?;
            let (fault, can_be_read) = self.look_at_blob(member)?;
            progress.blob_done();
            let is_good = if fault.is_none() { GOOD } else { 0 };
            let is_new = seen.mark(&member.digest, MET | is_good) & MET == 0;
            // What was found damaged may be whole again: only who reads it knows.
            if is_new && can_be_read && reading.takes(&member.digest) {
                seen.mark(&member.digest, READ);
                seen.to_read = (seen.to_read.0 + 1, seen.to_read.1 + member.size);
            }
            if let Some(fault) = fault {
                let (parent, role) = member.parent.unzip();
                let path = closure.path_to(parent);
                problems.push(problem(fault, Missing { digest: member.digest.clone(), role, path }));
            }
        }
        Ok(problems)
    }

    /// What is wrong with a blob, and whether there is something to be read.
    fn look_at_blob(&self, member: &Member) -> Result<(Option<Fault>, bool)> {
        Ok(match self.base().cas().size(&member.digest) {
            Ok(None) => (Some(Fault::Missing), false),
            Ok(Some(size)) if size != member.size => (Some(Fault::WrongSize), false),
            // As an earlier check has found.
            Ok(Some(_)) => (member.damaged.then_some(Fault::Damaged), true),
            // Something else is in its place: a link, a folder.
            Err(oci_store_cas::Error::Io { source, .. }) if source.kind() == ErrorKind::InvalidData => {
                (Some(Fault::Damaged), false)
            }
            Err(error) => return Err(error.into()),
        })
    }
}
