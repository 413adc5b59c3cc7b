//! Reading manifests and indexes: what they point at.

use oci_store_base::{Edge, Link};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::media_type::{self, is_document, is_index};
use crate::{Descriptor, Error, Result};

/// The most bytes that a manifest or an index of others may have, unless other [limits](crate::Limits) are set.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// How deep documents may lie in each other.
pub const MAX_DEPTH: usize = 32;

/// What a child is to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// An entry of an index.
    Manifest,
    /// A manifest's config.
    Config,
    /// A manifest's layer.
    Layer,
    /// An artifact manifest's blob.
    Blob,
    /// What a manifest or an index is about.
    Subject,
}

impl Role {
    /// Its number in the index.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Manifest => 1,
            Self::Config => 2,
            Self::Layer => 3,
            Self::Blob => 4,
            Self::Subject => 5,
        }
    }

    /// The role of that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Manifest, Self::Config, Self::Layer, Self::Blob, Self::Subject]
            .into_iter()
            .find(|role| role.code() == code)
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Blob => "blob",
            Self::Subject => "subject",
        }
    }
}

/// What a document points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The child.
    pub descriptor: Descriptor,
    /// What it is to the parent.
    pub role: Role,
    /// What that means for their lives: a subject is [followed](Link::Follows), what is to be had elsewhere is
    /// [used](Link::Uses), all else is [needed](Link::Needs).
    pub link: Link,
}

impl Child {
    fn new(descriptor: Descriptor, role: Role) -> Self {
        let link = match role {
            Role::Subject => Link::Follows,
            _ if descriptor.is_elsewhere() => Link::Uses,
            _ => Link::Needs,
        };
        Self { descriptor, role, link }
    }

    pub(crate) fn edge(&self) -> Edge {
        Edge { child: self.descriptor.digest.clone(), role: self.role.code(), link: self.link }
    }
}

/// All fields of all documents that point at something. Descriptors are read one by one: in memory they are much larger than
/// as text, and there may be very many.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'d> {
    media_type: Option<String>,
    #[serde(borrow, default, deserialize_with = "list")]
    manifests: Option<Vec<&'d RawValue>>,
    #[serde(borrow)]
    config: Option<&'d RawValue>,
    #[serde(borrow, default, deserialize_with = "list")]
    layers: Option<Vec<&'d RawValue>>,
    #[serde(borrow, default, deserialize_with = "list")]
    blobs: Option<Vec<&'d RawValue>>,
    #[serde(borrow)]
    subject: Option<&'d RawValue>,
}

/// A list that is there, be it `null`; where there is none, the field has its default.
fn list<'de: 'd, 'd, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<&'d RawValue>>, D::Error> {
    crate::json::list(deserializer).map(Some)
}

/// The media type of a document that nobody has named yet, by what it says of itself, or by its fields; `None` if it
/// is none.
pub(crate) fn media_type_of(bytes: &[u8]) -> Option<String> {
    let document: Document<'_> = crate::json::read(bytes).ok()?;
    let by_fields = match (&document.manifests, &document.config, &document.layers) {
        (Some(_), None, None) => Some(media_type::INDEX.to_owned()),
        (None, Some(_), Some(_)) => Some(media_type::MANIFEST.to_owned()),
        _ => None,
    };
    document.media_type.filter(|own| is_document(own)).or(by_fields)
}

/// What the blob that `descriptor` names, with these `bytes`, points at: image index (nested too), image manifest,
/// artifact manifest, and Docker's manifest and list. A blob of any other media type is a leaf, and never an
/// error.
///
/// This one function is what import, check, gc and copy all see of an image.
///
/// # Errors
/// [`Error::Document`] if the bytes are not such a document: no JSON, `layers` and `manifests` in one, a
/// `mediaType` other than the descriptor's, a descriptor in it that is none.
pub fn children(descriptor: &Descriptor, bytes: &[u8]) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    each_child(descriptor, bytes, &mut |child| {
        children.push(child);
        Ok(())
    })?;
    Ok(children)
}

/// The same, one by one. After an error, what was visited before it does not count.
pub(crate) fn each_child(
    descriptor: &Descriptor,
    bytes: &[u8],
    visit: &mut dyn FnMut(Child) -> Result<()>,
) -> Result<()> {
    if !is_document(&descriptor.media_type) {
        return Ok(());
    }
    let wrong = |why: &str| Error::document(&descriptor.digest, why);
    let unread = |error| wrong(&format!("not a manifest or index: {error}"));
    let document: Document<'_> = crate::json::read(bytes).map_err(unread)?;
    if let Some(inner) = &document.media_type
        && *inner != descriptor.media_type
    {
        return Err(wrong(&format!("its descriptor calls it {}, it calls itself {inner}", descriptor.media_type)));
    }
    if document.manifests.is_some() && (document.layers.is_some() || document.config.is_some()) {
        return Err(wrong("it has both manifests and layers: it could be read as either"));
    }
    let index = is_index(&descriptor.media_type);
    if index && document.manifests.is_none() {
        return Err(wrong("an index without manifests"));
    }
    let artifact = descriptor.media_type == media_type::ARTIFACT;
    if !index && !artifact && (document.config.is_none() || document.layers.is_none()) {
        return Err(wrong("a manifest without config or layers"));
    }
    let lists = [
        (Role::Manifest, document.manifests.unwrap_or_default(), index),
        (Role::Config, document.config.into_iter().collect(), !index),
        (Role::Layer, document.layers.unwrap_or_default(), !index),
        (Role::Blob, document.blobs.unwrap_or_default(), artifact),
        (Role::Subject, document.subject.into_iter().collect(), true),
    ];
    for (role, descriptors, counts) in lists {
        for text in descriptors {
            // Also what does not count here is to be right.
            let child = Child::new(serde_json::from_str(text.get()).map_err(unread)?, role);
            if counts {
                visit(child)?;
            }
        }
    }
    Ok(())
}
