//! Export: images from the store into an image layout.

use std::collections::HashMap;
use std::path::Path;

use oci_store_base::{OWN_FOLDER, View};
use oci_store_cas::Digest;
use oci_store_cas::attack::{Guard, Point, reached, without};

use crate::check::{Missing, closure, referrers};
use crate::destination::{ExportOptions, Exported, Plan, write};
use crate::import::{ImportOptions, Selection};
use crate::progress::Progress;
use crate::source::Content;
use crate::{Error, RefName, Result, Store, refs};

impl Store {
    /// Exports the image that `image` names (a ref, a digest, or the beginning of one) into the layout in the
    /// folder `to`, under `name`. The layout is made if it is absent; other refs in it survive, also those of
    /// another export at the same time. Blobs that are there are not copied again. Each file is whole or absent
    /// at any moment; `index.json` comes last. A folder that is an OCI store is imported into.
    ///
    /// Idempotent.
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`Error::Incomplete`], [`Error::NotALayout`] if the folder has something else in
    /// it; those of the base store.
    pub fn export(
        &self,
        image: &str,
        to: &Path,
        name: &RefName,
        options: ExportOptions,
        progress: &dyn Progress,
    ) -> Result<Exported> {
        let plan = self.plan(image, options.referrers)?;
        if to.join(OWN_FOLDER).exists() {
            return self.export_to_store(&plan, to, name, options, progress);
        }
        let open = |digest: &Digest| Ok(Box::new(self.base().read_blob(digest)?) as Box<dyn Content>);
        write(plan, &open, to, name, options, progress)
    }

    /// Names all that the image consists of in a lease, then looks again whether all is still there: what is seen
    /// after it was named stays.
    fn plan(&self, image: &str, with_referrers: bool) -> Result<Plan> {
        loop {
            let lease = self.base().lease("export")?;
            let (first, _) = self.base().view(|view| gather(view, image, with_referrers))?;
            reached(Point::Gathered);
            lease.name(&first.blobs.keys().cloned().collect::<Vec<_>>())?;
            reached(Point::ClosureNamed);
            if without(Guard::SecondLook) {
                return Ok(Plan { _lease: Some(lease), ..first });
            }
            let (plan, missing) = self.base().view(|view| gather(view, image, with_referrers))?;
            let is_named = |digest| first.blobs.contains_key(digest);
            if plan.target.digest != first.target.digest || !plan.blobs.keys().all(is_named) {
                continue;
            }
            if !missing.is_empty() && !plan.incomplete {
                return Err(Error::Incomplete(missing));
            }
            return Ok(Plan { _lease: Some(lease), ..plan });
        }
    }

    fn export_to_store(
        &self,
        plan: &Plan,
        to: &Path,
        name: &RefName,
        options: ExportOptions,
        progress: &dyn Progress,
    ) -> Result<Exported> {
        let other = self.options.elsewhere().open(to)?;
        let digest = plan.target.digest.to_string();
        let selection = Selection::One { source: Some(&digest), name: Some(name) };
        let import = ImportOptions { platform: None, referrers: options.referrers, allow_incomplete: plan.incomplete };
        other.import(&self.as_source(), &selection, &import, progress)?;
        Ok(Exported { target: plan.target.clone(), blobs: 0, bytes: 0 })
    }
}

/// What an image consists of at one moment, and what it lacks.
fn gather(view: View<'_>, image: &str, with_referrers: bool) -> Result<(Plan, Vec<Missing>)> {
    let (target, incomplete) = refs::find(view, image)?;
    let found = closure(view, &target.digest)?;
    let about = if with_referrers { referrers(view, &found)? } else { Vec::new() };
    let mut plan = Plan { target, incomplete, blobs: HashMap::new(), referrers: Vec::new(), _lease: None };
    let mut members = found.members;
    for digest in about {
        members.extend(closure(view, &digest)?.members);
        plan.referrers.extend(refs::unnamed(view, refs::REFERRER, &digest)?);
    }
    if let Some(bad) = members.iter().find(|member| member.damaged) {
        return Err(Error::document(&bad.digest, "its bytes are damaged: import an image that has it again"));
    }
    plan.blobs.extend(members.into_iter().map(|member| (member.digest, member.size)));
    Ok((plan, found.missing))
}
