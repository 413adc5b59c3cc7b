//! The arrows between the crates: who may depend on whom.

use cargo_metadata::{DependencyKind, Metadata};

/// Each crate of the workspace with the crates of the workspace it may depend on, outside its tests. Only the facade
/// names a concrete index.
const ARROWS: &[(&str, &[&str])] = &[
    ("oci-store-cas", &[]),
    ("oci-store-index", &[]),
    ("oci-store-index-lmdb", &["oci-store-index"]),
    ("oci-store-index-sqlite", &["oci-store-index"]),
    ("oci-store-base", &["oci-store-cas", "oci-store-index"]),
    ("oci-store-oci", &["oci-store-base", "oci-store-cas"]),
    ("oci-store-appc", &["oci-store-base"]),
    (
        "oci-store",
        &[
            "oci-store-cas",
            "oci-store-index",
            "oci-store-base",
            "oci-store-oci",
            "oci-store-appc",
            "oci-store-index-lmdb",
            "oci-store-index-sqlite",
        ],
    ),
    ("oci-store-cli", &["oci-store"]),
    ("xtask", &[]),
];

/// A store is built without the index backends that nobody asked for.
const OPTIONAL: &[&str] = &["oci-store-index-lmdb", "oci-store-index-sqlite"];

/// A line for each arrow that the table does not have, and for each crate that it does not know.
pub(super) fn problems(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let is_member = |name: &str| packages.iter().any(|package| package.name.as_str() == name);
    let mut problems = Vec::new();
    for package in &packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            problems.push(format!("{name}: not in the table of crates, xtask/src/tidy/arrows.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if dependency.kind == DependencyKind::Development || !is_member(to) {
                continue;
            }
            if !allowed.contains(&to) {
                problems.push(format!("{name}: must not depend on {to}"));
            } else if OPTIONAL.contains(&to) && !dependency.optional {
                problems.push(format!("{name}: its dependency on {to} must be optional"));
            }
        }
    }
    let gone = ARROWS.iter().filter(|(name, _)| !is_member(name));
    problems.extend(gone.map(|(name, _)| format!("{name}: in the table of crates, but not in the workspace")));
    problems
}

#[cfg(test)]
mod tests {
    use super::super::metadata;
    use super::*;

    #[test]
    fn arrows_between_crates_hold() {
        assert_eq!(problems(&metadata().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn a_new_arrow_is_a_problem() {
        let mut metadata = metadata().unwrap();
        let mut borrowed = None;
        for package in &metadata.packages {
            if package.name.as_str() == "oci-store-base" {
                borrowed = package.dependencies.iter().find(|d| d.name == "oci-store-cas").cloned();
            }
        }
        for package in &mut metadata.packages {
            if package.name.as_str() == "oci-store-index" {
                package.dependencies.push(borrowed.take().unwrap());
            }
        }
        assert_eq!(problems(&metadata), ["oci-store-index: must not depend on oci-store-cas"]);
    }
}
