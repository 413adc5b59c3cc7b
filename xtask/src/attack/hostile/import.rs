//! Sources that are imported: the bad leave no trace, the good come out as they went in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::archives::pack;
use super::case::{Case, Form};
use super::kit::Kit;
use super::run::{differences, run, short, snapshot};
use super::{Field, fresh};
use crate::attack::checker::{examine, examine_settled};
use crate::attack::inputs;

/// What an operation may write without changing anything.
const UNSEEN: &[&str] = &[".oci-store/index", ".oci-store/locks", ".oci-store/projection.json"];

/// Whether the program takes archives.
pub(super) fn takes_archives(field: &Field<'_>) -> Result<bool> {
    let at = fresh(field.scratch, "probe")?;
    let kit = Kit::new(&at.join("layout"))?;
    pack(&kit.folder, &at.join("layout.tar"))?;
    let store = at.join("store");
    let words = ["--index", field.index, "import"].map(PathBuf::from);
    let ran = run(field.program, &store, words.into_iter().chain([at.join("layout.tar")]))?;
    Ok(ran.code() == Some(0))
}

/// A store with two images.
pub(super) fn store(field: &Field<'_>, at: &Path) -> Result<PathBuf> {
    let base = field.scratch.join("base");
    if !base.exists() {
        inputs::overlapping(&base, "base", 2, 3, 900)?;
    }
    let store = at.join("store");
    let words = ["--index", field.index, "import", "--all"].map(PathBuf::from);
    field.program.must(&store, words.into_iter().chain([base]))?;
    Ok(store)
}

/// Makes a case's source; says where it is.
pub(super) fn source(case: &Case, form: Form, at: &Path) -> Result<PathBuf> {
    let kit = Kit::new(&at.join("layout"))?;
    (case.make)(&kit).with_context(|| case.name.clone())?;
    if form == Form::Folder {
        return Ok(kit.folder);
    }
    let to = at.join("layout.tar");
    match &case.archive {
        Some(write) => write(&kit, &to)?,
        None => pack(&kit.folder, &to)?,
    }
    Ok(to)
}

fn words(case: &Case, source: &Path) -> Vec<PathBuf> {
    case.words.iter().map(PathBuf::from).chain([source.to_owned()]).collect()
}

/// Each of these must be refused.
pub(super) fn refused(
    field: &mut Field<'_>,
    cases: &mut dyn Iterator<Item = &Case>,
    takes: &dyn Fn(Form) -> bool,
) -> Result<()> {
    let at = fresh(field.scratch, "refused")?;
    let mut store = store(field, &at)?;
    for case in cases {
        for &form in case.forms.iter().filter(|form| takes(**form)) {
            let way = format!("{form:?}").to_lowercase();
            let at = fresh(field.scratch, "case")?;
            let source = match source(case, form, &at) {
                Ok(source) => source,
                // No archive can hold a socket.
                Err(error) if form == Form::Archive && format!("{error:#}").contains("socket") => continue,
                Err(error) => return Err(error),
            };
            let look = |field: &Field<'_>| -> Result<_> {
                let list = field.program.must(&store, ["--format", "json", "list"])?;
                let blobs = field.program.must(&store, ["--format", "json", "blobs"])?;
                Ok((snapshot(&store, UNSEEN)?, snapshot(field.scratch, &["refused/store"])?, list, blobs))
            };
            let before = look(field)?;
            let ran = run(field.program, &store, words(case, &source))?;
            field.note(&ran);
            let mut wrong = ran.not_refused();
            let after = look(field)?;
            wrong.extend(differences(&before.0, &after.0).into_iter().map(|line| format!("in the store, {line}")));
            wrong.extend(differences(&before.1, &after.1).into_iter().map(|line| format!("outside, {line}")));
            if (&before.2, &before.3) != (&after.2, &after.3) {
                wrong.push("list or blobs say something else than before".to_owned());
            }
            field.program.must(&store, ["gc", "--full"])?;
            wrong.extend(examine_settled(&store)?.wrong);
            if !wrong.is_empty() {
                field.fell(&case.name, &way, wrong);
                store = self::store(field, &fresh(field.scratch, "refused")?)?;
            }
        }
    }
    Ok(())
}

