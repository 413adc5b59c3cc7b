//! `import` and `export`.

use std::ffi::OsString;
use std::path::PathBuf;

use oci_store::oci::source;
use oci_store::{ExportOptions, ImportOptions, RefName, Selection};
use serde_json::json;

use crate::args::{Export, Import};
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::progress::Bar;
use crate::reader::Reader;

pub(crate) fn import(context: &Context, args: Import) -> Result<()> {
    let sref = args.sref.as_deref().or(args.source.reference.as_deref());
    if args.source.reference.is_some() && (args.sref.is_some() || args.all) {
        let with = if args.all { "--all" } else { "--sref" };
        return Err(Failure::new(code::USAGE, format!("{}: a ref in the source does not go with {with}", args.source)));
    }
    // The source first: a mistake there should not leave an empty store.
    let source = source::open(&args.source, args.limits())?;
    let store = context.store()?;
    let selection = if args.all { Selection::All } else { Selection::One { source: sref, name: args.dref.as_ref() } };
    let options = ImportOptions {
        platform: args.platform,
        referrers: !args.no_referrers,
        allow_incomplete: args.allow_incomplete,
    };
    let bar = Bar::new(context, "import");
    let imported = store.import(&*source, &selection, &options, &bar)?;
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
    let given = places.next().map(OsString::into_string).transpose();
    let given =
        given.map_err(|given| Failure::new(code::USAGE, format!("{}: no ref is called so", given.display())))?;
    let image = match (args.sref, given) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(code::USAGE, "the ref is given twice: with --sref and before the folder"));
        }
        (given, None) | (None, given) => given,
    };
    let reader = context.reader()?;
    let image = image.map_or_else(|| only_ref(context, &reader), Ok)?;
    let name = match args.dref {
        Some(name) => name,
        None => name_of(&reader, &image)?,
    };
    let options = ExportOptions { referrers: !args.no_referrers, verify: args.verify, sync: args.sync };
    let bar = Bar::new(context, "export");
    let exported = reader.export(&image, &to, &name, options, &bar)?;
    drop(bar);
    let digest = &exported.target.digest;
    let json = json!({ "ref": name.as_str(), "digest": digest, "blobs": exported.blobs, "bytes": exported.bytes });
    context.print(&json, || format!("{name} {digest}\n"))
}

/// The image's own name. A digest, or the beginning of one, would be a name by the grammar, but is none.
fn name_of(reader: &Reader, image: &str) -> Result<RefName> {
    if reader.refs(image, 1)?.first().is_some_and(|found| found.name == image) {
        return Ok(image.parse()?);
    }
    reader.find(image)?;
    Err(Failure::new(code::USAGE, format!("{image}: an image exported by its digest needs a name: --dref")))
}

fn only_ref(context: &Context, reader: &Reader) -> Result<String> {
    let path = context.path()?;
    match reader.refs("", 2)?.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(Failure::new(code::NOT_FOUND, format!("{}: the store has no refs", path.display()))),
        _ => {
            let what = format!("{}: the store has several refs: say which with --sref", path.display());
            Err(Failure::new(code::USAGE, what))
        }
    }
}
