//! The blobs that an import has reached, each once, as there may be very many of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oci_store_base::NewBlob;
use oci_store_cas::Digest;

use crate::Descriptor;
use crate::media_type::is_document;

/// Which of the blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct At(u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Something is about it, and nothing has asked for it.
    Unasked,
    /// In the store already, or staged.
    Here,
    /// Still to be copied.
    Wanted,
    /// The source does not have it either.
    Absent,
    /// It could not be copied; why.
    Failed(String),
}

pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) media_type: Arc<str>,
    pub(crate) state: State,
    /// All that its descriptor says, where that is more than this and may be wanted: of a document that is about something.
    pub(crate) said: Option<Box<str>>,
}

impl Blob {
    /// Enough of its descriptor to fetch it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.size)
    }

    /// All of its descriptor.
    pub(crate) fn whole_descriptor(&self) -> Descriptor {
        let said = self.said.as_ref().and_then(|said| serde_json::from_str(said).ok());
        said.unwrap_or_else(|| self.descriptor())
    }

    pub(crate) fn new_blob(&self) -> NewBlob {
        NewBlob { digest: self.digest.clone(), size: self.size, media_type: self.media_type.to_string() }
    }
}

/// By digest and size: a wrong size fails the image that claims it, and no other that has the same blob.
#[derive(Default)]
pub(crate) struct Blobs {
    all: Vec<Blob>,
    by_name: HashMap<(Digest, u64), At>,
    media_types: HashSet<Arc<str>>,
}

impl Blobs {
    /// Where the blob of a descriptor is.
    pub(crate) fn find(&self, descriptor: &Descriptor) -> Option<At> {
        self.by_name.get(&(descriptor.digest.clone(), descriptor.size)).copied()
    }

    /// The same; adds it if it is new. Also says how much that takes, of which the descriptor of a new blob takes [`NEW`].
    pub(crate) fn add(&mut self, descriptor: &Descriptor) -> (At, u64) {
        let is_plain = descriptor.other.is_empty() && descriptor.annotations().next().is_none();
        let said = (is_document(&descriptor.media_type) && !is_plain).then(|| serde_json::to_string(descriptor));
        let said = said.and_then(Result::ok).map(String::into_boxed_str);
        let takes = 1 + (descriptor.media_type.len() + said.as_ref().map_or(0, |said| said.len())) / USUAL;
        let media_type = self.media_type(&descriptor.media_type);
        let new = At(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let at = *self.by_name.entry((descriptor.digest.clone(), descriptor.size)).or_insert(new);
        if at == new {
            let Descriptor { digest, size, .. } = descriptor.clone();
            self.all.push(Blob { digest, size, media_type, state: State::Unasked, said });
            return (at, NEW * takes as u64);
        }
        match self.get_mut(at).filter(|blob| blob.said.is_none() && said.is_some()) {
            Some(blob) => {
                blob.said = said;
                (at, NEW * takes as u64)
            }
            None => (at, 0),
        }
    }

    fn media_type(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.media_types.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.media_types.insert(Arc::clone(&new));
        new
    }

    pub(crate) fn get(&self, at: At) -> Option<&Blob> {
        self.all.get(at.0 as usize)
    }

    pub(crate) fn get_mut(&mut self, at: At) -> Option<&mut Blob> {
        self.all.get_mut(at.0 as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (At, &Blob)> {
        (0..).map(At).zip(&self.all)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Blob> {
        self.all.iter_mut()
    }
}

/// What the descriptor of a new blob takes of memory, where one more place that lists a blob takes 1.
pub(crate) const NEW: u64 = 8;

/// The most bytes of text beside digest and size that a usual descriptor has.
const USUAL: usize = 256;
