//! What goes on beside the workers: collections, other tools that write into the folder, and a look at each export.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

use super::Settings;
use super::dice::Dice;
use super::figures::Figures;
use super::linear::{Call, Effect};
use crate::attack::checker::examine;
use crate::attack::inputs::Layout;

/// What one of them has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) figures: Figures,
    pub(crate) fallen: Vec<String>,
    pub(crate) calls: BTreeMap<String, Vec<Call>>,
}

/// Collects until `over`; some of the collections are killed.
pub(crate) fn collections(settings: &Settings, folder: &Path, seed: u64, over: &AtomicBool) -> Result<Seen> {
    let mut dice = Dice::new(seed ^ 1);
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(dice.below(40)));
        let lock = foreign_lock(folder)?;
        let args: &[&str] = match dice.below(20) {
            0 if lock.try_lock_shared().is_ok() => &["gc", "--full"],
            1 => &["gc", "--dry-run"],
            _ => &["gc"],
        };
        let mut command = settings.program.command(&folder.join("store"), args);
        settings.surroundings(&mut command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let is_killed = dice.below(12) == 0;
        if is_killed {
            std::thread::sleep(Duration::from_micros(dice.below(15_000)));
            child.kill()?;
        }
        let output = child.wait_with_output()?;
        seen.figures.collections += 1;
        seen.figures.collections_killed += u64::from(is_killed);
        if !is_killed && !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            seen.fallen.push(format!("I9: {args:?}: {}: {said}", output.status));
        }
    }
    Ok(seen)
}

/// Held alone by whoever lets another tool write; see `alone_with_us` of the worker.
fn foreign_lock(folder: &Path) -> Result<File> {
    let path = folder.join("foreign.lock");
    File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())
}

/// Which of the tools are there.
pub(crate) fn tools() -> Vec<&'static str> {
    let is_there = |tool: &&&str| {
        let mut command = Command::new(tool);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    ["skopeo", "umoci"].iter().filter(is_there).copied().collect()
}

/// Writes with other tools, one at a time, until `over`: new images with skopeo, new names for them with umoci. What a
/// tool has written is there with the next command.
pub(crate) fn other_tools(settings: &Settings, folder: &Path, seed: u64, over: &AtomicBool) -> Result<Seen> {
    let mut dice = Dice::new(seed ^ 2);
    let mut seen = Seen::default();
    let store = folder.join("store");
    let mut names: Vec<(String, String)> = Vec::new();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) && !settings.tools.is_empty() {
        std::thread::sleep(Duration::from_millis(50 + dice.below(400)));
        if names.len() > 6 {
            let (name, digest) = names.swap_remove(usize::try_from(dice.below(names.len() as u64))?);
            let begin = now();
            let mut command = settings.program.command(&store, ["rm", &name]);
            settings.surroundings(&mut command);
            let output = command.output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                seen.fallen.push(format!("I5: rm {name}, which another tool had made: {said}"));
            }
            seen.note(&name, begin, Effect::Delete(Some(digest)));
            continue;
        }
        number += 1;
        let name = format!("foreign-{number}");
        let lock = foreign_lock(folder)?;
        lock.lock()?;
        let begin = now();
        let known = names.get(usize::try_from(dice.below(8))?).cloned();
        let digest = match known {
            Some((old, digest)) if settings.tools.contains(&"umoci") => {
                run(Command::new("umoci").args(["tag", "--image"]).arg(at(&store, &old)).arg(&name))?;
                digest
            }
            _ if settings.tools.contains(&"skopeo") => {
                // An image of its own: blobs that are there already may go before the tool has listed them.
                let source = folder.join("foreign-source");
                let digest = image(&source, seed ^ (number << 32), &name)?;
                let mut command = Command::new("skopeo");
                command.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"]);
                run(command.arg(format!("oci:{}", at(&source, &name))).arg(format!("oci:{}", at(&store, &name))))?;
                fs::remove_dir_all(&source)?;
                digest
            }
            _ => continue,
        };
        seen.figures.foreign_writes += 1;
        let mut command = settings.program.command(&store, ["--format", "json", "list", &name]);
        settings.surroundings(&mut command);
        let output = command.output()?;
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        seen.note(&name, begin, Effect::Set(Some(digest.clone())));
        if !output.status.success() || !listed.contains(&digest) {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            seen.fallen.push(format!("I5: {name} was written by another tool, and is not there: {said}"));
            continue;
        }
        names.push((name, digest));
    }
    Ok(seen)
}

impl Seen {
    fn note(&mut self, name: &str, begin: u128, effect: Effect) {
        self.calls.entry(format!("ref:{name}")).or_default().push(Call { begin, end: Some(now()), effect });
    }
}

fn at(folder: &Path, name: &str) -> String {
    format!("{}:{name}", folder.display())
}

/// Makes a layout of one image; returns its digest.
fn image(folder: &Path, seed: u64, name: &str) -> Result<String> {
    let mut layout = Layout::create(folder)?;
    let manifest = layout.image(name, &[seed, seed + 1], 3000)?;
    layout.tag(name, &manifest);
    let refs = layout.finish()?;
    refs.into_values().next().context("an image without a name")
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Looks at each export that was handed over, until `over` and all are looked at.
pub(crate) fn exports(folder: &Path, over: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    loop {
        let is_last = over.load(Ordering::Relaxed);
        for entry in fs::read_dir(folder.join("exported"))? {
            let path = entry?.path();
            seen.export(&path)?;
            fs::remove_dir_all(&path)?;
        }
        if is_last {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Seen {
    /// What an export must be: whole, with the refs that it was told to have.
    pub(crate) fn export(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let facts = examine(path)?;
        self.fallen.extend(facts.wrong.iter().map(|wrong| format!("export {name}: {wrong}")));
        for (as_name, digest) in facts.refs {
            let call = Call { begin: now(), end: Some(now()), effect: Effect::Saw(digest) };
            self.calls.entry(format!("exported:{name}:{as_name}")).or_default().push(call);
        }
        self.figures.exports_examined += 1;
        Ok(())
    }
}

/// Nanoseconds of the clock that the workers use.
pub(crate) fn now() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    u128::from(now.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(now.tv_nsec.unsigned_abs())
}
