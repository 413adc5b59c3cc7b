//! What a shell offers at a press of TAB: refs and digests, from the folder alone. No lock is taken, nothing is changed,
//! and what can't be read is not offered.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use clap_complete::engine::{PathCompleter, ValueCompleter};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use oci_store::{Algorithm, ImageSource, Layout, Limits};

use crate::args::{self, Shell};
use crate::context;

/// Set by the scripts, and by nobody else.
const VARIABLE: &str = "_OCI_STORE_COMPLETE";
const NAME: &str = "oci-store";
const SHELLS: Shells<'_> = Shells(&[&BashWithColons, &Fish, &Zsh]);

/// As many digests are offered at most.
const MOST: usize = 1000;

/// If it is a shell's script that asks, answers and ends the process.
pub(crate) fn answer() {
    CompleteEnv::with_factory(args::with_help).var(VARIABLE).shells(SHELLS).bin(NAME).complete();
}

/// The script that makes a shell ask.
pub(crate) fn script(shell: Shell) -> std::io::Result<String> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &BashWithColons,
        Shell::Fish => &Fish,
        Shell::Zsh => &Zsh,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    Ok(String::from_utf8_lossy(&script).trim_start().to_owned())
}

/// Refs.
pub(crate) fn refs(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    names().into_iter().filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

/// Refs and digests.
pub(crate) fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = refs(current);
    found.extend(digests(current));
    found
}

/// The same and, as `export` has both in one place, paths.
pub(crate) fn images_and_paths(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = images(current);
    found.extend(PathCompleter::dir().complete(current));
    found
}

/// Digests of blobs, from the second digit on: all of them are no help.
pub(crate) fn digests(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let mut found = Vec::new();
    for algorithm in Algorithm::ALL {
        let name = algorithm.name();
        let given = current.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        let (prefix, hex) = given.map_or((String::new(), current), |hex| (format!("{name}:"), hex));
        if hex.len() < 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            continue;
        }
        let Some(Ok(entries)) = store().map(|path| fs::read_dir(path.join("blobs").join(name))) else { continue };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        found.extend(names.filter(|name| name.starts_with(hex)).map(|name| format!("{prefix}{name}")).take(MOST));
    }
    found.sort();
    found.into_iter().map(CompletionCandidate::new).collect()
}

fn names() -> Vec<String> {
    let layout = store().and_then(|path| Layout::open(path).ok()).map(|layout| layout.with_limits(Limits::OWN));
    let entries = layout.and_then(|layout| layout.entries().ok()).unwrap_or_default();
    let mut names: Vec<String> = entries.into_iter().filter_map(|entry| entry.name).collect();
    names.sort();
    names.dedup();
    names
}

/// The store that the line in the making is about.
fn store() -> Option<PathBuf> {
    let mut words = std::env::args_os();
    let mut asked: Option<OsString> = None;
    while let Some(word) = words.next() {
        if word == "--store-path" {
            asked = words.next();
        } else if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--store-path=")) {
            asked = Some(path.into());
        }
    }
    match asked.filter(|path| !path.is_empty()).map(PathBuf::from) {
        // The shell has not expanded it yet.
        Some(path) => match path.strip_prefix("~") {
            Ok(below) => Some(PathBuf::from(std::env::var_os("HOME")?).join(below)),
            Err(_) => Some(path),
        },
        None => context::default_path(),
    }
}

/// Bash, which takes colons for the ends of words: refs and digests have them. The words are joined before they are
/// completed, and what is typed already is cut off the answers.
struct BashWithColons;

impl EnvCompleter for BashWithColons {
    fn name(&self) -> &'static str {
        Bash.name()
    }

    fn is(&self, name: &str) -> bool {
        Bash.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        _name: &str,
        bin: &str,
        completer: &str,
        buf: &mut dyn std::io::Write,
    ) -> std::io::Result<()> {
        let script = include_str!("complete.bash");
        buf.write_all(script.replace("VAR", var).replace("COMPLETER", completer).replace("BIN", bin).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        args: Vec<OsString>,
        current_dir: Option<&std::path::Path>,
        buf: &mut dyn std::io::Write,
    ) -> std::io::Result<()> {
        Bash.write_complete(command, args, current_dir, buf)
    }
}
