//! Configs of images, and the platforms that they name.

use oci_spec::image::Platform;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::document::MAX_DOCUMENT;
use crate::source::{ImageSource, read_document};
use crate::{Descriptor, Error, Result, json};

/// The config of an image, verified; `None` if it is another artifact's, too large for a config, or not there.
pub(super) fn read(source: &dyn ImageSource, config: &Descriptor) -> Result<Option<Value>> {
    let Some(bytes) = bytes(source, config)? else { return Ok(None) };
    json::read(&bytes).map(Some).map_err(|error| Error::document(&config.digest, error))
}

/// What questions are about.
pub(super) struct About {
    pub(super) platform: Option<Platform>,
    pub(super) labels: Map<String, Value>,
}

/// The same, of which nothing else is looked at.
pub(super) fn read_about(source: &dyn ImageSource, config: &Descriptor) -> Result<Option<About>> {
    let Some(bytes) = bytes(source, config)? else { return Ok(None) };
    let fields: Fields<'_> = serde_json::from_slice(&bytes).map_err(|error| Error::document(&config.digest, error))?;
    let own = fields.config.and_then(|own| serde_json::from_str::<Own<'_>>(own.get()).ok());
    let labels = own.and_then(|own| json::read(own.labels?.get().as_bytes()).ok());
    Ok(Some(About { platform: fields.platform(), labels: labels.unwrap_or_default() }))
}

fn bytes(source: &dyn ImageSource, config: &Descriptor) -> Result<Option<Vec<u8>>> {
    let media_type = &config.media_type;
    let is_image = media_type.ends_with(".image.config.v1+json") || media_type.ends_with(".container.image.v1+json");
    if is_image && config.size <= MAX_DOCUMENT { read_document(source, config) } else { Ok(None) }
}

/// As they stand there: what one of them is does not keep the others from being read.
#[derive(Deserialize)]
struct Fields<'c> {
    #[serde(borrow)]
    architecture: Option<&'c RawValue>,
    #[serde(borrow)]
    os: Option<&'c RawValue>,
    #[serde(borrow)]
    variant: Option<&'c RawValue>,
    #[serde(borrow, rename = "os.version")]
    os_version: Option<&'c RawValue>,
    #[serde(borrow)]
    config: Option<&'c RawValue>,
}

#[derive(Deserialize)]
struct Own<'c> {
    #[serde(borrow, rename = "Labels")]
    labels: Option<&'c RawValue>,
}

impl Fields<'_> {
    fn platform(&self) -> Option<Platform> {
        platform(|name| {
            let field = match name {
                "architecture" => self.architecture,
                "os" => self.os,
                "variant" => self.variant,
                _ => self.os_version,
            };
            serde_json::from_str(field?.get()).ok()
        })
    }
}

/// The platform that a config names.
pub(super) fn platform_of(config: &Value) -> Option<Platform> {
    platform(|name| config.get(name).cloned())
}

fn platform(field: impl Fn(&str) -> Option<Value>) -> Option<Platform> {
    let names = ["architecture", "os", "variant", "os.version"];
    let fields = names.iter().filter_map(|name| Some(((*name).to_owned(), field(name)?)));
    serde_json::from_value(Value::Object(fields.collect())).ok()
}

/// `linux/arm/v7`.
pub(super) fn platform_text(platform: &Platform) -> String {
    let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os(), platform.architecture())
}
