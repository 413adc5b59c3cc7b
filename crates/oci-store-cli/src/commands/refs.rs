//! `list`, `rm`, `tag`, `rename`, `pin`, `unpin`.

use oci_store::{Condition, Error, RefName};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::listing::{Listing, Look};
use crate::output;
use crate::reader::Listed;
use crate::table::table;

pub(crate) fn list(context: &Context, prefix: &str) -> Result<()> {
    let look = Look {
        head: ["REF", "MANIFEST DIGEST", "TYPE", "SET"],
        row,
        name: |found: &Listed| found.name.to_string(),
        json: to_json,
    };
    let mut listing = Listing::new(context, look);
    if let Some(reader) = context.reader_if_any()? {
        reader.each_ref(prefix, usize::MAX, &mut |found| listing.add(&found))?;
    }
    listing.end()
}

fn row(found: &Listed) -> [String; 4] {
    let incomplete = if found.incomplete { " (incomplete)" } else { "" };
    let kind = format!("{}{incomplete}", short_type(&found.target.media_type));
    let set = found.updated.map_or_else(|| "-".to_owned(), output::ago);
    [found.name.clone(), found.target.digest.to_string(), kind, set]
}

fn to_json(found: &Listed) -> Value {
    json!({
        "ref": found.name,
        "digest": found.target.digest,
        "mediaType": found.target.media_type,
        "size": found.target.size,
        "incomplete": found.incomplete,
        "updated": found.updated,
    })
}

pub(super) fn short_type(media_type: &str) -> &str {
    use oci_store::oci::media_type as types;
    match media_type {
        types::INDEX | types::DOCKER_LIST => "index",
        types::MANIFEST | types::DOCKER_MANIFEST | types::ARTIFACT => "manifest",
        other => other,
    }
}

/// Each by itself: one that is not there does not keep the others.
pub(crate) fn rm(context: &Context, texts: impl Iterator<Item = String>) -> Result<()> {
    let store = context.store()?;
    let (mut names, mut failures) = (Vec::new(), Vec::new());
    for text in texts {
        match text.parse::<RefName>() {
            Ok(name) => names.push(name),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    for (name, removed) in names.iter().zip(store.remove_refs(&names)?) {
        if removed.is_none() {
            failures.push(Failure::from(Error::RefNotFound(name.to_string())));
        }
    }
    Failure::all(failures)
}

pub(crate) fn tag(context: &Context, source: &str, target: &RefName, new: bool) -> Result<()> {
    let condition = if new { Condition::Absent } else { Condition::Any };
    let tagged = context.store()?.tag(source, target, condition)?;
    let json = json!({ "ref": target.as_str(), "digest": tagged.digest });
    context.print(&json, || format!("{target} {}\n", tagged.digest))
}

pub(crate) fn rename(context: &Context, from: &RefName, to: &RefName) -> Result<()> {
    Ok(context.store()?.rename_ref(from, to)?)
}

pub(crate) fn pin(context: &Context, image: &str) -> Result<()> {
    let (digest, _) = context.store()?.pin(image)?;
    context.print(&json!({ "digest": digest }), || format!("{digest}\n"))
}

pub(crate) fn unpin(context: &Context, image: &str) -> Result<()> {
    let (digest, was) = context.store()?.unpin(image)?;
    if !was {
        return Err(Failure::new(crate::failure::code::NOT_FOUND, format!("{digest}: not pinned")));
    }
    context.print(&json!({ "digest": digest }), || format!("{digest}\n"))
}

pub(crate) fn pins(context: &Context) -> Result<()> {
    let pins = context.store()?.pins()?;
    context.print(&pins, || {
        let row = |pin: &oci_store::Descriptor| [pin.digest.to_string(), short_type(&pin.media_type).to_owned()];
        table(["DIGEST", "TYPE"], &pins.iter().map(row).collect::<Vec<_>>())
    })
}
