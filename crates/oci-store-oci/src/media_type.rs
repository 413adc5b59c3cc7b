//! The media types that have children. Everything else is a leaf, whatever it is.

pub use oci_spec::image::MediaType;

/// An OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI artifact manifest, as release candidates of image-spec 1.1 had it.
pub const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// A Docker manifest list, version 2.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Whether blobs of this type are documents with children: an index or a manifest.
#[must_use]
pub fn is_document(media_type: &str) -> bool {
    document_type(media_type).is_some()
}

/// The type itself, if it is one of a document.
pub(crate) fn document_type(media_type: &str) -> Option<&'static str> {
    [INDEX, MANIFEST, ARTIFACT, DOCKER_LIST, DOCKER_MANIFEST].into_iter().find(|known| *known == media_type)
}

/// Whether blobs of this type list manifests.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_LIST)
}

/// Whether blobs of this type need not be where the image is (image-spec, *Non-Distributable Layers*).
#[must_use]
pub fn is_non_distributable(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}
