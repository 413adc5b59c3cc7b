//! Running the program within limits, and judging how it ended and what it said.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use sha2::{Digest, Sha256};

use super::kit::hex;
use crate::attack::program::Program;

/// Private memory, in KiB: heap and stacks of all threads. Files that are mapped don't count.
const MEMORY: &str = "65536";

/// Of the processor, so that a machine that does other things beside is no finding.
const MOST: Duration = Duration::from_secs(2);

/// Who takes longer hangs.
const HANGS: &str = "30";

/// How a command ended.
pub(super) struct Ran {
    pub(super) output: Output,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// Runs a command of the program on a store.
pub(super) fn run<S: AsRef<OsStr>>(program: &Program, store: &Path, args: impl IntoIterator<Item = S>) -> Result<Ran> {
    let wanted = program.command(store, args);
    let mut words: Vec<OsString> = ["-k", "1", HANGS, "sh", "-c"].map(OsString::from).to_vec();
    words.push(format!("ulimit -d {MEMORY} && ulimit -c 0 && exec \"$@\"").into());
    words.push("sh".into());
    words.push(wanted.get_program().to_owned());
    words.extend(wanted.get_args().map(OsStr::to_owned));
    let (spent, began) = (spent()?, Instant::now());
    let mut command = Command::new("timeout");
    command.args(words).stdin(Stdio::null());
    for (name, value) in wanted.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().context("timeout, of coreutils")?;
    Ok(Ran { output, wall: began.elapsed(), cpu: self::spent()?.saturating_sub(spent) })
}

/// What ended children have used of the processor.
fn spent() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

impl Ran {
    pub(super) fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(super) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub(super) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// What must never be, however a command ends: a panic, a signal, a hang, raw text of strangers on the terminal.
    pub(super) fn abnormal(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.code().is_none_or(|code| code >= 101) {
            lines.push(format!("{}: {}", self.output.status, short(&self.err())));
        }
        if self.cpu > MOST {
            lines.push(format!("took {:.1} s of the processor, {:.1} s in all", secs(self.cpu), secs(self.wall)));
        }
        for (name, bytes) in [("stdout", &self.output.stdout), ("stderr", &self.output.stderr)] {
            match std::str::from_utf8(bytes) {
                Err(_) => lines.push(format!("{name} is not UTF-8")),
                Ok(text) => {
                    if let Some(c) = text.chars().find(|c| *c != '\n' && is_unprintable(*c)) {
                        lines.push(format!("{name} has {c:?}: {}", short(text)));
                    }
                }
            }
        }
        lines
    }

    /// What is wrong with a refusal: one line, that begins as errors do, and names an object and a cause.
    pub(super) fn not_refused(&self) -> Vec<String> {
        let mut lines = self.abnormal();
        if self.code() == Some(0) {
            lines.push(format!("was accepted: {}", short(&self.out())));
            return lines;
        }
        let error = self.err();
        let text = error.strip_suffix('\n').unwrap_or(&error);
        if !text.starts_with("error: ") || text.contains('\n') {
            lines.push(format!("not one line of error: {}", short(text)));
        }
        // An object, a colon, a cause.
        if text.matches(": ").count() < 2 && self.code() != Some(2) {
            lines.push(format!("no object, or no cause: {}", short(text)));
        }
        if text.len() > 4096 {
            lines.push(format!("an error of {} bytes", text.len()));
        }
        lines
    }
}

fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}

pub(super) fn short(text: &str) -> String {
    let shown: String = text.trim().chars().take(300).flat_map(char::escape_debug).collect();
    shown
}

/// Whether a character moves the cursor, changes the terminal, or the direction or look of what follows.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// All that lies in a folder: kinds, modes, and hashes. Of what lies below `without`, nothing.
pub(super) fn snapshot(folder: &Path, without: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut stack = vec![folder.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        if without.contains(&name.as_str()) {
            continue;
        }
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            for entry in fs::read_dir(&path)? {
                stack.push(entry?.path());
            }
            "folder".to_owned()
        } else if kind.is_symlink() {
            format!("link to {}", fs::read_link(&path)?.display())
        } else if !kind.is_file() {
            format!("special, fifo {}", kind.is_fifo())
        } else if meta.len() > 8 << 20 {
            format!("{} bytes of {}.{}", meta.len(), meta.mtime(), meta.mtime_nsec())
        } else {
            hex(&Sha256::digest(fs::read(&path)?))
        };
        found.insert(name, format!("{:o} {what}", meta.mode()));
    }
    Ok(found)
}

/// What differs.
pub(super) fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, was) in before {
        match after.get(name) {
            None => lines.push(format!("{name} is gone")),
            Some(is) if is != was => lines.push(format!("{name} was changed")),
            Some(_) => {}
        }
    }
    lines.extend(after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("{name} is new")));
    lines
}
