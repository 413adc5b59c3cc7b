//! `blobs`, `cat`, `resolve`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci_store::{BlobFilter, BlobInfo, Digest, base};
use serde_json::json;

use crate::args::Blobs;
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::listing::{Listing, Look};
use crate::output;

/// Blobs fetched at once.
const PAGE: usize = 1000;

pub(crate) fn cat(context: &Context, blob: &str) -> Result<()> {
    let reader = context.reader()?;
    let found = reader.find(blob)?;
    reader.read(&found, |bytes| output::print_bytes(bytes))?
}

pub(crate) fn resolve(context: &Context, prefix: &str) -> Result<()> {
    let digest = context.reader()?.resolve(prefix)?;
    context.print(&json!({ "digest": digest }), || format!("{digest}\n"))
}

pub(crate) fn list(context: &Context, args: &Blobs) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = |age: Option<Duration>| age.map(|age| now.saturating_sub(age).as_secs());
    let filter = BlobFilter {
        media_type: args.media_type.clone(),
        algorithm: args.algorithm.clone(),
        min_size: args.min_size.map(|size| size.as_u64()),
        max_size: args.max_size.map(|size| size.as_u64()),
        created_since: before(args.newer_than),
        created_before: before(args.older_than),
        used_before: before(args.unused_for),
    };
    let mut after = args.after.as_deref().map(last_of).transpose()?;
    let store = context.store()?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let look = Look {
        head: ["DIGEST", "SIZE", "CREATED", "MEDIA TYPE"],
        row,
        name: |blob: &BlobInfo| blob.digest.to_string(),
        json: to_json,
    };
    let mut listing = Listing::new(context, look);
    loop {
        let page = store.base().view(|view| view.blobs(&filter, after.as_ref(), PAGE.min(left)))?;
        page.iter().try_for_each(|blob| listing.add(blob))?;
        left -= page.len();
        after = page.last().map(|blob| blob.digest.clone());
        if page.len() < PAGE || left == 0 {
            return listing.end();
        }
    }
}

/// The last digest that there can be that begins so.
fn last_of(text: &str) -> Result<Digest> {
    if let Ok(digest) = text.parse() {
        return Ok(digest);
    }
    let (algorithms, hex) = base::split_prefix(text)?;
    let last = algorithms.first().and_then(|algorithm| {
        let width = algorithm.len() * 2;
        format!("{algorithm}:{hex:f<width$}").parse().ok()
    });
    last.ok_or_else(|| Failure::new(code::USAGE, format!("{text}: longer than a digest")))
}

fn row(blob: &BlobInfo) -> [String; 4] {
    let damaged = if blob.damaged { "DAMAGED " } else { "" };
    let media_type = if blob.media_type.is_empty() { "-" } else { &blob.media_type };
    let created = output::ago(blob.created);
    [blob.digest.to_string(), format!("{:>10}", output::size(blob.size)), created, format!("{damaged}{media_type}")]
}

fn to_json(blob: &BlobInfo) -> serde_json::Value {
    json!({
        "digest": blob.digest,
        "size": blob.size,
        "mediaType": blob.media_type,
        "created": blob.created,
        "used": blob.used,
        "verified": blob.verified,
        "damaged": blob.damaged,
    })
}
