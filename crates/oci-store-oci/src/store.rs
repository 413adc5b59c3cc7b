use std::path::Path;
use std::sync::Arc;

use oci_store_base::{self as base, Access, Condition, Locks, Wait};
use oci_store_cas::{Cas, Digest};

use crate::check::closure;
use crate::source::{Content, Entry, ImageSource};
use crate::{Descriptor, Error, Ref, RefName, Result, media_type, refs};

/// The kind of a store of OCI images, as its folder records it.
pub const KIND: &str = "oci";

/// How to open an OCI store: [`base::OpenOptions`], for stores of kind `oci`.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub(crate) base: base::OpenOptions,
}

impl OpenOptions {
    /// Over one of `backends`; a new store is made over the first.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn base::index::Backend>>) -> Self {
        Self { base: base::OpenOptions::new(KIND, backends) }
    }

    /// As [`base::OpenOptions::index`].
    #[must_use]
    pub fn index(self, name: Option<&str>) -> Self {
        Self { base: self.base.index(name) }
    }

    /// As [`base::OpenOptions::create`].
    #[must_use]
    pub fn create(self, create: bool) -> Self {
        Self { base: self.base.create(create) }
    }

    /// As [`base::OpenOptions::access`].
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        Self { base: self.base.access(access) }
    }

    /// As [`base::OpenOptions::wait`].
    #[must_use]
    pub fn wait(self, wait: Wait) -> Self {
        Self { base: self.base.wait(wait) }
    }

    /// As [`base::OpenOptions::cas`].
    #[must_use]
    pub fn cas(self, cas: Arc<dyn Cas>) -> Self {
        Self { base: self.base.cas(cas) }
    }

    /// As [`base::OpenOptions::locks`].
    #[must_use]
    pub fn locks(self, locks: Arc<dyn Locks>) -> Self {
        Self { base: self.base.locks(locks) }
    }

    /// Opens the store in the folder `root`, making it if it is absent. What others have written into the folder
    /// is taken in, and an `index.json` that a crash left behind the refs is mended.
    ///
    /// # Errors
    /// As [`base::OpenOptions::open`].
    pub fn open(self, root: impl AsRef<Path>) -> Result<Store> {
        let base = self.base.clone().open(root)?;
        let store = Store { base, options: self };
        store.refresh()?;
        Ok(store)
    }
}

/// A store of OCI images. Clones are cheap and share everything; threads and processes may use one folder as they
/// like.
#[derive(Clone, Debug)]
pub struct Store {
    base: base::Store,
    pub(crate) options: OpenOptions,
}

impl Store {
    pub(crate) fn over(base: base::Store, options: OpenOptions) -> Self {
        Self { base, options }
    }

    /// The base store below: blobs, data, leases.
    #[must_use]
    pub fn base(&self) -> &base::Store {
        &self.base
    }

