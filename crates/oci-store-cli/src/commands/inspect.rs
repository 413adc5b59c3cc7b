//! `inspect`.

use std::io::Read;

use oci_store::oci::oci_spec::image::ImageConfiguration;
use oci_store::oci::{Child, Role, children, document::MAX_DOCUMENT, media_type};
use oci_store::{Descriptor, Limits};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Result;
use crate::output;
use crate::reader::Reader;

pub(crate) fn inspect(context: &Context, image: &str, raw: bool) -> Result<()> {
    let reader = context.reader()?;
    let target = reader.find(image)?;
    if raw {
        return reader.read(&target, |bytes| output::print_bytes(bytes))?;
    }
    let name = reader.refs(image, 1)?.into_iter().find(|found| found.name == image);
    let mut shown = json!({
        "digest": target.digest,
        "mediaType": target.media_type,
        "size": target.size,
    });
    if let Some(found) = name {
        if found.incomplete {
            set(&mut shown, "incomplete", Value::from(true));
        }
        set(&mut shown, "ref", Value::from(found.name));
    }
    if media_type::is_document(&target.media_type) {
        describe(&reader, &target, &mut shown)?;
    }
    let referrers = reader.referrers(&target)?;
    if !referrers.is_empty() {
        set(&mut shown, "referrers", json!(referrers));
    }
    context.print(&shown, || text(&shown, 0))
}

fn describe(reader: &Reader, target: &Descriptor, shown: &mut Value) -> Result<()> {
    let bytes = read(reader, target, Limits::OWN.manifest)?;
    let all = children(target, &bytes)?;
    let of = |role: Role| all.iter().filter(move |child| child.role == role).map(|child| &child.descriptor);
    if media_type::is_index(&target.media_type) {
        set(shown, "manifests", json!(of(Role::Manifest).collect::<Vec<_>>()));
        return Ok(());
    }
    if let Some(subject) = of(Role::Subject).next() {
        set(shown, "subject", json!(subject));
    }
    if let Some(config) = of(Role::Config).next() {
        set(shown, "config", json!(config));
        // An artifact's config is no image's: then there is nothing more to tell.
        if let Some(config) = read_config(reader, config) {
            let created = config.created().clone();
            set(shown, "created", json!(created));
            set(shown, "architecture", json!(config.architecture().to_string()));
            set(shown, "os", json!(config.os().to_string()));
            if let Some(run) = config.config() {
                set(shown, "labels", json!(run.labels()));
                set(shown, "env", json!(run.env()));
                set(shown, "entrypoint", json!(run.entrypoint()));
                set(shown, "cmd", json!(run.cmd()));
            }
        }
    }
    let layers: Vec<&Child> = all.iter().filter(|c| matches!(c.role, Role::Layer | Role::Blob)).collect();
    let total: u64 = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.descriptor.size));
    set(shown, "layers", json!(layers.iter().map(|layer| &layer.descriptor).collect::<Vec<_>>()));
    set(shown, "layersSize", json!(total));
    Ok(())
}

fn read(reader: &Reader, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = reader.read(descriptor, |from| from.take(most + 1).read_to_end(&mut bytes))?;
    read.map_err(oci_store::cas::Error::from)?;
    Ok(bytes)
}

fn read_config(reader: &Reader, config: &Descriptor) -> Option<ImageConfiguration> {
    let image =
        config.media_type.ends_with(".image.config.v1+json") || config.media_type.ends_with(".container.image.v1+json");
    serde_json::from_slice(&read(reader, config, MAX_DOCUMENT).ok().filter(|_| image)?).ok()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let (Some(object), false) = (object.as_object_mut(), value.is_null()) {
        object.insert(key.to_owned(), value);
    }
}

/// The same for people: a line each, indented where it belongs to something.
fn text(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut text_of = String::new();
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        text_of.push_str(&format!("{indent}{key}:\n{}", text(value, depth + 1)));
                    }
                    value => text_of.push_str(&format!("{indent}{key}: {}\n", plain(value))),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                let inner = text(item, depth + 1);
                // The first line of an item is marked.
                text_of.push_str(&format!("{indent}- {}", inner.trim_start()));
            }
        }
        value => text_of.push_str(&format!("{indent}{}\n", plain(value))),
    }
    text_of
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""),
        other => other.to_string(),
    }
}
