//! What commands that only read see: the store, or, where there is no right to write it, the folder as an image layout.

use std::io::Read;

use oci_store::cas::VerifyReader;
use oci_store::oci::questions;
use oci_store::{
    Checked, Descriptor, Destination, Digest, Error, ExportOptions, Exported, ImageSource, Inventory, Layout, Outgoing,
    Progress, Reading, Ref, RefName, Result, Store, oci,
};

/// Refs fetched at once.
const PAGE: usize = 1000;

/// An open store, or the folder of one that may only be read.
pub(crate) enum Reader {
    Store(Store),
    Folder(Layout),
}

/// A ref, as `list` shows it.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) target: Descriptor,
    pub(crate) incomplete: bool,
    /// Only the index knows.
    pub(crate) updated: Option<u64>,
}

impl Reader {
    fn with_source<T>(&self, body: impl FnOnce(&dyn ImageSource) -> T) -> T {
        match self {
            Self::Store(store) => body(&store.as_source()),
            Self::Folder(layout) => body(layout),
        }
    }

    /// The first `most` refs whose names begin with `prefix`, by name.
    pub(crate) fn refs(&self, prefix: &str, most: usize) -> Result<Vec<Listed>> {
        let mut refs = Vec::new();
        self.each_ref(prefix, most, &mut |found| {
            refs.push(found);
            Ok::<_, Error>(())
        })?;
        Ok(refs)
    }

    /// Visits the same, one after the other.
    pub(crate) fn each_ref<E: From<Error>>(
        &self,
        prefix: &str,
        most: usize,
        visit: &mut dyn FnMut(Listed) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let store = match self {
            Self::Store(store) => store,
            Self::Folder(layout) => {
                let entries = layout.entries()?.into_iter();
                let named = entries.filter_map(|entry| Some((entry.name?, entry.descriptor)));
                let mut refs: Vec<Listed> = named
                    .filter(|(name, _)| name.starts_with(prefix))
                    .map(|(name, target)| {
                        let incomplete = target.annotation(oci::INCOMPLETE).is_some();
                        Listed { name, target, incomplete, updated: None }
                    })
                    .collect();
                refs.sort_by(|a, b| a.name.cmp(&b.name));
                return refs.into_iter().take(most).try_for_each(visit);
            }
        };
        let (mut after, mut left) = (None::<RefName>, most);
        loop {
            let size = PAGE.min(left);
            let page = store.refs(prefix, after.as_ref(), size)?;
            left -= page.len();
            let is_last = page.len() < size || left == 0;
            after = page.last().map(|last| last.name.clone());
            for Ref { name, target, incomplete, updated, .. } in page {
                visit(Listed { name: name.to_string(), target, incomplete, updated: Some(updated) })?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// What `text` names: a ref, a digest, or the beginning of one.
    pub(crate) fn find(&self, text: &str) -> Result<Descriptor> {
        match self {
            Self::Store(store) => store.find(text),
            Self::Folder(layout) => layout.find(text),
        }
    }

    /// The whole digest of the blob that begins so.
    pub(crate) fn resolve(&self, text: &str) -> Result<Digest> {
        match self {
            Self::Store(store) => Ok(store.base().view(|view| view.resolve(text))?),
            Self::Folder(layout) => layout.resolve(text),
        }
    }

    /// Gives the bytes of a blob, verified, to `read`.
    pub(crate) fn read<T>(&self, blob: &Descriptor, read: impl FnOnce(&mut dyn Read) -> T) -> Result<T> {
        self.with_source(|source| {
            let gone = || match self.find(&blob.digest.to_string()) {
                Ok(Descriptor { digest, .. }) => {
                    Error::Document { what: digest.to_string(), why: "its file is missing: run `check`".to_owned() }
                }
                Err(error) => error,
            };
            let content = source.fetch(blob)?.ok_or_else(gone)?;
            Ok(read(&mut VerifyReader::new(content, &blob.digest, None)?))
        })
    }

    pub(crate) fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>> {
        self.with_source(|source| source.referrers(&subject.digest))
    }

    /// What is about the blob `subject`, of one type or of all.
    pub(crate) fn referrers_of(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        self.with_source(|source| questions::referrers(source, subject, artifact_type))
    }

    pub(crate) fn check(&self, names: &[RefName], reading: Reading, progress: &dyn Progress) -> Result<Checked> {
        match self {
            Self::Store(store) => store.check(names, reading, progress),
            Self::Folder(layout) => layout.check(names, reading, progress),
        }
    }

    pub(crate) fn inventory(&self) -> Result<Inventory> {
        match self {
            Self::Store(store) => store.inventory(),
            Self::Folder(layout) => layout.inventory(),
        }
    }

    pub(crate) fn export(
        &self,
        images: &[Outgoing],
        to: Destination<'_>,
        options: &ExportOptions,
        progress: &dyn Progress,
    ) -> Result<Exported> {
        match self {
            Self::Store(store) => store.export(images, to, options, progress),
            Self::Folder(layout) => layout.export(images, to, options, progress),
        }
    }
}
