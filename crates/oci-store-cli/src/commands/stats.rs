//! `stats`, `du`.

use oci_store::oci::questions::{Amount, ImageUsage};
use serde_json::{Value, json};

use crate::args::Du;
use crate::context::{Context, Shape};
use crate::failure::{Failure, Result, code};
use crate::output::Later;
use crate::table::table;
use crate::{output, picture};

fn amount(amount: Amount) -> Value {
    json!({ "blobs": amount.blobs, "bytes": amount.bytes })
}

pub(crate) fn stats(context: &Context) -> Result<()> {
    let stats = context.store()?.stats()?;
    let ratio = match stats.blobs.without(stats.garbage).bytes {
        0 => None,
        kept => Some(stats.images.bytes as f64 / kept as f64),
    };
    let json = json!({
        "refs": stats.refs, "pins": stats.pins, "images": amount(stats.images), "blobs": amount(stats.blobs),
        "documents": amount(stats.documents), "layers": amount(stats.layers), "garbage": amount(stats.garbage),
        "leases": stats.leases, "dedupeRatio": ratio, "index": stats.index, "indexBytes": stats.index_size,
    });
    context.print(&json, || {
        let none = String::new;
        let of = |what: &str, amount: Amount| {
            [what.to_owned(), amount.blobs.to_string(), output::size(amount.bytes), String::new()]
        };
        let note = |[what, count, size, _]: [String; 4], note: String| [what, count, size, note];
        let shared = ratio.map_or_else(none, |ratio| format!("{ratio:.1} times what is stored for them"));
        let rows = [
            ["refs".to_owned(), stats.refs.to_string(), none(), none()],
            ["pins".to_owned(), stats.pins.to_string(), none(), none()],
            note(of("images", stats.images), shared),
            of("blobs", stats.blobs),
            of("documents", stats.documents),
            of("layers", stats.layers),
            note(of("garbage", stats.garbage), "what a gc would take now".to_owned()),
            ["live leases".to_owned(), stats.leases.to_string(), none(), none()],
            ["index".to_owned(), none(), output::size(stats.index_size), stats.index],
        ];
        table(["WHAT", "COUNT", "SIZE", ""], &rows)
    })
}

pub(crate) fn du(context: &Context, args: &Du) -> Result<()> {
    let printed = [&args.html, &args.svg].into_iter().filter(|to| picture::is_stdout(to.as_deref())).count();
    if printed == 2 {
        return Err(Failure::new(code::USAGE, "--html and --svg: one of them can go to stdout"));
    }
    let is_drawn = args.html.is_some() || args.svg.is_some();
    let usage = context.store()?.usage(&args.refs, is_drawn)?;
    args.html.as_deref().map_or(Ok(()), |to| picture::write_html(&usage, to))?;
    args.svg.as_deref().map_or(Ok(()), |to| picture::write_svg(&usage, to))?;
    let image = |image: &ImageUsage| {
        json!({
            "ref": image.name, "digest": image.digest, "blobs": image.total.blobs, "bytes": image.total.bytes,
            "shared": image.total.without(image.unique).bytes, "unique": image.unique.bytes,
        })
    };
    let images = || usage.images.iter().map(image).collect::<Vec<_>>();
    if printed > 0 {
        return Ok(());
    }
    if context.shape() == Shape::Names {
        return context.print_named("ref", &images(), String::new);
    }
    let json = || json!({ "images": images(), "total": amount(usage.total), "freed": amount(usage.freed) });
    context.print(&Later(json), || {
        let cell = |bytes: u64| format!("{:>10}", output::size(bytes));
        let row = |name: &str, total: Amount, unique: Amount| {
            let shared = total.without(unique);
            [name.to_owned(), cell(total.bytes), cell(shared.bytes), cell(unique.bytes), total.blobs.to_string()]
        };
        let mut rows: Vec<_> = usage.images.iter().map(|image| row(&image.name, image.total, image.unique)).collect();
        rows.push(row("total", usage.total, usage.freed));
        table(["REF", "SIZE", "SHARED", "UNIQUE", "BLOBS"], &rows)
    })
}
