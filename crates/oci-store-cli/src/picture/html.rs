//! A page around the picture.

use std::cmp::Reverse;
use std::fmt::Write as _;

use oci_store::oci::questions::{ImageUsage, Usage};

use super::{svg, xml};
use crate::output;

/// So many images are in the table, the largest.
const ROWS: usize = 1000;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#ffffff;--ink:#1b1f24;--faint:#57606a;--line:#d5dae0}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#eef2f6;--faint:#9aa5b1;--line:#333b44}}
body{margin:0 auto;max-width:1240px;padding:20px;background:var(--paper);color:var(--ink);\
font:14px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
svg{display:block;width:100%;height:auto}
p{color:var(--faint)}
table{border-collapse:collapse;width:100%;margin-top:16px}
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left;word-break:break-all}
thead th{position:sticky;top:0;background:var(--paper)}
tfoot td{font-weight:600}";

pub(super) fn page(usage: &Usage) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Who shares what: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        svg::summary(usage)
    );
    page.push_str(&svg::draw(usage));
    page.push_str(
        "<p>Each blob is drawn once, as large as it is, beside those that the same images have. What one image alone has \
         is what its removal frees.</p>\n",
    );
    table(&mut page, usage);
    page.push_str("</body>\n</html>\n");
    page
}

fn table(page: &mut String, usage: &Usage) {
    page.push_str(
        "<table>\n<thead><tr><th>Ref</th><th>Size</th><th>Shared</th><th>Unique</th><th>Blobs</th></tr></thead>\n",
    );
    page.push_str("<tbody>\n");
    let mut images: Vec<&ImageUsage> = usage.images.iter().collect();
    images.sort_by_key(|image| (Reverse(image.unique.bytes), Reverse(image.total.bytes)));
    let mut row = |name: &str, [total, shared, unique]: [u64; 3], blobs: u64| {
        let [total, shared, unique] = [total, shared, unique].map(output::size);
        let cells = format!("<td>{total}</td><td>{shared}</td><td>{unique}</td><td>{blobs}</td>");
        let _ = writeln!(page, "<tr><td>{name}</td>{cells}</tr>");
    };
    for image in images.iter().take(ROWS) {
        let sizes = [image.total.bytes, image.total.without(image.unique).bytes, image.unique.bytes];
        row(&xml(&image.name), sizes, image.total.blobs);
    }
    let all = [usage.total.bytes, usage.total.without(usage.freed).bytes, usage.freed.bytes];
    let more = match images.len().saturating_sub(ROWS) {
        0 => String::new(),
        more => format!(" ({more} more that are not shown)"),
    };
    page.push_str("</tbody>\n<tfoot>\n");
    let [total, shared, unique] = all.map(output::size);
    let cells = format!("<td>{total}</td><td>{shared}</td><td>{unique}</td><td>{}</td>", usage.total.blobs);
    let _ = writeln!(page, "<tr><td>All of them{more}</td>{cells}</tr>\n</tfoot>\n</table>");
}
