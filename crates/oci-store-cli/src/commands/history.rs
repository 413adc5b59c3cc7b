//! `log`, `undo`.

use oci_store::Error;
use oci_store::oci::{Change, Undone};
use serde_json::json;

use crate::args::{Log, Undo};
use crate::context::Context;
use crate::failure::Result;
use crate::output;
use crate::table::table;

pub(crate) fn log(context: &Context, args: &Log) -> Result<()> {
    let store = context.store()?;
    let changes = store.log(args.name.as_ref(), args.limit)?;
    if let Some(name) = args.name.as_ref().filter(|_| changes.is_empty())
        && store.get_ref(name)?.is_none()
    {
        return Err(Error::RefNotFound(name.to_string()).into());
    }
    let json = |change: &Change| {
        json!({
            "ref": change.name, "operation": change.operation.name(), "from": change.from,
            "old": change.old.as_ref().map(|old| &old.digest), "new": change.new, "time": change.time,
        })
    };
    context.print_named("ref", &changes.iter().map(json).collect::<Vec<_>>(), || {
        let row = |change: &Change| {
            let text = |digest: Option<String>| digest.unwrap_or_else(|| "-".to_owned());
            let name = match &change.from {
                Some(from) => format!("{from} > {}", change.name),
                None => change.name.clone(),
            };
            let old = text(change.old.as_ref().map(|old| old.digest.to_string()));
            let new = text(change.new.as_ref().map(ToString::to_string));
            [output::ago(change.time), change.operation.name().to_owned(), name, old, new]
        };
        table(["WHEN", "BY", "REF", "OLD", "NEW"], &changes.iter().map(row).collect::<Vec<_>>())
    })
}

pub(crate) fn undo(context: &Context, args: &Undo) -> Result<()> {
    let undone = context.store()?.undo(args.name.as_ref())?;
    let json: Vec<_> =
        undone.iter().map(|undone| json!({ "ref": undone.name.as_str(), "digest": undone.digest })).collect();
    context.print_named("ref", &json, || {
        let line = |Undone { name, digest }: &Undone| match digest {
            Some(digest) => format!("{name} {digest}\n"),
            None => format!("{name} is removed\n"),
        };
        undone.iter().map(line).collect()
    })
}
