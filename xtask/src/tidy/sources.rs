//! The shape of the sources, read line by line.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file that needs more is two files.
const LONGEST_FILE: usize = 450;
/// The one crate that may contain `unsafe`: a memory map cannot be opened without.
const UNSAFE_CRATE: &str = "crates/oci-store-index-lmdb";
/// The one crate that may name an index backend, in one file.
const FACADE: &str = "crates/oci-store/src";
const BACKENDS: &[&str] = &["oci_store_index_lmdb", "oci_store_index_sqlite"];
/// Left to tests: a library returns an error.
const ABRUPT: &[&str] = &[".unwrap()", ".expect(\"", "todo!(", "unimplemented!(", "dbg!("];

/// A line for each place that breaks a rule.
pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut problems = Vec::new();
    let mut naming_backends = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            problems.push(format!("{name}: {lines} lines, more than {LONGEST_FILE}"));
        }
        if !name.starts_with("crates/") {
            continue;
        }
        let code = Code::of(&name, &text);
        problems.extend(code.problems(&name));
        if !code.is_test && BACKENDS.iter().any(|backend| code.lines.iter().any(|(_, line)| line.contains(backend))) {
            naming_backends.push(name);
        }
    }
    if naming_backends.len() > 1 || naming_backends.iter().any(|name| !name.starts_with(FACADE)) {
        let names = naming_backends.join(", ");
        problems.push(format!("index backends may be named in one file of {FACADE} only, and are in: {names}"));
    }
    Ok(problems)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines of a file that are neither comments nor under `#[cfg(test)]`.
struct Code<'a> {
    /// A test, a suite or a bench as a whole.
    is_test: bool,
    lines: Vec<(usize, &'a str)>,
}

impl<'a> Code<'a> {
    fn of(name: &str, text: &'a str) -> Self {
        let is_test = !name.contains("/src/")
            || name.split('/').any(|part| {
                let part = part.trim_end_matches(".rs");
                part == "tests" || part == "conformance"
            });
        let mut lines = Vec::new();
        // Inside an item under `#[cfg(test)]`: the indentation of the line that ends it.
        let mut skipped: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            let indentation = &line[..line.len() - code.len()];
            let at_item = skipped == Some(indentation);
            if skipped.is_some() {
                if at_item && (code.starts_with('}') || code.ends_with(';') || code.ends_with("{}")) {
                    skipped = None;
                }
            } else if code == "#[cfg(test)]" {
                skipped = Some(indentation);
            } else if !code.starts_with("//") {
                lines.push((number + 1, code.split(" // ").next().unwrap_or(code)));
            }
        }
        Self { is_test, lines }
    }

    fn problems(&self, name: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (number, line) in &self.lines {
            if !name.starts_with(UNSAFE_CRATE) && has_word(line, "unsafe") {
                problems.push(format!("{name}:{number}: `unsafe` outside {UNSAFE_CRATE}"));
            }
            if !self.is_test {
                let found = ABRUPT.iter().filter(|abrupt| line.contains(*abrupt));
                problems.extend(found.map(|abrupt| format!("{name}:{number}: {abrupt} outside tests")));
            }
        }
        problems
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
/// Never `x.unwrap()`.
fn a() { b.unwrap() }
#[cfg(test)]
use c;
fn d() { unsafe { e() } } // dbg!(f)
#[cfg(test)]
mod tests {
    fn g() {
        h.expect(\"i\");
    }
}
fn j() { todo!() }
";

    #[test]
    fn tests_and_comments_are_left_out() {
        let name = "crates/oci-store-base/src/x.rs";
        let found = Code::of(name, TEXT).problems(name);
        let at = |line| format!("{name}:{line}: ");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with(&at(2)) && found[1].starts_with(&at(5)) && found[2].starts_with(&at(12)));
    }

    #[test]
    fn suites_may_panic_and_are_safe_code_too() {
        for name in ["crates/oci-store-cas/tests/x.rs", "crates/oci-store-cas/src/conformance/x.rs"] {
            let found = Code::of(name, TEXT).problems(name);
            assert_eq!(found, [format!("{name}:5: `unsafe` outside {UNSAFE_CRATE}")]);
        }
    }

    #[test]
    fn lints_with_the_word_are_other_words() {
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
    }
}
