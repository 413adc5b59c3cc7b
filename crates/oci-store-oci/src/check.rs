//! The completeness check: whether all that an image needs is in the store, and is what it should be.

use std::collections::HashSet;
use std::fmt;
use std::io::ErrorKind;

use oci_store_base::{Link, View};
use oci_store_cas::Digest;

use crate::document::Role;
use crate::progress::Progress;
use crate::{Reading, RefName, Result, Store, refs};

/// A blob that is not there although an image needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub digest: Digest,
    /// What it is to the last of the path.
    pub role: Option<Role>,
    /// From the image down to what names the missing blob; empty if the image itself is missing.
    pub path: Vec<Digest>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} missing", self.digest, self.role.map_or("blob", Role::name))?;
        for (n, parent) in self.path.iter().rev().enumerate() {
            write!(f, "{}{parent}", if n == 0 { ", needed by " } else { " in " })?;
        }
        Ok(())
    }
}

/// What a check has found wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A blob of a closure, as the index knows it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) damaged: bool,
    /// Where it was first met.
    pub(crate) parent: Option<(usize, Role)>,
}

/// An image as the index knows it: all blobs that it reaches, parents before children, and those that are not
/// there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    pub(crate) members: Vec<Member>,
    pub(crate) missing: Vec<Missing>,
}

impl Closure {
    pub(crate) fn path_to(&self, member: Option<usize>) -> Vec<Digest> {
        let mut path = Vec::new();
        let mut at = member.and_then(|at| self.members.get(at));
        while let Some(member) = at {
            path.push(member.digest.clone());
            at = member.parent.and_then(|(parent, _)| self.members.get(parent));
        }
        path.reverse();
        path
    }
}

/// Walks the edges from `root`: every blob once, without recursion. Subjects are not part of an image.
pub(crate) fn closure(view: View<'_>, root: &Digest) -> Result<Closure> {
    let mut closure = Closure::default();
    let mut seen = HashSet::new();
    let mut stack = vec![(root.clone(), None, Link::Needs)];
    while let Some((digest, parent, link)) = stack.pop() {
        if !seen.insert((digest.clone(), link)) {
            continue;
        }
        let Some(info) = view.blob(&digest)? else {
            if link == Link::Needs {
                let path = closure.path_to(parent.map(|(at, _): (usize, Role)| at));
                closure.missing.push(Missing { digest, role: parent.map(|(_, role)| role), path });
            }
            continue;
        };
        // Met before, by a link of another kind: what is there needs no second look.
        let other = if link == Link::Needs { Link::Uses } else { Link::Needs };
        if seen.contains(&(digest.clone(), other)) {
            continue;
        }
        let at = closure.members.len();
        closure.members.push(Member { digest: digest.clone(), size: info.size, damaged: info.damaged, parent });
        for edge in view.edges(&digest)?.unwrap_or_default().edges.into_iter().rev() {
            if edge.link != Link::Follows {
                let role = Role::from_code(edge.role).unwrap_or(Role::Blob);
                stack.push((edge.child, Some((at, role)), edge.link));
            }
        }
    }
    Ok(closure)
}

/// All that is about the blobs of a closure, transitively: signatures, SBOMs, and what signs those.
pub(crate) fn referrers(view: View<'_>, closure: &Closure) -> Result<Vec<Digest>> {
    let mut found = Vec::new();
    let mut seen: HashSet<Digest> = closure.members.iter().map(|member| member.digest.clone()).collect();
    let mut queue: Vec<Digest> = seen.iter().cloned().collect();
    queue.sort();
    while let Some(subject) = queue.pop() {
        let mut about = Vec::new();
        view.parents(&subject, Some(Link::Follows), &mut |parent, _| {
            about.push(parent);
            std::ops::ControlFlow::Continue(())
        })?;
        for referrer in about {
            if seen.contains(&referrer) || view.blob(&referrer)?.is_none() {
                continue;
            }
            for member in self::closure(view, &referrer)?.members {
                if seen.insert(member.digest.clone()) {
                    queue.push(member.digest);
                }
            }
            found.push(referrer);
        }
    }
    found.sort();
    Ok(found)
}

/// What is to be checked.
struct Image {
    label: String,
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
    /// What it consists of, or `None` if it is no image any more.
    fn closure(&self, view: View<'_>) -> Result<Option<Closure>> {
        let unnamed = |kind| Ok::<_, crate::Error>(refs::unnamed(view, kind, &self.root)?.map(|found| found.digest));
        let found = match &self.kept {
            Kept::Ref(name) => refs::get(view, name)?.map(|found| found.target.digest),
            Kept::Pin => unnamed(refs::PIN)?,
            Kept::Referrer => unnamed(refs::REFERRER)?,
        };
        if found.as_ref() == Some(&self.root) { closure(view, &self.root).map(Some) } else { Ok(None) }
    }
}

