//! A layout as it lies there, read by `index.json` and `blobs/` alone: what can be done with a store that may not be
//! written, as its index and its leases then can't be used.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use oci_store_base::{Link, split_prefix, the_only};
use oci_store_cas::{Cas, Digest, VerifyReader};

use crate::check::{Checked, Fault, Problem};
use crate::closure::{Closure, Member, Missing};
use crate::destination::{Destination, ExportOptions, Exported, Outgoing, Plan, Planned, write};
use crate::document::children;
use crate::platform::narrow;
use crate::progress::{Progress, check_cancelled, passed};
use crate::referrers::subject_of;
use crate::refs::{INCOMPLETE, PINNED, not_found};
use crate::source::{Entry, ImageSource, pick, read_document};
use crate::{Descriptor, Error, Layout, Reading, RefName, Result};

impl Layout {
    /// Finds what `text` names: a named entry, a digest, or the beginning of one, of anything that an entry
    /// reaches.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; [`Ambiguous`](oci_store_base::Error::Ambiguous).
    pub fn find(&self, text: &str) -> Result<Descriptor> {
        let absent = || not_found(text);
        match pick(self, Some(text), None) {
            Ok(entry) => return Ok(entry.descriptor),
            Err(Error::NotInSource { .. }) => {}
            Err(error) => return Err(error),
        }
        let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-")).unwrap_or(text);
        if hex.len() < 2 {
            return Err(absent());
        }
        let mut found: HashMap<Digest, Descriptor> = HashMap::new();
        for Entry { descriptor, .. } in self.entries()? {
            for (_, descriptor) in self.walk(&descriptor)?.1 {
                if descriptor.digest.encoded().starts_with(hex) {
                    found.insert(descriptor.digest.clone(), descriptor);
                }
            }
        }
        let mut candidates: Vec<Digest> = found.keys().cloned().collect();
        candidates.sort();
        match candidates.as_slice() {
            [] => Err(absent()),
            [only] => found.remove(only).ok_or_else(absent),
            _ => {
                let prefix = text.to_owned();
                Err(oci_store_base::Error::Ambiguous { prefix, candidates, more: false }.into())
            }
        }
    }

    /// The whole digest of the only blob in the folder that begins so, whether or not an entry reaches it.
    ///
    /// # Errors
    /// As [`View::resolve`](oci_store_base::View::resolve); that the folder can't be read.
    pub fn resolve(&self, text: &str) -> Result<Digest> {
        let whole = text.parse::<Digest>().ok();
        let (algorithms, hex) = if whole.is_some() { (Vec::new(), "") } else { split_prefix(text)? };
        let is_meant = |digest: &Digest| match &whole {
            Some(whole) => digest == whole,
            None => {
                digest.known_algorithm().is_some_and(|algorithm| algorithms.contains(&algorithm))
                    && digest.encoded().starts_with(hex)
            }
        };
        let mut found = Vec::new();
        self.blobs().map_or(Ok(()), |blobs| {
            blobs.list(&mut |digest, _| {
                found.extend(Some(digest).filter(is_meant));
                ControlFlow::Continue(())
            })
        })?;
        found.sort();
        Ok(the_only(text, found)?)
    }

    /// As [`Store::check`](crate::Store::check), from the files alone; nothing is recorded.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; that something can't be read; [`ReadOnly`](oci_store_base::Error::ReadOnly) for
    /// [`Reading::Within`]: what was verified when is in the index.
    pub fn check(&self, names: &[RefName], reading: impl Into<Reading>, progress: &dyn Progress) -> Result<Checked> {
        let reading = reading.into();
        if let Reading::Within(_) = reading {
            return Err(oci_store_base::Error::ReadOnly(self.folder().to_owned()).into());
        }
        let mut entries = self.entries()?;
        if !names.is_empty() {
            for name in names {
                if !entries.iter().any(|entry| entry.name.as_deref() == Some(name.as_str())) {
                    return Err(Error::RefNotFound(name.to_string()));
                }
            }
            entries.retain(|entry| names.iter().any(|name| entry.name.as_deref() == Some(name.as_str())));
        }
        let mut checked = Checked::default();
        let mut verdicts: HashMap<Digest, Option<Fault>> = HashMap::new();
        for Entry { name, descriptor } in entries {
            let is_referrer =
                name.is_none() && descriptor.annotation(PINNED).is_none() && subject_of(self, &descriptor).is_some();
            checked.images += u64::from(!is_referrer);
            let image = name.unwrap_or_else(|| descriptor.digest.to_string());
            let (closure, members) = self.walk(&descriptor)?;
            let problem = |fault, blob| Problem { image: image.clone(), fault, blob };
            if descriptor.annotation(INCOMPLETE).is_some() && !closure.missing.is_empty() {
                checked.incomplete.push(image.clone());
            } else {
                checked.problems.extend(closure.missing.iter().map(|m| problem(Fault::Missing, m.clone())));
            }
            for (at, descriptor) in members {
                if !verdicts.contains_key(&descriptor.digest) {
                    checked.blobs += 1;
                    checked.bytes += descriptor.size;
                    progress.expect(1, descriptor.size);
                    let is_read = reading.takes(&descriptor.digest);
                    if is_read {
                        checked.read += 1;
                        checked.read_bytes += descriptor.size;
                        progress.begin(&descriptor.digest, descriptor.size);
                    }
                    let fault = self.check_blob(&descriptor, is_read, progress)?;
                    verdicts.insert(descriptor.digest.clone(), fault);
                    progress.blob_done();
                }
                if let Some(Some(fault)) = verdicts.get(&descriptor.digest) {
                    let parent = closure.members.get(at).and_then(|member| member.parent);
                    let path = closure.path_to(parent.map(|(parent, _)| parent));
                    let role = parent.map(|(_, role)| role);
                    checked.problems.push(problem(*fault, Missing { digest: descriptor.digest, role, path }));
                }
            }
        }
        Ok(checked)
    }

