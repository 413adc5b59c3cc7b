//! What in an image layout is about what: manifests with a subject, found by reading all that is listed.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use oci_store_cas::Digest;

use crate::document::{Role, children};
use crate::media_type::is_document;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Result};

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
    let mut found: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
    // Each document is read once, however often it is listed: the sizes that are claimed of it don't count.
    let mut seen = HashSet::new();
    let mut add = |descriptor: &Descriptor| {
        if !seen.insert((descriptor.digest.clone(), descriptor.media_type.clone())) {
            return;
        }
        let Ok(Some(bytes)) = read_document(source, descriptor) else { return };
        let Ok(children) = children(descriptor, &bytes) else { return };
        for subject in children.into_iter().filter(|child| child.role == Role::Subject) {
            let list = found.entry(subject.descriptor.digest).or_default();
            if !list.iter().any(|known| known.digest == descriptor.digest) {
                list.push(descriptor.clone());
            }
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
            for child in children.iter().filter(|child| child.role == Role::Manifest) {
                add(&child.descriptor);
            }
        }
        let mut descriptor = entry.descriptor;
        descriptor.set_annotation(crate::REF_NAME, None);
        add(&descriptor);
    }
    Ok(found)
}

/// `sha256-HEX`: where a registry without a referrers list keeps one (distribution-spec, *Referrers Tag Schema*).
fn is_fallback_tag(name: Option<&str>) -> bool {
    name.and_then(|name| name.split_once('-')).is_some_and(|(algorithm, hex)| {
        format!("{algorithm}:{hex}").parse::<Digest>().is_ok_and(|digest| digest.known_algorithm().is_some())
    })
}