    /// The store's folder, which is an image layout too.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.base.root()
    }

    /// A ref, or `None`.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn get_ref(&self, name: &RefName) -> Result<Option<Ref>> {
        self.base.view(|view| refs::get(view, name))
    }

    /// A page of at most `limit` refs whose names begin with `prefix`, in the order of their names, behind
    /// `after`. A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn refs(&self, prefix: &str, after: Option<&RefName>, limit: usize) -> Result<Vec<Ref>> {
        self.base.view(|view| refs::page(view, prefix, after, limit))
    }

    /// Finds what `text` names: a ref, a digest, or the beginning of one.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; [`base::Error::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Descriptor> {
        if let Ok(name) = text.parse::<RefName>()
            && let Some(found) = self.get_ref(&name)?
        {
            return Ok(found.target);
        }
        let info = self.base.view(|view| {
            let digest = view.resolve(text)?;
            view.blob(&digest)
        });
        match info {
            Ok(Some(info)) => Ok(Descriptor::new(&info.media_type, info.digest, info.size)),
            Err(error @ base::Error::Ambiguous { .. }) => Err(error.into()),
            Ok(None) | Err(base::Error::BlobNotFound(_) | base::Error::InvalidPrefix { .. }) => {
                Err(Error::RefNotFound(text.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the ref `name` to what `target` names: a ref, a digest, or the beginning of one. One atomic step, which
    /// checks that all that the image needs is in the store. A ref to an image that was let in with parts
    /// missing passes that on. With [`Condition::Absent`], a ref that is there is an [`Error::RefConflict`].
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`base::Error::Ambiguous`], [`Error::Incomplete`], [`Error::RefConflict`].
    pub fn tag(&self, target: &str, name: &RefName, condition: Condition) -> Result<Descriptor> {
        self.refresh()?;
        let digest = self.find(target)?.digest;
        let (generation, descriptor) = self.base.update(|txn| {
            let source = match target.parse::<RefName>() {
                Ok(source) => refs::get(txn.view(), &source)?,
                Err(_) => None,
            };
            let (descriptor, incomplete) = match source {
                Some(source) => (source.target, source.incomplete),
                None => {
                    let info = txn.view().blob(&digest)?;
                    let info = info.ok_or_else(|| Error::RefNotFound(target.to_owned()))?;
                    (Descriptor::new(&info.media_type, info.digest, info.size), false)
                }
            };
            self.read_edges(txn, &descriptor)?;
            let missing = closure(txn.view(), &descriptor.digest)?.missing;
            if !missing.is_empty() && !incomplete {
                return Err(Error::Incomplete(missing));
            }
            txn.touch_blob(&descriptor.digest)?;
            let generation = refs::set(txn, name, &descriptor, incomplete, condition)?;
            Ok((generation, descriptor))
        })?;
        self.project(generation)?;
        Ok(descriptor)
    }

    /// Sees to it that the edges of documents below `root` are known under the types that name them: a blob that
    /// came in as a leaf may be named as a manifest later.
    fn read_edges(&self, txn: &mut base::Txn<'_>, root: &Descriptor) -> Result<()> {
        let mut stack = vec![root.clone()];
        let mut seen = std::collections::HashSet::new();
        while let Some(descriptor) = stack.pop() {
            if !media_type::is_document(&descriptor.media_type) || !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let known = txn.view().edges(&descriptor.digest)?.unwrap_or_default();
            if known.read_as.contains(&descriptor.media_type) {
                // Whoever read it then has seen to all below it.
                continue;
            }
            if txn.view().blob(&descriptor.digest)?.is_none() {
                continue;
            }
            let Some(bytes) = crate::source::read_document(&self.as_source(), &descriptor)? else { continue };
            let children = crate::document::children(&descriptor, &bytes)?;
            let edges: Vec<_> = children.iter().map(crate::document::Child::edge).collect();
            txn.add_edges(&descriptor.digest, &descriptor.media_type, &edges)?;
            if children.iter().any(|child| child.role == crate::Role::Subject) {
                refs::add_unnamed(txn, refs::REFERRER, &descriptor)?;
            }
            stack.extend(children.into_iter().map(|child| child.descriptor));
        }
        Ok(())
    }

    /// Removes a ref, and nothing else: blobs are the gc's. Atomic.
    ///
    /// # Errors
    /// [`Error::RefNotFound`].
    pub fn remove_ref(&self, name: &RefName) -> Result<Ref> {
        self.refresh()?;
        let removed = self.base.update(|txn| refs::remove(txn, name))?;
        let (generation, old) = removed.ok_or_else(|| Error::RefNotFound(name.to_string()))?;
        self.project(generation)?;
        Ok(old)
    }

    /// Gives a ref another name. Atomic: there is no moment without one of the two.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; [`Error::RefConflict`] if `to` is there already.
    pub fn rename_ref(&self, from: &RefName, to: &RefName) -> Result<()> {
        self.refresh()?;
        let generation = self.base.update(|txn| {
            let old = refs::get(txn.view(), from)?.ok_or_else(|| Error::RefNotFound(from.to_string()))?;
            if from == to {
                return Ok(old.generation);
            }
            refs::set(txn, to, &old.target, old.incomplete, Condition::Absent)?;
            let removed = refs::remove(txn, from)?;
            Ok::<_, Error>(removed.map_or(old.generation, |(generation, _)| generation))
        })?;
        self.project(generation)
    }

    /// Keeps a blob, and all that it reaches, without a name. Says whether it was news. Idempotent.
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`base::Error::Ambiguous`], [`Error::Incomplete`].
    pub fn pin(&self, target: &str) -> Result<(Digest, bool)> {
        self.refresh()?;
        let found = self.find(target)?;
        let generation = self.base.update(|txn| {
            if txn.view().blob(&found.digest)?.is_none() {
                return Err(Error::RefNotFound(target.to_owned()));
            }
            self.read_edges(txn, &found)?;
            let missing = closure(txn.view(), &found.digest)?.missing;
            if !missing.is_empty() {
                return Err(Error::Incomplete(missing));
            }
            refs::add_unnamed(txn, refs::PIN, &found)
        })?;
        if let Some(generation) = generation {
            self.project(generation)?;
        }
        Ok((found.digest, generation.is_some()))
    }

    /// Takes back a pin. Says whether there was one. Idempotent.
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`base::Error::Ambiguous`].
    pub fn unpin(&self, target: &str) -> Result<(Digest, bool)> {
        self.refresh()?;
        let digest = self.find(target)?.digest;
        let generation = self.base.update(|txn| refs::unpin(txn, &digest))?;
        if let Some(generation) = generation {
            self.project(generation)?;
        }
        Ok((digest, generation.is_some()))
    }

    /// All pins, in the order of their digests.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn pins(&self) -> Result<Vec<Descriptor>> {
        let mut pins = Vec::new();
        self.base.view(|view| {
            refs::each_unnamed(view, refs::PIN, &mut |pin| {
                pins.push(pin);
                Ok(())
            })
        })?;
        Ok(pins)
    }

    /// The store as a source of images. What it gives is kept only as long as something keeps it: whoever reads an
    /// image from it holds a lease that names it.
    #[must_use]
    pub fn as_source(&self) -> StoreSource<'_> {
        StoreSource { store: self }
    }
}

/// An OCI store as a source: see [`Store::as_source`].
#[derive(Debug)]
pub struct StoreSource<'s> {
    store: &'s Store,
}

impl ImageSource for StoreSource<'_> {
    fn origin(&self) -> String {
        self.store.root().display().to_string()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.store.base.view(|view| {
            refs::each(view, &mut |found| {
                entries.push(Entry { name: Some(found.name.to_string()), descriptor: found.target });
                Ok(())
            })?;
            refs::each_unnamed(view, refs::PIN, &mut |descriptor| {
                entries.push(Entry { name: None, descriptor });
                Ok(())
            })
        })?;
        Ok(entries)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        let blob = self.store.base.cas().open(&descriptor.digest)?;
        Ok(blob.map(|blob| Box::new(blob) as Box<dyn Content>))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.store.base.view(|view| {
            let mut found = Vec::new();
            view.parents(subject, Some(base::Link::Follows), &mut |parent, _| {
                found.push(parent);
                std::ops::ControlFlow::Continue(())
            })?;
            let known = found.iter().map(|digest| refs::unnamed(view, refs::REFERRER, digest));
            Ok(known.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
    }
}
