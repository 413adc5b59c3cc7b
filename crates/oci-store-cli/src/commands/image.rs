//! `import`.

use oci_store::{Error, ImportOptions, Selection, base};
use serde_json::json;

use super::places;
use crate::args::Import;
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::interrupt;
use crate::progress::Bar;

pub(crate) fn import(context: &Context, args: Import) -> Result<()> {
    check_places(&args)?;
    let options = ImportOptions {
        platform: args.platform.clone(),
        referrers: !args.no_referrers,
        allow_incomplete: args.allow_incomplete,
        link: args.link(),
        resume: args.resume,
    };
    let is_one = args.sources.len() == 1;
    let about = |error: Error, place| if is_one { Failure::from(error) } else { Failure::from(error).about(place) };
    let (mut failed, mut opened_at, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    // The sources first: a mistake there should not leave an empty store.
    for place in &args.sources {
        let selection = match args.sref.as_ref().or(place.reference.as_ref()) {
            _ if args.all => Selection::All,
            sref => Selection::One { source: sref.map(String::as_str), name: args.dref.as_ref() },
        };
        let opened = places::open(place, args.limits());
        match opened.and_then(|source| Ok(options.check_source(&source).map(|()| source)?)) {
            Ok(source) => {
                opened_at.push(place);
                sources.push((source, selection));
            }
            Err(failure) => failed.push(failure.about(place)),
        }
    }
    let known = context.store_if_any()?;
    if known.is_none() {
        (opened_at, sources) = opened_at
            .into_iter()
            .zip(sources)
            .filter(|(place, (source, selection))| match options.check_selection(source, selection) {
                Ok(()) => true,
                Err(error) => {
                    failed.push(about(error, place));
                    false
                }
            })
            .unzip();
    }
    if sources.is_empty() {
        return Failure::all(failed);
    }
    let store = known.map_or_else(|| context.store_or_new(), Ok)?;
    if args.resume {
        interrupt::end_at_once();
    }
    let bar = Bar::new(context, "import");
    let (mut imported, mut cancelled) = (Vec::new(), None);
    for (place, outcome) in opened_at.into_iter().zip(store.import_each(sources, &options, &bar)) {
        let error = match outcome {
            Ok(images) => {
                imported.extend(images);
                continue;
            }
            Err(error) => error,
        };
        imported.extend_from_slice(error.imported());
        match error {
            error @ Error::Base(base::Error::Cancelled) => cancelled = Some(Failure::from(error)),
            error => failed.push(about(error, place)),
        }
    }
    if let Some(cancelled) = cancelled {
        failed = vec![cancelled];
    }
    drop(bar);
    if imported.is_empty() && !failed.is_empty() {
        return Failure::all(failed);
    }
    let json: Vec<_> = imported
        .iter()
        .map(|image| json!({ "ref": image.name.as_str(), "digest": image.target.digest, "incomplete": image.incomplete }))
        .collect();
    context.print(&json, || {
        let line = |image: &oci_store::Imported| format!("{} {}\n", image.name, image.target.digest);
        imported.iter().map(line).collect()
    })?;
    Failure::all(failed)
}

/// Says what does not go together.
fn check_places(args: &Import) -> Result<()> {
    let wrong = |why: String| Err(Failure::new(code::USAGE, why));
    if args.sources.len() > 1 && (args.sref.is_some() || args.dref.is_some()) {
        return wrong("--sref and --dref are for one source: give each its own as oci-archive:FILE:REF".to_owned());
    }
    if let Some(place) = args.sources.iter().find(|place| place.reference.is_some())
        && (args.sref.is_some() || args.all)
    {
        let with = if args.all { "--all" } else { "--sref" };
        return wrong(format!("{place}: a ref in the source does not go with {with}"));
    }
    if args.sources.iter().filter(|place| place.is_stream()).count() > 1 {
        return wrong("-: stdin can be read once".to_owned());
    }
    Ok(())
}
