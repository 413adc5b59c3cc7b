//! Configs of images, and the platforms that they name.

use oci_spec::image::Platform;
use serde_json::Value;

use crate::document::MAX_DOCUMENT;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Result};

/// The config of an image, verified; `None` if it is another artifact's, too large for a config, or not there.
pub(super) fn read(source: &dyn ImageSource, config: &Descriptor) -> Result<Option<Value>> {
    let media_type = &config.media_type;
    let is_image = media_type.ends_with(".image.config.v1+json") || media_type.ends_with(".container.image.v1+json");
    if !is_image || config.size > MAX_DOCUMENT {
        return Ok(None);
    }
    let Some(bytes) = read_document(source, config)? else { return Ok(None) };
    let read = crate::json::read(&bytes);
    read.map(Some).map_err(|error| crate::Error::document(&config.digest, error))
}

/// The platform that a config names.
pub(super) fn platform_of(config: &Value) -> Option<Platform> {
    let fields = ["architecture", "os", "variant", "os.version"];
    let fields = fields.iter().filter_map(|field| Some(((*field).to_owned(), config.get(field)?.clone())));
    serde_json::from_value(Value::Object(fields.collect())).ok()
}

/// `linux/arm/v7`.
pub(super) fn platform_text(platform: &Platform) -> String {
    let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os(), platform.architecture())
}
