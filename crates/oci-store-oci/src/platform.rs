//! Of an index, the manifest for one platform.

use std::collections::HashSet;

use oci_spec::image::Platform;
use oci_store_base::Link;
use oci_store_cas::VerifyReader;
use serde::Deserialize;

use crate::document::{Role, children};
use crate::limits::Limits;
use crate::media_type::is_index;
use crate::source::{ImageSource, PlatformSpec, read_document};
use crate::{Descriptor, Error, Result};

/// The manifest for `platform` of the image called `name`: of an index the first that matches, also in indexes below it; what
/// is no index has to be of that platform itself, as far as its config says one.
pub(crate) fn narrow(
    source: &dyn ImageSource,
    name: &str,
    target: &Descriptor,
    platform: &PlatformSpec,
) -> Result<Descriptor> {
    let mut has: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let mut stack = vec![target.clone()];
    while let Some(descriptor) = stack.pop() {
        let is_root = descriptor.digest == target.digest;
        if !is_index(&descriptor.media_type) {
            let own = if is_root { platform_of(source, &descriptor)? } else { descriptor.platform() };
            match own {
                Some(own) if platform.matches(&own) => return Ok(descriptor),
                Some(own) => has.push(text_of(&own)),
                None if is_root => return Ok(descriptor),
                None => {}
            }
            continue;
        }
        if !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        let Some(bytes) = read_document(source, &descriptor)? else { continue };
        let entries = children(&descriptor, &bytes)?.into_iter().filter(|child| child.role == Role::Manifest);
        let entries: Vec<Descriptor> = entries.map(|child| child.descriptor).collect();
        stack.extend(entries.into_iter().rev());
    }
    let mut named = HashSet::new();
    has.retain(|platform| named.insert(platform.clone()));
    Err(Error::NoPlatform { name: name.to_owned(), platform: platform.to_string(), has })
}

/// What a manifest's config says; `None` of what is no image.
fn platform_of(source: &dyn ImageSource, manifest: &Descriptor) -> Result<Option<Platform>> {
    #[derive(Deserialize)]
    struct Config {
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
    }
    let Some(bytes) = read_document(source, manifest)? else { return Ok(None) };
    let config = children(manifest, &bytes)?.into_iter().find(|child| child.role == Role::Config);
    let Some(config) = config.filter(|child| child.link == Link::Needs).map(|child| child.descriptor) else {
        return Ok(None);
    };
    if config.size > Limits::OWN.manifest {
        return Ok(None);
    }
    // What is missing says nothing, and is told as missing where the image is looked at as a whole.
    let Some(content) = source.fetch(&config)? else { return Ok(None) };
    let reader = VerifyReader::new(content, &config.digest, Some(config.size))?;
    let Ok(config) = serde_json::from_reader::<_, Config>(std::io::BufReader::new(reader)) else { return Ok(None) };
    let (Some(os), Some(architecture)) = (config.os, config.architecture) else { return Ok(None) };
    let mut platform = Platform::default();
    platform.set_os(os.as_str().into());
    platform.set_architecture(architecture.as_str().into());
    platform.set_variant(config.variant);
    Ok(Some(platform))
}

pub(crate) fn text_of(platform: &Platform) -> String {
    let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os(), platform.architecture())
}