    fn check_blob(&self, descriptor: &Descriptor, read_data: bool, progress: &dyn Progress) -> Result<Option<Fault>> {
        check_cancelled(progress)?;
        let Some(content) = self.fetch(descriptor)? else { return Ok(Some(Fault::Missing)) };
        if let Some(file) = content.as_file()
            && file.metadata().map_err(Error::io(self.folder()))?.len() != descriptor.size
        {
            return Ok(Some(Fault::WrongSize));
        }
        if !read_data {
            return Ok(None);
        }
        let reader = VerifyReader::new(content, &descriptor.digest, Some(descriptor.size))?;
        match reader.check(&mut |bytes| passed(progress, bytes)) {
            Ok(_) => Ok(None),
            Err(oci_store_cas::Error::DigestMismatch { .. }) => Ok(Some(Fault::Damaged)),
            Err(oci_store_cas::Error::SizeMismatch { .. }) => Ok(Some(Fault::WrongSize)),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Store::export`](crate::Store::export), from the files alone, which nobody should remove meanwhile, and not into
    /// another store.
    ///
    /// # Errors
    /// As [`Store::export`](crate::Store::export).
    pub fn export(
        &self,
        images: &[Outgoing],
        mut to: Destination<'_>,
        options: &ExportOptions,
        progress: &dyn Progress,
    ) -> Result<Exported> {
        let mut plan = Plan::default();
        for Outgoing { image, name } in images {
            let mut target = self.find(image)?;
            let incomplete = target.annotation(INCOMPLETE).is_some();
            if let Some(platform) = &options.platform {
                target = narrow(self, name.as_str(), &target, platform)?;
            }
            let missing = self.gather(&target, incomplete, options.referrers, &mut plan)?;
            if !missing.is_empty() {
                plan.incomplete.push((name.clone(), missing));
            }
            target.set_annotation(INCOMPLETE, None);
            plan.images.push(Planned { name: name.clone(), target, incomplete });
        }
        plan.referrers.sort_by(|a, b| a.digest.cmp(&b.digest));
        write(plan, self, &mut to, options, progress)
    }

    /// Adds to a plan what an image consists of, and with `referrers` what is about it; returns what the image lacks, and may.
    fn gather(&self, target: &Descriptor, incomplete: bool, referrers: bool, plan: &mut Plan) -> Result<Vec<Missing>> {
        let mut lacking = Vec::new();
        let mut queue = vec![(target.clone(), incomplete)];
        while let Some((root, incomplete)) = queue.pop() {
            let (closure, members) = self.walk(&root)?;
            if !closure.missing.is_empty() && !incomplete {
                return Err(Error::Incomplete(closure.missing));
            }
            if root.digest == target.digest {
                lacking.extend(closure.missing);
            }
            for (_, descriptor) in members {
                if plan.blobs.insert(descriptor.digest.clone(), descriptor.size).is_some() || !referrers {
                    continue;
                }
                for referrer in self.referrers(&descriptor.digest)? {
                    if !plan.blobs.contains_key(&referrer.digest) {
                        let incomplete = referrer.annotation(INCOMPLETE).is_some();
                        plan.referrers.push(referrer.clone());
                        queue.push((referrer, incomplete));
                    }
                }
            }
        }
        Ok(lacking)
    }

    /// All that an entry reaches, from its manifests: what is there, with its place in the closure, and what is
    /// missing.
    pub(crate) fn walk(&self, root: &Descriptor) -> Result<(Closure, Vec<(usize, Descriptor)>)> {
        let mut closure = Closure::default();
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        let mut stack = vec![(root.clone(), None, Link::Needs)];
        while let Some((descriptor, parent, link)) = stack.pop() {
            if !seen.insert((descriptor.digest.clone(), descriptor.media_type.clone(), link)) {
                continue;
            }
            if self.fetch(&descriptor)?.is_none() {
                if link == Link::Needs {
                    let (at, role) = parent.unzip();
                    closure.missing.push(Missing { digest: descriptor.digest, role, path: closure.path_to(at) });
                }
                continue;
            }
            let at = closure.members.len();
            closure.members.push(Member {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                damaged: false,
                parent,
            });
            if crate::media_type::is_document(&descriptor.media_type)
                && let Some(bytes) = read_document(self, &descriptor)?
            {
                for child in children(&descriptor, &bytes)?.into_iter().rev().filter(|c| c.link != Link::Follows) {
                    stack.push((child.descriptor, Some((at, child.role)), child.link));
                }
            }
            members.push((at, descriptor));
        }
        Ok((closure, members))
    }
}
