//! What goes to stdout: data, and nothing else.

use std::borrow::Cow;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci_store::Digest;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::failure::{Failure, Result, code};

/// What is written at once, in bytes.
pub(crate) const PIECE: usize = 128 << 10;

/// Writes to stdout. A reader that has seen enough is not an error.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(&mut text.as_bytes())
}

pub(crate) fn print_bytes(bytes: &mut dyn Read) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; PIECE];
    loop {
        // An error of the source is one of the source; one of stdout is not.
        let n = match bytes.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::from(oci_store::cas::Error::from(error))),
        };
        wrote(out.write_all(buffer.get(..n).unwrap_or_default()))?;
    }
    wrote(out.flush())
}

fn wrote(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        // Nothing is half-done: what changes something prints when it is through.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(code::ERROR, format!("stdout: {error}"))),
    }
}

pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<()> {
    let mut out = BufWriter::with_capacity(PIECE, io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from);
    wrote(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// A value for programs that is made only where one asks for it: of thousands of things it takes longer than to find them.
pub(crate) struct Later<F>(pub(crate) F);

impl<T: Serialize, F: Fn() -> T> Serialize for Later<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        (self.0)().serialize(serializer)
    }
}

/// Each item of a list on a line; what is no list is one line.
pub(crate) fn print_json_lines<T: Serialize>(value: &T) -> Result<()> {
    let text: String = items(value)?.iter().map(|item| format!("{item}\n")).collect();
    print(&text)
}

/// What names each item, on a line: its field `key`, or itself if it is a text. What has no name is left out.
pub(crate) fn names<T: Serialize>(key: &str, value: &T) -> Result<String> {
    let items = items(value)?;
    let named = items.iter().filter_map(|item| item.as_str().or_else(|| item.get(key)?.as_str()));
    Ok(named.map(|name| format!("{name}\n")).collect())
}

fn items<T: Serialize>(value: &T) -> Result<Vec<Value>> {
    Ok(match serde_json::to_value(value).map_err(unprintable)? {
        Value::Array(items) => items,
        value => vec![value],
    })
}

fn unprintable(error: serde_json::Error) -> Failure {
    Failure::new(code::ERROR, format!("stdout: {error}"))
}

/// Text that a stranger may have written, for a terminal: nothing in it moves the cursor, or turns the direction of what
/// follows.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)) {
        return text.into();
    }
    text.chars().map(|c| if c != '\n' && is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}

/// Control and format characters, and what separates lines.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A log, [plain]: each write is one event, and one line.
pub(crate) struct PlainLines<W>(pub(crate) W);

impl<W: Write> Write for PlainLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = plain(text.trim_end_matches('\n')).replace('\n', "\u{fffd}");
        self.0.write_all((line + "\n").as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `3 days ago`, from seconds since 1970.
pub(crate) fn ago(seconds: u64) -> String {
    let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap_or_default().as_secs();
    let (n, unit) = match age {
        0..120 => (age, "second"),
        120..7_200 => (age / 60, "minute"),
        7_200..172_800 => (age / 3600, "hour"),
        _ => (age / 86_400, "day"),
    };
    format!("{} ago", count(n, unit))
}

/// `1 blob`, `2 blobs`.
pub(crate) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The beginning of a digest, which is enough to name it nearly always.
pub(crate) fn short(digest: &Digest) -> String {
    const HEX: usize = 12;
    format!("{}:{}", digest.algorithm(), digest.encoded().chars().take(HEX).collect::<String>())
}

pub(crate) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}
