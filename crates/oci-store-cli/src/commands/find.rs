//! `find`, `diff`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci_store::oci::questions::{Amount, Diff, FieldDiff, FoundRef, LayerDiff, ManifestDiff, Query, Side};
use serde_json::{Value, json};

use crate::args::{Differ, Find};
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::listing::{Listing, Look};
use crate::output;
use crate::table::{plain_table, table};

pub(crate) fn find(context: &Context, args: Find) -> Result<()> {
    let store = context.store()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = |age: Option<Duration>| age.map(|age| now.saturating_sub(age).as_secs());
    let query = Query {
        annotations: args.annotation,
        labels: args.label,
        platform: args.platform,
        media_type: args.media_type,
        min_size: args.min_size.map(|size| size.as_u64()),
        max_size: args.max_size.map(|size| size.as_u64()),
        set_since: before(args.newer_than),
        set_before: before(args.older_than),
        blob: args.layer.map(|text| context.digest(&store, &text)).transpose()?,
    };
    let found = store.search(&query)?;
    let look = Look {
        head: ["REF", "DIGEST", "SIZE", "SET"],
        row: |found: &FoundRef| {
            let size = format!("{:>10}", output::size(found.size.bytes));
            [found.name.clone(), found.digest.to_string(), size, output::ago(found.updated)]
        },
        name: |found: &FoundRef| found.name.clone(),
        json: |found: &FoundRef| json!({ "ref": found.name, "digest": found.digest, "size": found.size.bytes, "updated": found.updated }),
    };
    let mut listing = Listing::new(context, look);
    found.refs.iter().try_for_each(|found| listing.add(found))?;
    listing.end()?;
    let unread = found.unread.iter().map(|(name, why)| Failure::new(code::ERROR, format!("{name}: not known: {why}")));
    Failure::all(unread.collect())
}

pub(crate) fn diff(context: &Context, args: &Differ) -> Result<()> {
    let diff = context.store()?.diff(&args.old, &args.new)?;
    context.print(&to_json(&diff), || {
        let row = |what: String, amount: Amount| [what, amount.blobs.to_string(), output::size(amount.bytes)];
        let rows = [
            row("both".to_owned(), diff.both),
            row(format!("{} only", args.old), diff.only_old),
            row(format!("{} only", args.new), diff.only_new),
        ];
        let mut text = table(["BLOBS OF", "COUNT", "SIZE"], &rows);
        for manifest in &diff.manifests {
            text.push_str(&describe(manifest));
        }
        text
    })
}

/// The mark of what one image has alone, or both.
fn mark(side: Side) -> char {
    match side {
        Side::Both => ' ',
        Side::Old => '-',
        Side::New => '+',
    }
}

fn describe(manifest: &ManifestDiff) -> String {
    let platform = manifest.platform.as_deref().unwrap_or("manifest");
    let only = match (&manifest.old, &manifest.new) {
        (Some(_), None) => " is gone",
        (None, Some(_)) => " is new",
        _ => "",
    };
    let mut text = format!("\n{}{only}\n", output::plain(platform).replace('\n', " "));
    let layers = manifest
        .layers
        .iter()
        .map(|LayerDiff { side, layer }| [format!("{} layer {}", mark(*side), layer.digest), output::size(layer.size)]);
    text.push_str(&plain_table(layers));
    for FieldDiff { field, old, new } in &manifest.config {
        let field = field.escape_debug();
        for (side, value) in [(Side::Old, old), (Side::New, new)] {
            // As JSON, a value is one line whatever it holds.
            if let Some(value) = value {
                let _ = writeln!(text, "{} {field} {value}", mark(side));
            }
        }
    }
    text
}

fn to_json(diff: &Diff) -> Value {
    let amount = |amount: Amount| json!({ "blobs": amount.blobs, "bytes": amount.bytes });
    let layer = |LayerDiff { side, layer }: &LayerDiff| {
        let side = match side {
            Side::Both => "both",
            Side::Old => "old",
            Side::New => "new",
        };
        json!({ "in": side, "digest": layer.digest, "size": layer.size, "mediaType": layer.media_type })
    };
    let field = |field: &FieldDiff| json!({ "field": field.field, "old": field.old, "new": field.new });
    let manifest = |manifest: &ManifestDiff| {
        json!({
            "platform": manifest.platform, "old": manifest.old, "new": manifest.new,
            "layers": manifest.layers.iter().map(layer).collect::<Vec<_>>(),
            "config": manifest.config.iter().map(field).collect::<Vec<_>>(),
        })
    };
    json!({
        "old": diff.old, "new": diff.new, "both": amount(diff.both), "onlyOld": amount(diff.only_old),
        "onlyNew": amount(diff.only_new), "manifests": diff.manifests.iter().map(manifest).collect::<Vec<_>>(),
    })
}