/// What a look has met.
#[derive(Default)]
struct Seen {
    good: HashSet<Digest>,
    met: HashSet<Digest>,
    /// What there is to be read.
    present: Vec<(Digest, u64)>,
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
    /// The outcome of reading is recorded: a blob found damaged is fetched again by the next import that has it.
    ///
    /// # Errors
    /// [`Error::RefNotFound`](crate::Error::RefNotFound); those of the base store.
    pub fn check(&self, names: &[RefName], reading: impl Into<Reading>, progress: &dyn Progress) -> Result<Checked> {
        let reading = reading.into();
        if names.is_empty()
            && let Err(error) = self.base().check_index()
        {
            let oci_store_base::Error::IndexLost { .. } = error else { return Err(error.into()) };
            return Ok(Checked { index: Some(error.to_string()), ..Checked::default() });
        }
        if reading == Reading::Nothing {
            return Ok(self.look(names, progress)?.0);
        }
        let (mut checked, present) = self.look(names, &Unheard(progress))?;
        let read = self.read_blobs(present, reading, progress)?;
        // What was read badly is noted; what was read well, and was noted as damaged, is not any more. And an image may
        // have been removed, and collected, meanwhile.
        if read.bad > 0 || !checked.problems.is_empty() {
            checked = self.look(names, &Unheard(progress))?.0;
        }
        Ok(Checked { read: read.blobs, read_bytes: read.bytes, ..checked })
    }

    /// The images that are called so; all, pins and referrers too, if none is.
    fn images(&self, names: &[RefName]) -> Result<Vec<Image>> {
        let of = |found: refs::Ref| Image {
            label: found.name.to_string(),
            kept: Kept::Ref(found.name),
            root: found.target.digest,
            incomplete: found.incomplete,
        };
        let mut images: Vec<Image> = Vec::new();
        self.base().view(|view| {
            for name in names {
                let found = refs::get(view, name)?;
                images.push(of(found.ok_or_else(|| crate::Error::RefNotFound(name.to_string()))?));
            }
            if !names.is_empty() {
                return Ok(());
            }
            refs::each(view, &mut |found| {
                images.push(of(found));
                Ok(())
            })?;
            refs::each_unnamed(view, refs::PIN, &mut |pin| {
                let label = pin.digest.to_string();
                images.push(Image { label, kept: Kept::Pin, root: pin.digest, incomplete: false });
                Ok(())
            })?;
            // They came with images, and if one of these was let in without something, so may they have been.
            let incomplete = images.iter().any(|image| image.incomplete);
            refs::each_unnamed(view, refs::REFERRER, &mut |about| {
                let label = about.digest.to_string();
                images.push(Image { label, kept: Kept::Referrer, root: about.digest, incomplete });
                Ok(())
            })
        })?;
        Ok(images)
    }

    /// Looks at images without reading blobs. Returns also what there is to be read: blobs with a file of the right size.
    fn look(&self, names: &[RefName], progress: &dyn Progress) -> Result<(Checked, Vec<(Digest, u64)>)> {
        let mut checked = Checked::default();
        let mut seen = Seen::default();
        for image in self.images(names)? {
            let Some(closure) = self.base().view(|view| image.closure(view))? else { continue };
            let is_image = !matches!(image.kept, Kept::Referrer);
            checked.images += u64::from(is_image);
            let new = closure.members.iter().filter(|member| !seen.met.contains(&member.digest));
            let (blobs, bytes) = new.fold((0, 0), |(blobs, bytes), member| (blobs + 1, bytes + member.size));
            progress.expect(blobs, 0);
            checked.blobs += blobs;
            checked.bytes += bytes;
            let mut problems = self.look_at(&image, &closure, progress, &mut seen)?;
            if !problems.is_empty() {
                // Or it was removed, and collected, while it was looked at.
                problems = self.look_again(&image, progress, &mut seen)?;
            }
            if is_image && image.incomplete && !closure.missing.is_empty() {
                checked.incomplete.push(image.label);
            }
            checked.problems.extend(problems);
        }
        Ok((checked, seen.present))
    }

    /// What is wrong with an image that nobody can take away meanwhile: a lease names it, and it is still an image
    /// after that.
    fn look_again(&self, image: &Image, progress: &dyn Progress, seen: &mut Seen) -> Result<Vec<Problem>> {
        let lease = self.base().lease("check")?;
        let mut named = HashSet::new();
        loop {
            let Some(closure) = self.base().view(|view| image.closure(view))? else { return Ok(Vec::new()) };
            let new: Vec<Digest> = closure
                .members
                .iter()
                .map(|member| member.digest.clone())
                .filter(|d| named.insert(d.clone()))
                .collect();
            if new.is_empty() {
                return self.look_at(image, &closure, &Unheard(progress), seen);
            }
            lease.name(&new)?;
        }
    }

    /// Looks at the blobs of a closure that are not known to be good.
    fn look_at(
        &self,
        image: &Image,
        closure: &Closure,
        progress: &dyn Progress,
        seen: &mut Seen,
    ) -> Result<Vec<Problem>> {
        let problem = |fault, blob| Problem { image: image.label.clone(), fault, blob };
        let missing = closure.missing.iter().filter(|_| !image.incomplete);
        let mut problems: Vec<Problem> = missing.map(|missing| problem(Fault::Missing, missing.clone())).collect();
        for member in &closure.members {
            if seen.good.contains(&member.digest) {
                continue;
            }
            if progress.cancelled() {
                return Err(oci_store_base::Error::Cancelled.into());
            }
            let (fault, can_be_read) = self.look_at_blob(member)?;
            progress.blob_done();
            // What was found damaged may be whole again: only who reads it knows.
            if seen.met.insert(member.digest.clone()) && can_be_read {
                seen.present.push((member.digest.clone(), member.size));
            }
            if let Some(fault) = fault {
                let (parent, role) = member.parent.unzip();
                let path = closure.path_to(parent);
                problems.push(problem(fault, Missing { digest: member.digest.clone(), role, path }));
            } else {
                seen.good.insert(member.digest.clone());
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
