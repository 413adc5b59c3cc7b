//! What a check has met of a store of any size, and what it knows of it.

use std::ops::ControlFlow;

use oci_store_base::View;
use oci_store_cas::Digest;

use crate::Result;
use crate::ids::Ids;

/// Blobs, and a few marks for each.
#[derive(Default)]
pub(crate) struct Seen {
    ids: Ids,
    /// By number; what is behind the end has not been met.
    marks: Vec<u8>,
    /// Blobs to be read, and their bytes.
    pub(crate) to_read: (u64, u64),
}

/// It was met.
pub(crate) const MET: u8 = 1;
/// It is there, with the right size, and nothing is wrong with it as far as is known.
pub(crate) const GOOD: u8 = 2;
/// It is to be read.
pub(crate) const READ: u8 = 4;

impl Seen {
    /// Knows all blobs that there are: as many that come one by one would take more room.
    pub(crate) fn with_all(view: View<'_>) -> Result<Self> {
        let mut seen = Self::default();
        view.each_blob(None, &mut |blob| {
            seen.ids.push(&blob.digest);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(seen)
    }

    /// Adds marks to a blob's; returns those that it had.
    pub(crate) fn mark(&mut self, digest: &Digest, marks: u8) -> u8 {
        let id = self.ids.id(digest);
        if self.marks.len() <= id {
            self.marks.resize(self.ids.len(), 0);
        }
        self.marks.get_mut(id).map_or(0, |known| std::mem::replace(known, *known | marks))
    }

    /// What is to be read, by number.
    pub(crate) fn to_read(&self) -> impl Iterator<Item = usize> {
        (0..).zip(&self.marks).filter(|(_, marks)| **marks & READ != 0).map(|(id, _)| id)
    }

    pub(crate) fn digest(&self, id: usize) -> Option<Digest> {
        self.ids.digest(id)
    }
}
