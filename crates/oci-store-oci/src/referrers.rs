//! What in an image layout is about what: manifests with a subject, found by reading all that is listed.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use memchr::memmem;
use oci_store_cas::Digest;
use oci_store_cas::threads::try_map;

use crate::document::{Role, children};
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document, read_unverified, verify};
use crate::{Descriptor, Error, Result};

/// What has a subject, by it; found on first need.
#[derive(Debug, Default)]
pub(crate) struct Referrers(OnceLock<HashMap<Digest, Vec<Descriptor>>>);

impl Referrers {
    /// What `source` lists that is about `subject`. The same source at each call.
    pub(crate) fn of(&self, source: &dyn ImageSource, subject: &Digest) -> Result<Vec<Descriptor>> {
        let found = match self.0.get() {
            Some(found) => found,
            None => {
                let found = find(source)?;
                self.0.get_or_init(|| found)
            }
        };
        Ok(found.get(subject).cloned().unwrap_or_default())
    }
}

/// Reads what is listed, to see what has a subject. A document that can't be read is nobody's referrer.
fn find(source: &dyn ImageSource) -> Result<HashMap<Digest, Vec<Descriptor>>> {
    let candidates = candidates(source)?;
    let subjects = try_map(candidates.len(), FEW, |at| {
        Ok::<_, Error>(candidates.get(at).and_then(|candidate| subject_of(source, candidate)))
    })?;
    let mut found: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
    let mut known = HashSet::new();
    for (candidate, subject) in candidates.iter().zip(subjects) {
        if let Some(subject) = subject
            && known.insert((subject.clone(), &candidate.digest))
        {
            found.entry(subject).or_default().push(candidate.clone());
        }
    }
    Ok(found)
}

/// So many documents are read by one thread.
const FEW: usize = 64;

/// All documents that are listed. Each is there once, however often it is listed: the sizes that are claimed of it don't
/// count.
fn candidates(source: &dyn ImageSource) -> Result<Vec<Descriptor>> {
    let mut candidates = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |descriptor: Descriptor| {
        if seen.insert((descriptor.digest.clone(), descriptor.media_type.clone())) {
            candidates.push(descriptor);
        }
    };
    let mut opened = HashSet::new();
    for entry in source.entries()? {
        if !is_document(&entry.descriptor.media_type) {
            continue;
        }
        if is_fallback_tag(entry.name.as_deref()) && opened.insert(entry.descriptor.digest.clone()) {
            // An index of referrers, for registries that can't list them: each of its manifests is one.
            let Ok(Some(bytes)) = read_document(source, &entry.descriptor) else { continue };
            let children = children(&entry.descriptor, &bytes).unwrap_or_default();
            children.into_iter().filter(|child| child.role == Role::Manifest).for_each(|child| add(child.descriptor));
        }
        let mut descriptor = entry.descriptor;
        descriptor.set_annotation(crate::REF_NAME, None);
        add(descriptor);
    }
    Ok(candidates)
}

/// What a document is about. One that can't be read is about nothing.
pub(crate) fn subject_of(source: &dyn ImageSource, descriptor: &Descriptor) -> Option<Digest> {
    let bytes = read_unverified(source, descriptor).ok()??;
    // Most are about nothing, which is seen without hashing and parsing them; a key may be written with escapes.
    if memmem::find(&bytes, b"subject").is_none() && memmem::find(&bytes, b"\\u").is_none() {
        return None;
    }
    let bytes = verify(source, descriptor, bytes).ok()?;
    let mut children = children(descriptor, &bytes).ok()?.into_iter();
    children.find(|child| child.role == Role::Subject).map(|child| child.descriptor.digest)
}

/// `sha256-HEX`: where a registry without a referrers list keeps one (distribution-spec, *Referrers Tag Schema*).
fn is_fallback_tag(name: Option<&str>) -> bool {
    name.and_then(|name| name.split_once('-')).is_some_and(|(algorithm, hex)| {
        format!("{algorithm}:{hex}").parse::<Digest>().is_ok_and(|digest| digest.known_algorithm().is_some())
    })
}
