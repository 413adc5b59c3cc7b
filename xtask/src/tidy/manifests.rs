//! What each crate's Cargo.toml must say, and the README next to it.

use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};

/// A line for each crate and key that is missing.
pub(super) fn problems(metadata: &Metadata) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        let mut missing = missing_keys(package);
        let text = fs::read_to_string(&package.manifest_path).context(package.manifest_path.to_string())?;
        if !text.contains("[lints]\nworkspace = true") {
            missing.push("[lints] workspace = true");
        }
        problems.extend(missing.into_iter().map(|what| format!("{}: Cargo.toml has no {what}", package.name)));
        if is_published(package) && !package.manifest_path.with_file_name("README.md").exists() {
            problems.push(format!("{}: no README.md", package.name));
        }
    }
    Ok(problems)
}

fn missing_keys(package: &Package) -> Vec<&'static str> {
    let published = is_published(package);
    let keys = [
        ("description", package.description.is_some()),
        ("license", package.license.is_some()),
        ("rust-version", package.rust_version.is_some()),
        ("readme", package.readme.is_some() || !published),
        ("repository", package.repository.is_some() || !published),
        ("keywords", !package.keywords.is_empty() || !published),
        ("categories", !package.categories.is_empty() || !published),
    ];
    keys.into_iter().filter(|(_, present)| !present).map(|(key, _)| key).collect()
}

/// `publish = false` is an empty list of registries.
fn is_published(package: &Package) -> bool {
    package.publish.as_ref().is_none_or(|registries| !registries.is_empty())
}
