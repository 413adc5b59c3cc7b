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
    ("one", 1, "one image has them"),
    ("few", 3, "2 or 3 images share them"),
    ("some", 15, "4 to 15 share them"),
    ("many", usize::MAX, "16 or more share them"),
];

/// Colours, for light and for dark; letters stand out on all of them.
const STYLE: &str = "\
svg{--paper:#ffffff;--ink:#1b1f24;--line:#ffffff;--one:#c9dff5;--few:#cdebc5;--some:#fbe0a6;--many:#f6c3bb}
@media (prefers-color-scheme:dark){svg{--paper:#14181d;--ink:#eef2f6;--line:#14181d;--one:#23486d;--few:#2a5632;\
--some:#66500f;--many:#70342d}}
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--ink)}
.title{font-size:18px;font-weight:600}.name{font-weight:600}.paper{fill:var(--paper)}
.one{fill:var(--one)}.few{fill:var(--few)}.some{fill:var(--some)}.many{fill:var(--many)}
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

/// What has a place of its own.
enum Cell<'s> {
    Group(&'s Share),
    /// Groups that are too small for one.
    Rest {
        class: &'static str,
        groups: u64,
        bytes: u64,
        who: &'static str,
    },
}

impl Cell<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Group(share) => share.bytes,
            Self::Rest { bytes, .. } => *bytes,
        }
    }
}

fn groups(svg: &mut String, shares: &[Share], room: Rect) {
    let shown = shares.get(..GROUPS).unwrap_or(shares);
    let mut cells: Vec<Cell<'_>> = shown.iter().map(Cell::Group).collect();
    for (class, _, who) in CLASSES {
        let small = shares.iter().skip(GROUPS).filter(|share| class_of(share.images) == class);
        let (groups, bytes) = small.fold((0, 0_u64), |(n, sum), share| (n + 1, sum.saturating_add(share.bytes)));
        cells.extend((groups > 0).then_some(Cell::Rest { class, groups, bytes, who }));
    }
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.bytes()));
    let weights: Vec<u64> = cells.iter().map(Cell::bytes).collect();
    for (cell, place) in cells.into_iter().zip(squarify(&weights, room)) {
        match cell {
            Cell::Group(share) => group(svg, share, place),
            Cell::Rest { class, groups, bytes, who } => {
                let what = count(groups, "smaller group");
                svg.push_str("<g>");
                let title = format!("{what}, {}: {who}", output::size(bytes));
                rect(svg, &format!("blob {class}"), place, &title);
                frame(svg, place);
                label(svg, place, &[&what, &output::size(bytes)]);
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
    frame(svg, place);
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

fn frame(svg: &mut String, place: Rect) {
    let _ = write!(svg, "<rect class=\"group\" pointer-events=\"none\" {}/>", corners(place));
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

    #[test]
    fn what_is_too_small_for_a_place_has_one_with_others_of_its_colour() {
        let blob =
            |n: u64| SharedBlob { digest: format!("sha256:{n:064x}").parse().unwrap(), size: 500 - n, role: None };
        let share = |n: u64| Share {
            images: if n < 400 { 1 } else { 20 },
            names: vec![format!("image-{n}")],
            blobs: vec![blob(n)],
            bytes: 500 - n,
        };
        let usage = Usage { shares: (0..450).map(share).collect(), ..Usage::default() };
        let svg = draw(&usage);
        assert_eq!(svg.matches("<g>").count(), GROUPS + 2);
        assert!(svg.contains("<title>100 smaller groups, 14.7 KiB: one image has them</title>"), "{svg}");
        assert!(svg.contains("<title>50 smaller groups, 3.7 KiB: 16 or more share them</title>"), "{svg}");
        assert!(svg.contains("\nimage-3</title>") && !svg.contains("image-301"));
    }
}