/// A case that must be taken, and given out again.
pub(super) fn accepted(field: &mut Field<'_>, case: &Case, takes: &dyn Fn(Form) -> bool) -> Result<()> {
    for &form in case.forms.iter().filter(|form| takes(**form)) {
        let at = fresh(field.scratch, "case")?;
        let source = source(case, form, &at)?;
        let wrong = round(field, case, &at, &source)?;
        field.fell(&case.name, &format!("{form:?}").to_lowercase(), wrong);
    }
    Ok(())
}

/// Source, store, layout, a store over the other index.
fn round(field: &mut Field<'_>, case: &Case, at: &Path, source: &Path) -> Result<Vec<String>> {
    let store = at.join("store");
    let create = ["--index", field.index].map(PathBuf::from);
    let ran = run(field.program, &store, create.into_iter().chain(words(case, source)))?;
    field.note(&ran);
    let mut wrong = ran.abnormal();
    if ran.code() != Some(0) {
        wrong.push(format!("was refused: {}", short(&ran.err())));
        return Ok(wrong);
    }
    wrong.extend(examine(&store)?.wrong);
    let check = run(field.program, &store, ["check", "--read-data"])?;
    if check.code() != Some(0) {
        wrong.push(format!("check: {}", short(&check.err())));
    }
    let refs: Vec<Value> = serde_json::from_str(&field.program.must(&store, ["--format", "json", "list"])?)?;
    if refs.is_empty() {
        wrong.push("no ref was set".to_owned());
    }
    let blobs = run(field.program, &store, ["blobs"])?;
    wrong.extend(blobs.abnormal());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for found in refs.iter().take(3) {
        let name = text(&found["ref"]);
        for words in [vec!["inspect", &name], vec!["inspect", "--raw", &name]] {
            let ran = run(field.program, &store, &words)?;
            field.note(&ran);
            // Raw bytes are what was asked for.
            if words.len() == 2 {
                wrong.extend(ran.abnormal());
            }
        }
        let out = at.join("out");
        let ran = run(field.program, &store, [Path::new("export"), Path::new(&name), &out])?;
        field.note(&ran);
        if ran.code() != Some(0) {
            wrong.push(format!("export: {}", short(&ran.err())));
            continue;
        }
        wrong.extend(examine(&out)?.wrong.into_iter().map(|line| format!("exported: {line}")));
        wrong.extend(same_bytes(&store, &out)?);
        if !at.join("layout.tar").exists() && at.join("layout/index.json").exists() {
            wrong.extend(same_bytes(&at.join("layout"), &out)?);
        }
        let other = at.join("other");
        let words = ["--index", field.other(), "import", "--sref", &name].map(PathBuf::from);
        field.program.must(&other, words.into_iter().chain([out]))?;
        let again = field.program.must(&other, ["--format", "json", "list"])?;
        if !again.contains(&text(&found["digest"])) {
            wrong.push(format!("{name}: over the other index, it is {}", short(&again)));
        }
        wrong.extend(skopeo(case, at, &name)?);
    }
    field.program.must(&store, ["gc", "--full"])?;
    wrong.extend(examine_settled(&store)?.wrong);
    Ok(wrong)
}

/// Every blob of `to` is in `from` as well, with the same bytes.
fn same_bytes(from: &Path, to: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for algorithm in fs::read_dir(to.join("blobs"))? {
        for entry in fs::read_dir(algorithm?.path())? {
            let path = entry?.path();
            let name = path.strip_prefix(to)?.to_owned();
            if fs::read(from.join(&name)).ok() != fs::read(&path).ok() {
                wrong.push(format!("{}: other bytes than in {}", name.display(), from.display()));
            }
        }
    }
    Ok(wrong)
}

/// What another reader of layouts says of what was exported, where one that is installed knows such images.
fn skopeo(case: &Case, at: &Path, name: &str) -> Result<Vec<String>> {
    const KNOWN: &[&str] = &["sha256", "nested-3", "duplicate", "zstd", "pretty", "no-media", "crlf", "zero-length"];
    if !KNOWN.iter().any(|part| case.name.starts_with(part)) || name.contains(':') {
        return Ok(Vec::new());
    }
    let mut source = std::ffi::OsString::from("oci:");
    source.push(at.join("out"));
    source.push(format!(":{name}"));
    match Command::new("skopeo").args(["inspect", "--raw"]).arg(source).output() {
        Ok(output) if !output.status.success() => {
            Ok(vec![format!("skopeo: {}", short(&String::from_utf8_lossy(&output.stderr)))])
        }
        _ => Ok(Vec::new()),
    }
}
