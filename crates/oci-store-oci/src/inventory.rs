//! What a store has, as a file that is carried to another one: what is listed need not be carried back.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci_store_base::{BlobFilter, View};
use oci_store_cas::Digest;
use serde::{Deserialize, Serialize};

use crate::limits::{Limits, size_text};
use crate::source::ImageSource;
use crate::{Error, Layout, Result, Store, refs};

/// Blobs that are whole, and refs, at one moment. Each list is sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Of this form: [`Inventory::VERSION`].
    pub version: u64,
    /// By digest.
    pub blobs: Vec<InventoryBlob>,
    /// By name.
    pub refs: Vec<InventoryRef>,
}

/// A blob in an [`Inventory`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InventoryBlob {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// A ref in an [`Inventory`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InventoryRef {
    /// Its name.
    #[serde(rename = "ref")]
    pub name: String,
    /// What it names.
    pub digest: Digest,
}

impl Inventory {
    /// The form that this library writes, and the only one that it reads.
    pub const VERSION: u64 = 1;

    fn new(mut blobs: Vec<InventoryBlob>, mut refs: Vec<InventoryRef>) -> Self {
        blobs.sort();
        refs.sort();
        Self { version: Self::VERSION, blobs, refs }
    }

    /// Reads one from the file `path`, which may be a pipe.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Document`] if it is none, of another version, or has more than 1 GiB.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_from(path, File::open(path).map_err(Error::io(path))?)
    }

    /// The same from anywhere; `origin` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from(origin: impl AsRef<Path>, bytes: impl Read) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let origin = origin.as_ref();
        let wrong = |why: String| Error::document(origin.display(), why);
        let limit = Limits::OWN.index_json;
        let (mut limited, mut bytes) = (bytes.take(limit + 1), Vec::new());
        limited.read_to_end(&mut bytes).map_err(Error::io(origin))?;
        if bytes.len() as u64 > limit {
            return Err(wrong(format!("it has more than {}", size_text(limit))));
        }
        let none = |error: serde_json::Error| wrong(format!("not an inventory: {error}"));
        // First, as all else may be otherwise in another version.
        let Version { version } = serde_json::from_slice(&bytes).map_err(none)?;
        if version != Self::VERSION {
            return Err(wrong(format!("an inventory of version {version}, not {}", Self::VERSION)));
        }
        serde_json::from_slice(&bytes).map_err(none)
    }

    /// What an export need not carry to who has this.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter().map(|blob| &blob.digest)
    }
}

impl Store {
    /// Lists all blobs that have a row and are not known to be damaged, and all refs, as of one moment. What nothing keeps
    /// is listed too: a later gc may take it, and who relies on it is told then.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn inventory(&self) -> Result<Inventory> {
        const PAGE: usize = 4096;
        self.base().view(|view: View<'_>| {
            let (mut blobs, mut names) = (Vec::new(), Vec::new());
            let mut after = None;
            loop {
                let page = view.blobs(&BlobFilter::default(), after.as_ref(), PAGE)?;
                after = page.last().map(|last| last.digest.clone());
                let whole = page.into_iter().filter(|blob| !blob.damaged);
                blobs.extend(whole.map(|blob| InventoryBlob { digest: blob.digest, size: blob.size }));
                if after.is_none() {
                    break;
                }
            }
            refs::each(view, &mut |found| {
                names.push(InventoryRef { name: found.name.to_string(), digest: found.target.digest });
                Ok(())
            })?;
            Ok(Inventory::new(blobs, names))
        })
    }
}

impl Layout {
    /// As [`Store::inventory`], by the files alone: all that entries reach and that is there, unread.
    ///
    /// # Errors
    /// That something can't be read.
    pub fn inventory(&self) -> Result<Inventory> {
        let (mut blobs, mut names) = (HashSet::new(), Vec::new());
        for entry in self.entries()? {
            let (_, members) = self.walk(&entry.descriptor)?;
            blobs.extend(members.into_iter().map(|(_, member)| (member.digest, member.size)));
            let digest = entry.descriptor.digest;
            names.extend(entry.name.map(|name| InventoryRef { name, digest }));
        }
        let blobs = blobs.into_iter().map(|(digest, size)| InventoryBlob { digest, size });
        Ok(Inventory::new(blobs.collect(), names))
    }
}
