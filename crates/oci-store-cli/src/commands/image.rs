//! `import`.

use oci_store::oci::source;
use oci_store::{ImportOptions, Selection};
use serde_json::json;

use crate::args::Import;
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::progress::Bar;

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
