use std::io::{self, Write};
use std::process::ExitCode;

use oci_store::{Error, Place, base};

use crate::output::plain;

/// Why a command ends badly: one line for stderr, and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    /// What it tells: there may be something to try next.
    error: Option<Error>,
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self { text, error: None }
    }
}

/// What exit codes say; 2 is clap's, for words that are off.
pub(crate) mod code {
    pub(crate) const ERROR: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    /// A check has found damage, or something missing.
    pub(crate) const CHECK: u8 = 3;
    pub(crate) const NOT_FOUND: u8 = 4;
    pub(crate) const AMBIGUOUS: u8 = 5;
    /// `why`: nothing keeps the blob.
    pub(crate) const UNKEPT: u8 = 6;
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(code: u8, line: impl ToString) -> Self {
        Self { code, lines: vec![line.to_string().into()] }
    }

    /// Says behind each error what to try next, where there is something.
    pub(crate) fn suggest(mut self, suggest: impl Fn(&Error) -> Option<String>) -> Self {
        for line in &mut self.lines {
            if let Some(next) = line.error.take().and_then(|error| suggest(&error)) {
                line.text += &format!("; {next}");
            }
        }
        self
    }

    /// Prints it, each error on a line of its own, and says how the process ends.
    pub(crate) fn report(self) -> ExitCode {
        for Line { text: line, .. } in &self.lines {
            // Names in it may come from a stranger's file.
            let line = shorten(&plain(line).replace('\n', "\u{fffd}"));
            // Where stderr takes nothing, the code has to say it all.
            let _ = writeln!(io::stderr(), "error: {line}");
        }
        ExitCode::from(self.code)
    }

    /// Says which source it is about, where it does not.
    pub(crate) fn about(mut self, source: &Place) -> Self {
        let source = if source.is_stream() { "stdin".to_owned() } else { source.path.display().to_string() };
        for line in self.lines.iter_mut().filter(|line| !line.text.contains(&source)) {
            line.text = format!("{source}: {}", line.text);
        }
        self
    }

    /// Several failures as one: the first says how the process ends.
    pub(crate) fn all(failures: Vec<Self>) -> Result<()> {
        let code = failures.first().map(|failure| failure.code);
        let lines = failures.into_iter().flat_map(|failure| failure.lines).collect();
        code.map_or(Ok(()), |code| Err(Self { code, lines }))
    }
}

/// A name of a megabyte makes a long line: what stands before it and behind it says enough.
fn shorten(line: &str) -> String {
    const MOST: usize = 2000;
    let chars = line.chars().count();
    if chars <= MOST {
        return line.to_owned();
    }
    let (head, tail): (String, String) =
        (line.chars().take(MOST / 2).collect(), line.chars().skip(chars - MOST / 4).collect());
    format!("{head}…{tail}")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Several { failed, .. } = error {
            let line = |(name, error): (String, Error)| {
                let why = error.to_string();
                let text = if why.starts_with(&format!("{name}: ")) { why } else { format!("{name}: {why}") };
                Line { text, error: Some(error) }
            };
            return Self { code: code::ERROR, lines: failed.into_iter().map(line).collect() };
        }
        if let Error::NotWhole { path, problems } = error {
            let path = path.display();
            let last = format!(
                "{path}: not adopted: mend it, or take it as it is with `--store-path {path} reindex`, and then `check --repair`"
            );
            return Self { code: code::CHECK, lines: problems.into_iter().chain([last]).map(Line::from).collect() };
        }
        let (code, text) = (code_of(&error), error.to_string());
        Self { code, lines: vec![Line { text, error: Some(error) }] }
    }
}

impl From<base::Error> for Failure {
    fn from(error: base::Error) -> Self {
        Error::Base(error).into()
    }
}

impl From<oci_store::cas::Error> for Failure {
    fn from(error: oci_store::cas::Error) -> Self {
        Error::Cas(error).into()
    }
}

fn code_of(error: &Error) -> u8 {
    match error {
        Error::RefNotFound(_) | Error::NotInSource { .. } | Error::NothingToUndo(_) | Error::NoPlatform { .. } => {
            code::NOT_FOUND
        }
        Error::NoName { has, .. } if has.is_empty() => code::NOT_FOUND,
        Error::Base(base::Error::BlobNotFound(_)) => code::NOT_FOUND,
        Error::Base(base::Error::Ambiguous { .. }) => code::AMBIGUOUS,
        Error::Base(base::Error::Cancelled) => crate::interrupt::code(),
        Error::Base(base::Error::InvalidPrefix { .. } | base::Error::InvalidName { .. }) => code::USAGE,
        Error::InvalidRef { .. } | Error::InvalidPlace { .. } | Error::NotForThis { .. } => code::USAGE,
        _ => code::ERROR,
    }
}
