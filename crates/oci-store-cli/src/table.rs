//! Tables for people: as wide as they need, and on a terminal as wide as that, where it can be had.

use std::borrow::Cow;
use std::{io, iter};

use oci_store::Digest;
use terminal_size::{Width, terminal_size_of};

/// Digits of a digest that are left of it where there is no room for all.
const DIGITS: usize = 12;

/// Rows in columns, each as wide as its widest cell, the last as it comes. Where stdout is a terminal too narrow for
/// that, digests and media types are shortened: what is cut ends, or begins, with `…`.
pub(crate) fn table<const N: usize>(head: [&'static str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new(head);
    rows.iter().for_each(|row| table.push(row));
    table.draw(true)
}

/// The same without a head.
pub(crate) fn plain_table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new([""; N]);
    rows.for_each(|row| table.push(&row));
    table.draw(false)
}

/// The same, row by row. There may be very many: a cell costs little more than its text.
pub(crate) struct Table<const N: usize> {
    head: [&'static str; N],
    /// All cells, one behind the other, and where each ends.
    text: String,
    ends: Vec<usize>,
}

/// How a cell is shown.
type Show = fn(&str) -> Cow<'_, str>;

impl<const N: usize> Table<N> {
    pub(crate) fn new(head: [&'static str; N]) -> Self {
        Self { head, text: String::new(), ends: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: &[String; N]) {
        for cell in row {
            // A cell is one line, whatever a stranger has written into it.
            let mut lines = cell.split('\n');
            self.text.push_str(lines.next().unwrap_or_default());
            for line in lines {
                self.text.push('\u{fffd}');
                self.text.push_str(line);
            }
            self.ends.push(self.text.len());
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len() / N.max(1)
    }

    /// Its text, with or without the head.
    pub(crate) fn draw(&self, with_head: bool) -> String {
        let most = terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
        self.fitting(most, with_head)
    }

    fn fitting(&self, most: Option<usize>, with_head: bool) -> String {
        let shows: [Show; 4] = [
            |cell| cell.into(),
            short_digest,
            |cell| Cow::Owned(short_type(&short_digest(cell))),
            |cell| Cow::Owned(short_type(&bare_digest(cell))),
        ];
        let [whole, .., shortest] = shows;
        let fits = |show: &Show| {
            most.is_none_or(|most| self.widths(*show).iter().sum::<usize>() + 2 * N.saturating_sub(1) <= most)
        };
        let show = if most.is_none() { whole } else { shows.into_iter().find(fits).unwrap_or(shortest) };
        self.drawn(show, with_head)
    }

    fn cells(&self) -> impl Iterator<Item = &str> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| self.text.get(begin..*end).unwrap_or_default())
    }

    fn widths(&self, show: Show) -> [usize; N] {
        let mut widths = self.head.map(str::len);
        for (column, cell) in (0..N).cycle().zip(self.cells()) {
            let width = width(&show(cell));
            widths.get_mut(column).into_iter().for_each(|widest| *widest = width.max(*widest));
        }
        widths
    }

    fn drawn(&self, show: Show, with_head: bool) -> String {
        let widths = self.widths(show);
        let line = widths.iter().sum::<usize>() + 2 * N;
        let mut text = String::with_capacity(line * (self.len() + 1));
        let head = self.head.into_iter().filter(|_| with_head);
        for ((column, widest), cell) in widths.iter().enumerate().cycle().zip(head.chain(self.cells())) {
            let cell = show(cell);
            text.push_str(&cell);
            if column + 1 < N {
                text.extend(iter::repeat_n(' ', widest - width(&cell) + 2));
            } else {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
        }
        text
    }
}

fn width(cell: &str) -> usize {
    if cell.is_ascii() { cell.len() } else { cell.chars().count() }
}

/// `sha256:0123456789ab…`, of each word that is a digest; anything else stays as it is.
pub(crate) fn short_digest(cell: &str) -> Cow<'_, str> {
    each_digest(cell, |digest, digits| format!("{}:{digits}…", digest.algorithm()))
}

/// The same without the algorithm, which a command need not be told either: `0123456789ab…`.
fn bare_digest(cell: &str) -> Cow<'_, str> {
    each_digest(cell, |_, digits| format!("{digits}…"))
}

fn each_digest(cell: &str, show: fn(&Digest, &str) -> String) -> Cow<'_, str> {
    let short = |word: &str| {
        let digest: Digest = word.parse().ok()?;
        let encoded = digest.encoded();
        let (at, _) = encoded.char_indices().nth(DIGITS)?;
        Some(show(&digest, encoded.get(..at)?))
    };
    if !cell.contains(':') {
        return cell.into();
    }
    let words = cell.split(' ').map(|word| short(word).map_or(Cow::Borrowed(word), Cow::Owned));
    words.collect::<Vec<_>>().join(" ").into()
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

    fn fitting(most: Option<usize>) -> String {
        let mut table = Table::new(["REF", "DIGEST", "TYPE"]);
        table.push(&row());
        table.fitting(most, true)
    }

    #[test]
    fn what_is_no_terminal_gets_all() {
        let text = fitting(None);
        assert!(text.contains(&digest()) && text.contains("application/vnd.oci"), "{text}");
    }

    #[test]
    fn digests_are_shortened_first_and_types_next() {
        let wide = fitting(Some(200));
        assert!(wide.contains(&digest()), "{wide}");
        let narrow = fitting(Some(80));
        assert!(narrow.contains("a:1  sha256:0123456789ab…  application/vnd.oci"), "{narrow}");
        let narrower = fitting(Some(60));
        assert!(narrower.contains("sha256:0123456789ab…  …oci.image.layer.v1.tar+gzip\n"), "{narrower}");
        assert!(narrower.lines().all(|line| line.chars().count() <= 60), "{narrower}");
        let narrowest = fitting(Some(50));
        assert!(narrowest.contains("a:1  0123456789ab…  …oci.image.layer.v1.tar+gzip\n"), "{narrowest}");
    }

    #[test]
    fn a_digest_among_words_is_shortened_too() {
        assert_eq!(short_digest(&format!("+ layer {} only", digest())), "+ layer sha256:0123456789ab… only");
    }

    #[test]
    fn what_looks_like_a_digest_and_is_none_stays() {
        for cell in ["-", "a:b", "sha256:", "", "name@sha256:0123", "two  words: "] {
            assert_eq!(short_digest(cell), cell);
        }
    }
}
