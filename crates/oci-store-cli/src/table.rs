//! Tables for people: as wide as they need, and on a terminal as wide as that, where it can be had.

use std::fmt::Write as _;
use std::io;

use terminal_size::{Width, terminal_size_of};

/// Digits of a digest that are left of it where there is no room for all.
const DIGITS: usize = 12;

/// Rows in columns, each as wide as its widest cell, the last as it comes. Where stdout is a terminal too narrow for
/// that, digests and media types are shortened: what is cut ends, or begins, with `…`.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let most = terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
    fitting(head, rows, most)
}

fn fitting<const N: usize>(head: [&str; N], rows: &[[String; N]], most: Option<usize>) -> String {
    // A cell is one line, whatever a stranger has written into it.
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| cell.replace('\n', "\u{fffd}"))).collect();
    let rows = rows.as_slice();
    let fits = |rows: &[[String; N]]| {
        most.is_none_or(|most| widths(head, rows).iter().sum::<usize>() + 2 * N.saturating_sub(1) <= most)
    };
    let shorten = |rows: &[[String; N]], by: fn(&str) -> String| -> Vec<[String; N]> {
        rows.iter().map(|row| row.each_ref().map(|cell| by(cell))).collect()
    };
    if fits(rows) {
        return drawn(head, rows);
    }
    let rows = shorten(rows, short_digest);
    if fits(&rows) { drawn(head, &rows) } else { drawn(head, &shorten(&rows, short_type)) }
}

fn widths<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> [usize; N] {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn drawn<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let widths = widths(head, rows);
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    };
    line(head);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

/// `sha256:0123456789ab…`; anything but a digest stays as it is.
pub(crate) fn short_digest(cell: &str) -> String {
    match cell.parse::<oci_store::Digest>() {
        Ok(digest) => {
            let encoded = digest.encoded();
            match encoded.char_indices().nth(DIGITS) {
                Some((at, _)) => format!("{}:{}…", digest.algorithm(), encoded.get(..at).unwrap_or(&encoded)),
                None => cell.to_owned(),
            }
        }
        Err(_) => cell.to_owned(),
    }
}

/// `…oci.image.layer.v1.tar`; anything but a media type of a vendor stays as it is.
fn short_type(cell: &str) -> String {
    cell.replacen("application/vnd.", "…", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("sha256:0123456789ab{}", "c".repeat(52))
    }

    fn row() -> [String; 3] {
        ["a:1".to_owned(), digest(), "application/vnd.oci.image.layer.v1.tar+gzip".to_owned()]
    }

    #[test]
    fn what_is_no_terminal_gets_all() {
        let text = fitting(["REF", "DIGEST", "TYPE"], &[row()], None);
        assert!(text.contains(&digest()) && text.contains("application/vnd.oci"), "{text}");
    }

    #[test]
    fn digests_are_shortened_first_and_types_next() {
        let wide = fitting(["REF", "DIGEST", "TYPE"], &[row()], Some(200));
        assert!(wide.contains(&digest()), "{wide}");
        let narrow = fitting(["REF", "DIGEST", "TYPE"], &[row()], Some(80));
        assert!(narrow.contains("a:1  sha256:0123456789ab…  application/vnd.oci"), "{narrow}");
        let narrower = fitting(["REF", "DIGEST", "TYPE"], &[row()], Some(60));
        assert!(narrower.contains("sha256:0123456789ab…  …oci.image.layer.v1.tar+gzip\n"), "{narrower}");
        assert!(narrower.lines().all(|line| line.chars().count() <= 60), "{narrower}");
    }

    #[test]
    fn what_looks_like_a_digest_and_is_none_stays() {
        for cell in ["-", "a:b", "sha256:", "", "name@sha256:0123"] {
            assert_eq!(short_digest(cell), cell);
        }
    }
}
