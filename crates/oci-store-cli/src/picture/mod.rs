//! A picture of who shares what, in one file that needs nothing else: no script, no font, no network.

mod html;
mod squarify;
mod svg;

use std::path::Path;

use oci_store::oci::questions::Usage;

use crate::failure::{Failure, Result, code};
use crate::output::{self, plain};

/// Writes an SVG document.
pub(crate) fn write_svg(usage: &Usage, to: &Path) -> Result<()> {
    write(to, &svg::draw(usage))
}

/// Writes a page with the picture, and a table of the images.
pub(crate) fn write_html(usage: &Usage, to: &Path) -> Result<()> {
    write(to, &html::page(usage))
}

/// Whether a picture goes to stdout.
pub(crate) fn is_stdout(to: Option<&Path>) -> bool {
    to == Some(Path::new("-"))
}

fn write(to: &Path, text: &str) -> Result<()> {
    if is_stdout(Some(to)) {
        return output::print(text);
    }
    std::fs::write(to, text).map_err(|error| Failure::new(code::ERROR, format!("{}: {error}", to.display())))
}

/// Text of whoever named an image, for XML and HTML.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_text_and_nothing_else() {
        assert_eq!(xml("a<script>&\"'\u{1b}[2J\u{0}"), "a&lt;script&gt;&amp;&quot;&#39;\u{fffd}[2J\u{fffd}");
    }
}
