//! The picture: each blob is there once, as large as it is, and lies with those that the same images have.

use std::fmt::Write as _;

use oci_store::oci::questions::{Share, SharedBlob, Usage};

use super::squarify::{Rect, squarify};
use super::xml;
use crate::output::{self, count, short};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 720.0;
const MARGIN: f64 = 12.0;
const HEAD: f64 = 58.0;
const FOOT: f64 = 36.0;

/// So many groups are drawn, and blobs in each; the smaller ones are drawn as one.
const GROUPS: usize = 300;
const BLOBS: usize = 60;
/// The width of a letter, of the size of the labels.
const LETTER: f64 = 6.8;
const LINE: f64 = 15.0;

/// By how many images have a blob: the class of its colour, the most that are in it, and what the legend says.
const CLASSES: [(&str, usize, &str); 4] = [
    ("one", 1, "one image has it"),
    ("few", 3, "2 or 3 images share it"),
    ("some", 15, "4 to 15 share it"),
    ("many", usize::MAX, "16 or more share it"),
];

/// Colours, for light and for dark; letters stand out on all of them.
const STYLE: &str = "\
svg{--paper:#ffffff;--ink:#1b1f24;--line:#ffffff;--one:#c9dff5;--few:#cdebc5;--some:#fbe0a6;--many:#f6c3bb;--rest:#dfe3e8}
@media (prefers-color-scheme:dark){svg{--paper:#14181d;--ink:#eef2f6;--line:#14181d;--one:#23486d;--few:#2a5632;\
--some:#66500f;--many:#70342d;--rest:#3a424b}}
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--ink)}
.title{font-size:18px;font-weight:600}.name{font-weight:600}.paper{fill:var(--paper)}
.one{fill:var(--one)}.few{fill:var(--few)}.some{fill:var(--some)}.many{fill:var(--many)}.rest{fill:var(--rest)}
.blob{stroke:var(--line);stroke-width:.75}.group{fill:none;stroke:var(--line);stroke-width:2.5}
g:hover>.group{stroke:var(--ink)}text{pointer-events:none}";

fn class_of(images: usize) -> &'static str {
    CLASSES.iter().find(|(_, most, _)| images <= *most).map_or("many", |(class, ..)| class)
}

/// An SVG document.
pub(super) fn draw(usage: &Usage) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"what\">\n<title id=\"what\">Who shares what: {}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
        summary(usage)
    );
    let _ = writeln!(svg, "<text class=\"title\" x=\"{MARGIN}\" y=\"26\">Who shares what</text>");
    let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"46\">{}</text>", summary(usage));
    let room = Rect { x: MARGIN, y: HEAD, width: WIDTH - 2.0 * MARGIN, height: HEIGHT - HEAD - FOOT };
    groups(&mut svg, &usage.shares, room);
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

/// `2 images, 12 blobs, 3 MiB`.
pub(super) fn summary(usage: &Usage) -> String {
    let blobs = count(usage.total.blobs, "blob");
    format!("{}, {blobs}, {}", count(usage.images.len() as u64, "ref"), output::size(usage.total.bytes))
}

fn groups(svg: &mut String, shares: &[Share], room: Rect) {
    let shown = shares.get(..GROUPS).unwrap_or(shares);
    let rest = shares.get(GROUPS..).unwrap_or_default();
    let mut weights: Vec<u64> = shown.iter().map(|share| share.bytes).collect();
    let rest_bytes = rest.iter().fold(0_u64, |sum, share| sum.saturating_add(share.bytes));
    if !rest.is_empty() {
        weights.push(rest_bytes);
    }
    // The rest may weigh more than each of those.
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(weights.get(*at).copied()));
    weights.sort_by(|a, b| b.cmp(a));
    for (at, place) in order.into_iter().zip(squarify(&weights, room)) {
        match shown.get(at) {
            Some(share) => group(svg, share, place),
            None => {
                let what = format!("{}, {}", count(rest.len() as u64, "smaller group"), output::size(rest_bytes));
                svg.push_str("<g>");
                rect(svg, "blob rest", place, &what);
                rect(svg, "group", place, &what);
                label(svg, place, &[&what]);
                svg.push_str("</g>\n");
            }
        }
    }
}

