use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use oci_store_base::{self as base, Access, Condition, Link, Locks, Wait};
use oci_store_cas::{Cas, Digest};

use crate::closure::whole;
use crate::document::{Child, Role, children};
use crate::history::{self, By, Operation};
use crate::limits::Limits;
use crate::source::{Content, Entry, ImageSource, read_document};
use crate::{Descriptor, Error, Ref, RefName, Result, media_type, refs};

/// The kind of a store of OCI images, as its folder records it.
pub const KIND: &str = "oci";

/// How to open an OCI store: [`base::OpenOptions`], for stores of kind `oci`.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub(crate) base: base::OpenOptions,
    backends: Vec<Arc<dyn base::index::Backend>>,
    wait: Wait,
    network: bool,
}

impl OpenOptions {
    /// Over one of `backends`; a new store is made over the first.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn base::index::Backend>>) -> Self {
        Self { base: base::OpenOptions::new(KIND, backends.clone()), backends, wait: Wait::default(), network: false }
    }

    /// The same for another store, that is there.
    pub(crate) fn elsewhere(&self) -> Self {
        Self::new(self.backends.clone()).wait(self.wait).allow_network_filesystem(self.network).create(false)
    }

    /// As [`base::OpenOptions::index`].
    #[must_use]
    pub fn index(self, name: Option<&str>) -> Self {
        Self { base: self.base.index(name), ..self }
    }

    /// As [`base::OpenOptions::create`].
    #[must_use]
    pub fn create(self, create: bool) -> Self {
        Self { base: self.base.create(create), ..self }
    }

    /// As [`base::OpenOptions::access`].
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        Self { base: self.base.access(access), ..self }
    }

    /// As [`base::OpenOptions::wait`].
    #[must_use]
    pub fn wait(self, wait: Wait) -> Self {
        Self { base: self.base.wait(wait), wait, ..self }
    }

    /// As [`base::OpenOptions::allow_network_filesystem`].
    #[must_use]
    pub fn allow_network_filesystem(self, allow: bool) -> Self {
        Self { base: self.base.allow_network_filesystem(allow), network: allow, ..self }
    }

    /// As [`base::OpenOptions::cas`].
    #[must_use]
    pub fn cas(self, cas: Arc<dyn Cas>) -> Self {
        Self { base: self.base.cas(cas), ..self }
    }

    /// As [`base::OpenOptions::locks`].
    #[must_use]
    pub fn locks(self, locks: Arc<dyn Locks>) -> Self {
        Self { base: self.base.locks(locks), ..self }
    }

    /// Opens the store in the folder `root`, making it if it is absent. What others have written into the folder
    /// is taken in, and an `index.json` that a crash left behind the refs is mended. On a full disk, or where another
    /// tool has let nobody else read what it wrote, that is left to a later command, with a warning.
    ///
    /// # Errors
    /// As [`base::OpenOptions::open`].
    pub fn open(self, root: impl AsRef<Path>) -> Result<Store> {
        let base = self.base.clone().open(root)?;
        let store = Store { base, options: self };
        match store.refresh() {
            // Whoever only reads need not fail by it; whoever writes tries again.
            Err(error) if error.is_no_space() || error.is_denied() => {
                tracing::warn!("index.json can't be brought up to date: {error}");
            }
            refreshed => refreshed?,
        }
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
    /// `after`. A page shorter than `limit` is the last. What another tool has written into `index.json` since the store
    /// was opened is seen after a [`refresh`](Self::refresh), or a change of any ref.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn refs(&self, prefix: &str, after: Option<&RefName>, limit: usize) -> Result<Vec<Ref>> {
        self.base.view(|view| refs::page(view, prefix, after, limit))
    }

    /// Finds what `text` names: a ref, a digest, or the beginning of one.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; of a digest, [`base::Error::BlobNotFound`] and [`base::Error::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Descriptor> {
        Ok(self.base.view(|view| refs::find(view, text))?.0)
    }

    /// Sets the ref `name` to what `target` names: a ref, a digest, or the beginning of one. One atomic step, which
    /// checks that all that the image needs is in the store. A ref to an image that was let in with parts
    /// missing passes that on. A ref that does not meet the `condition` is an [`Error::RefConflict`]: with
    /// [`Condition::Absent`] one that is there, with [`Condition::Version`] one that was set since its
    /// [`version`](Ref::version) was read, or is gone.
    ///
    /// # Errors
    /// As [`find`](Self::find); [`Error::Incomplete`], [`Error::RefConflict`],
    /// [`Error::NotShown`].
    pub fn tag(&self, target: &str, name: &RefName, condition: Condition) -> Result<Descriptor> {
        self.refresh()?;
        let (generation, descriptor) = self.base.update(|txn| {
            let (descriptor, incomplete) = refs::find(txn.view(), target)?;
            self.read_edges(txn, &descriptor)?;
            if !incomplete {
                self.expect_whole(txn, &descriptor)?;
            }
            txn.touch_blob(&descriptor.digest)?;
            let by = By::new(txn.view(), Operation::Tag, None)?;
            let generation = history::set(txn, by, name, &descriptor, incomplete, condition)?;
            Ok::<_, Error>((generation, descriptor))
        })?;
        self.project(generation).map_err(Error::not_shown(format_args!("the ref {name} is set")))?;
        Ok(descriptor)
    }

    /// Sees to it that the edges of documents below `root` are known under the types that name them: a blob that
    /// came in as a leaf may be named as a manifest, and so may one that was missing when its parent was read.
    pub(crate) fn read_edges(&self, txn: &mut base::Txn<'_>, root: &Descriptor) -> Result<()> {
        let mut stack = vec![(root.digest.clone(), Some(root.clone()))];
        let mut seen = HashSet::new();
        while let Some((digest, named)) = stack.pop() {
            let media_type = named.as_ref().map(|named| named.media_type.clone());
            if !seen.insert((digest.clone(), media_type)) {
                continue;
            }
            let named = named.filter(|named| media_type::is_document(&named.media_type));
            let Some(document) = unread(txn.view(), &digest, named)? else {
                let edges = txn.view().edges(&digest)?.unwrap_or_default().edges;
                stack.extend(edges.into_iter().filter(|e| e.link != Link::Follows).map(|edge| (edge.child, None)));
                continue;
            };
            let Some(bytes) = read_document(&self.as_source(), &document)? else { continue };
            let children = children(&document, &bytes)?;
            let edges: Vec<_> = children.iter().map(Child::edge).collect();
            txn.add_edges(&digest, &document.media_type, &edges)?;
            if children.iter().any(|child| child.role == Role::Subject) {
                refs::add_unnamed(txn, refs::REFERRER, &document)?;
            }
            let below = children.into_iter().filter(|child| child.link != Link::Follows);
            stack.extend(below.map(|child| (child.descriptor.digest.clone(), Some(child.descriptor))));
        }
        Ok(())
    }

    /// Gives a ref another name. Atomic: there is no moment without one of the two.
    ///
    /// # Errors
    /// [`Error::RefNotFound`]; [`Error::RefConflict`] if `to` is there already; [`Error::NotShown`].
    pub fn rename_ref(&self, from: &RefName, to: &RefName) -> Result<()> {
        self.refresh()?;
        let generation = self.base.update(|txn| {
            let old = refs::get(txn.view(), from)?.ok_or_else(|| Error::RefNotFound(from.to_string()))?;
            if from == to {
                return Ok(old.generation);
            }
            let by = By::new(txn.view(), Operation::Rename, None)?;
            history::rename(txn, by, &old, to)
        })?;
        self.project(generation).map_err(Error::not_shown(format_args!("the ref {from} is now {to}")))
    }

    /// Keeps a blob, and all that it reaches, without a name. Says whether it was news. Idempotent.
    ///
    /// # Errors
    /// As [`find`](Self::find); [`Error::Incomplete`],
    /// [`Error::NotShown`].
    pub fn pin(&self, target: &str) -> Result<(Digest, bool)> {
        self.refresh()?;
        let (digest, generation) = self.base.update(|txn| {
            let (found, _) = refs::find(txn.view(), target)?;
            self.read_edges(txn, &found)?;
            self.expect_whole(txn, &found)?;
            let generation = refs::add_unnamed(txn, refs::PIN, &found)?;
            Ok::<_, Error>((found.digest, generation))
        })?;
        if let Some(generation) = generation {
            self.project(generation).map_err(Error::not_shown(format_args!("{digest} is pinned")))?;
        }
        Ok((digest, generation.is_some()))
    }

    fn expect_whole(&self, txn: &base::Txn<'_>, image: &Descriptor) -> Result<()> {
        let missing = whole(txn.view(), &self.as_source(), image)?.missing;
        if missing.is_empty() { Ok(()) } else { Err(Error::Incomplete(missing)) }
    }

    /// Takes back a pin. Says whether there was one. Idempotent.
    ///
    /// # Errors
    /// As [`find`](Self::find); [`Error::NotShown`].
    pub fn unpin(&self, target: &str) -> Result<(Digest, bool)> {
        self.refresh()?;
        let unpin = || {
            self.base.update(|txn| {
                let digest = refs::find(txn.view(), target)?.0.digest;
                let generation = refs::unpin(txn, &digest)?;
                Ok::<_, Error>((digest, generation))
            })
        };
        let (digest, generation) = self.base.with_reserve(Error::is_no_space, unpin)?;
        if let Some(generation) = generation {
            self.project(generation).map_err(Error::not_shown(format_args!("{digest} is no longer pinned")))?;
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

/// The document that is to be read so that all edges below `digest` are known: one that was not read as what it is
/// `named` as yet, or one that lists a manifest that was never read as one.
fn unread(view: base::View<'_>, digest: &Digest, named: Option<Descriptor>) -> Result<Option<Descriptor>> {
    let Some(info) = view.blob(digest)? else { return Ok(None) };
    let known = view.edges(digest)?.unwrap_or_default();
    if named.as_ref().is_some_and(|named| !known.read_as.contains(&named.media_type)) {
        return Ok(named);
    }
    let Some(read_as) = known.read_as.first() else { return Ok(None) };
    for edge in known.edges.iter().filter(|edge| edge.role == Role::Manifest.code()) {
        if view.blob(&edge.child)?.is_some() && view.edges(&edge.child)?.is_none() {
            return Ok(Some(Descriptor::new(read_as, info.digest, info.size)));
        }
    }
    Ok(None)
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

    fn max_descriptors(&self) -> u64 {
        Limits::OWN.descriptors
    }

    fn max_manifest(&self) -> u64 {
        Limits::OWN.manifest
    }
}
