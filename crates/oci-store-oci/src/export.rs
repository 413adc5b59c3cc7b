//! Export: images from the store into an image layout, or an archive of one.

use std::collections::HashSet;
use std::path::Path;

use oci_store_base::{LeaseGuard, OWN_FOLDER, View};
use oci_store_cas::attack::{Guard, Point, reached, without};

use crate::closure::{Missing, closure, referrers, whole};
use crate::destination::{Copied, DAMAGED, Destination, ExportOptions, Exported, Outgoing, Plan, Planned, write};
use crate::import::Selection;
use crate::import_options::ImportOptions;
use crate::platform::narrow;
use crate::progress::Progress;
use crate::{Error, ImageSource, Result, Store, refs};

impl Store {
    /// Exports images.
    ///
    /// Into the layout in a folder: it is made if it is absent; other refs in it survive, also those of another export at
    /// the same time. Blobs that are there are not copied again. Each file is whole or absent at any moment; `index.json`
    /// comes last. A folder that is an OCI store is imported into, one image after the other.
    ///
    /// Into a file: it becomes an archive with these images alone, and is replaced as a whole, or not at all. A file that
    /// is no archive is left alone. The same images give the same bytes, by the same version of this library.
    ///
    /// Idempotent.
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`Error::Incomplete`], [`Error::NoPlatform`], [`Error::NotALayout`] if the folder has
    /// something else in it, [`Error::Archive`] if the file is something else; [`Error::Document`] of an image that Docker
    /// can't load, if that is to read it; those of the base store.
    pub fn export(
        &self,
        images: &[Outgoing],
        mut to: Destination<'_>,
        options: &ExportOptions,
        progress: &dyn Progress,
    ) -> Result<Exported> {
        let plan = self.plan(images, options)?;
        if let Destination::Folder(to) = to
            && to.join(OWN_FOLDER).exists()
        {
            return self.export_to_store(plan, to, options, progress);
        }
        write(plan, &self.as_source(), &mut to, options, progress)
    }

    /// Names all that the images consist of in a lease, then looks again whether all is still there: what is seen
    /// after it was named stays.
    fn plan(&self, images: &[Outgoing], options: &ExportOptions) -> Result<Plan> {
        let lease = self.base().lease("export")?;
        let find = |view: View<'_>| {
            let planned = images.iter().map(|outgoing| {
                let (target, incomplete) = refs::find(view, &outgoing.image)?;
                Ok(Planned { name: outgoing.name.clone(), target, incomplete })
            });
            planned.collect::<Result<Vec<_>>>()
        };
        // Parts of an index are read when all of it is kept; what it lacks may be of another part.
        let (mut plan, mut missing) = self.keep(&lease, &find, options)?;
        if let Some(platform) = &options.platform {
            let mut narrowed = plan.images;
            for image in &mut narrowed {
                image.target = narrow(&self.as_source(), image.name.as_str(), &image.target, platform)?;
            }
            (plan, missing) = self.keep(&lease, &|_| Ok(narrowed.clone()), options)?;
        }
        if !missing.is_empty() {
            return Err(Error::Incomplete(missing));
        }
        Ok(Plan { _lease: Some(lease), ..plan })
    }

    /// What the images that are found consist of, all of it named in the lease, and what they lack and should not.
    fn keep(
        &self,
        lease: &LeaseGuard,
        find: &dyn Fn(View<'_>) -> Result<Vec<Planned>>,
        options: &ExportOptions,
    ) -> Result<(Plan, Vec<Missing>)> {
        let look = || self.base().view(|view| gather(view, &self.as_source(), find(view)?, options.referrers));
        let mut named = HashSet::new();
        let mut found = look()?;
        reached(Point::Gathered);
        loop {
            let new: Vec<_> = found.0.blobs.keys().filter(|digest| !named.contains(*digest)).cloned().collect();
            lease.name(&new)?;
            named.extend(new);
            reached(Point::ClosureNamed);
            if without(Guard::SecondLook) {
                return Ok(found);
            }
            found = look()?;
            if found.0.blobs.keys().all(|digest| named.contains(digest)) {
                return Ok(found);
            }
        }
    }

    fn export_to_store(
        &self,
        mut plan: Plan,
        to: &Path,
        options: &ExportOptions,
        progress: &dyn Progress,
    ) -> Result<Exported> {
        plan.check_names()?;
        if !options.exclude.is_empty() {
            return Err(Error::document(to.display(), "is a store, which takes what it lacks: exclude nothing"));
        }
        let other = self.options.elsewhere().open(to)?;
        let copied = other.base().view(|view| {
            let mut lacking = Copied::default();
            for (digest, size) in &plan.blobs {
                if view.blob(digest)?.is_none() {
                    lacking.blobs += 1;
                    lacking.bytes += size;
                }
            }
            Ok::<_, Error>(lacking)
        })?;
        for image in &plan.images {
            let digest = image.target.digest.to_string();
            let selection = Selection::One { source: Some(&digest), name: Some(&image.name) };
            let (referrers, allow_incomplete) = (options.referrers, image.incomplete);
            let import = ImportOptions { referrers, allow_incomplete, ..ImportOptions::default() };
            other.import(&self.as_source(), &selection, &import, progress)?;
        }
        Ok(plan.done(copied, 0))
    }
}

/// What images consist of at one moment, and what they lack and should not.
fn gather(
    view: View<'_>,
    source: &dyn ImageSource,
    images: Vec<Planned>,
    with_referrers: bool,
) -> Result<(Plan, Vec<Missing>)> {
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    let mut about = HashSet::new();
    for image in images {
        let Planned { target, incomplete, .. } = &image;
        let found = if *incomplete { closure(view, &target.digest)? } else { whole(view, source, target)? };
        let digests = if with_referrers { referrers(view, &found)? } else { Vec::new() };
        let mut members = found.members;
        for digest in digests {
            if about.insert(digest.clone()) {
                members.extend(closure(view, &digest)?.members);
                plan.referrers.extend(refs::unnamed(view, refs::REFERRER, &digest)?);
            }
        }
        if let Some(bad) = members.iter().find(|member| member.damaged) {
            return Err(Error::document(&bad.digest, DAMAGED));
        }
        plan.blobs.extend(members.into_iter().map(|member| (member.digest, member.size)));
        match found.missing {
            lacking if !image.incomplete => missing.extend(lacking),
            lacking if lacking.is_empty() => {}
            lacking => plan.incomplete.push((image.name.clone(), lacking)),
        }
        plan.images.push(image);
    }
    plan.referrers.sort_by(|a, b| a.digest.cmp(&b.digest));
    Ok((plan, missing))
}