fn group(svg: &mut String, share: &Share, place: Rect) {
    let class = class_of(share.images);
    let who = names(share);
    svg.push_str("<g>");
    let shown = share.blobs.get(..BLOBS).unwrap_or(&share.blobs);
    let mut weights: Vec<u64> = shown.iter().map(|blob| blob.size).collect();
    let rest = share.blobs.get(BLOBS..).unwrap_or_default();
    // Each of them is smaller than those that are shown, and all together are placed last.
    weights.extend((!rest.is_empty()).then(|| rest.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size))));
    for (at, place) in squarify(&weights, place).into_iter().enumerate() {
        let what = match shown.get(at) {
            Some(blob) => about(blob),
            None => {
                let bytes = weights.last().copied().unwrap_or_default();
                format!("{}, {}", count(rest.len() as u64, "smaller blob"), output::size(bytes))
            }
        };
        rect(svg, &format!("blob {class}"), place, &format!("{what}\n{who}"));
    }
    svg.push_str(&format!("<rect class=\"group\" pointer-events=\"none\" {}/>", corners(place)));
    let name = match (share.images, share.names.as_slice()) {
        (1, [name, ..]) => name.clone(),
        (images, _) => count(images as u64, "image"),
    };
    label(svg, place, &[&name, &output::size(share.bytes)]);
    svg.push_str("</g>\n");
}

/// What the images are that have a group: a line each.
fn names(share: &Share) -> String {
    let mut text = share.names.join("\n");
    // Of one image, which may have several names, there are no more.
    let more = share.images.saturating_sub(share.names.len());
    if more > 0 {
        let _ = write!(text, "\nand {}", count(more as u64, "more image"));
    }
    text
}

fn about(blob: &SharedBlob) -> String {
    let role = blob.role.map_or("blob", |role| role.name());
    format!("{role} {}, {}", short(&blob.digest), output::size(blob.size))
}

fn corners(Rect { x, y, width, height }: Rect) -> String {
    format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"")
}

fn rect(svg: &mut String, class: &str, place: Rect, title: &str) {
    let _ = write!(svg, "<rect class=\"{class}\" {}><title>{}</title></rect>", corners(place), xml(title));
}

/// As many of the lines as there is room for, each as long as there is.
fn label(svg: &mut String, place: Rect, lines: &[&str]) {
    let room = place.inset(6.0);
    for (at, line) in lines.iter().enumerate() {
        let bottom = LINE * (at + 1) as f64;
        let Some(text) = fitted(line, room.width).filter(|_| bottom <= room.height + 3.0) else { return };
        let class = if at == 0 { " class=\"name\"" } else { "" };
        let (x, y) = (room.x, room.y + bottom - 3.0);
        let _ = write!(svg, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", xml(&text));
    }
}

/// The text, or its beginning and `…`; `None` if not even a few letters fit.
fn fitted(text: &str, width: f64) -> Option<String> {
    const FEW: usize = 4;
    let letters = (width / LETTER).max(0.0) as usize;
    if text.chars().count() <= letters {
        return Some(text.to_owned());
    }
    (letters > FEW).then(|| text.chars().take(letters - 1).chain(['…']).collect())
}

fn legend(svg: &mut String) {
    let y = HEIGHT - FOOT + 12.0;
    let mut x = MARGIN;
    for (class, _, what) in CLASSES {
        let _ = write!(svg, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"14\" height=\"14\" rx=\"2\"/>");
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{what}</text>", x + 20.0, y + 11.5);
        x += 44.0 + what.chars().count() as f64 * LETTER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_or_are_left_out() {
        assert_eq!(fitted("nginx", 100.0).as_deref(), Some("nginx"));
        assert_eq!(fitted("a-long-name:1.27", 70.0).as_deref(), Some("a-long-na…"));
        assert_eq!(fitted("a-long-name:1.27", 20.0), None);
        assert_eq!(fitted("abc", 0.0), None);
    }

    #[test]
    fn a_colour_tells_how_many_share() {
        let classes = [1, 2, 3, 4, 15, 16, 5000].map(class_of);
        assert_eq!(classes, ["one", "few", "few", "some", "some", "many", "many"]);
    }
}
