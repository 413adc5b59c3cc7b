//! `import` and `export`.

use std::path::PathBuf;

use oci_store::{ExportOptions, ImportOptions, Layout, Selection, Store};
use serde_json::json;

use crate::args::{Export, Import};
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::progress::Bar;

pub(crate) fn import(context: &Context, args: Import) -> Result<()> {
    // The source first: a mistake there should not leave an empty store.
    let source = Layout::open(&args.source)?;
    let store = context.store()?;
    let selection = if args.all {
        Selection::All
    } else {
        Selection::One { source: args.sref.as_deref(), name: args.dref.as_ref() }
    };
    let options = ImportOptions {
        platform: args.platform,
        referrers: !args.no_referrers,
        allow_incomplete: args.allow_incomplete,
    };
    let bar = Bar::new("import");
    let imported = store.import(&source, &selection, &options, &bar)?;
    drop(bar);
    let json: Vec<_> = imported
        .iter()
        .map(|image| json!({ "ref": image.name.as_str(), "digest": image.target.digest, "incomplete": image.incomplete }))
        .collect();
    context.print(&json, || {
        let line = |image: &oci_store::Imported| format!("{} {}\n", image.name, image.target.digest);
        imported.iter().map(line).collect()
    })
}

pub(crate) fn export(context: &Context, args: Export) -> Result<()> {
    let mut places = args.places.into_iter().rev();
    let to = PathBuf::from(places.next().unwrap_or_default());
    let image = match (args.sref, places.next()) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(code::USAGE, "the ref is given twice: with --sref and before the folder"));
        }
        (given, None) | (None, given) => given,
    };
    let store = context.store()?;
    let image = image.map_or_else(|| only_ref(&store), Ok)?;
    let name = match args.dref {
        Some(name) => name,
        None => image.parse().map_err(|_| {
            Failure::new(code::USAGE, format!("{image}: an image exported by its digest needs a name: --dref"))
        })?,
    };
    let options = ExportOptions { referrers: !args.no_referrers, verify: args.verify, sync: args.sync };
    let bar = Bar::new("export");
    let exported = store.export(&image, &to, &name, options, &bar)?;
    drop(bar);
    let digest = &exported.target.digest;
    let json = json!({ "ref": name.as_str(), "digest": digest, "blobs": exported.blobs, "bytes": exported.bytes });
    context.print(&json, || format!("{name} {digest}\n"))
}

fn only_ref(store: &Store) -> Result<String> {
    let refs = store.refs("", None, 2)?;
    match refs.as_slice() {
        [only] => Ok(only.name.to_string()),
        [] => Err(Failure::new(code::NOT_FOUND, format!("{}: the store has no refs", store.root().display()))),
        _ => {
            let what = format!("{}: the store has several refs: say which with --sref", store.root().display());
            Err(Failure::new(code::USAGE, what))
        }
    }
}
