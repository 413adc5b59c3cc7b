//! `cargo xtask tidy`: what can be checked without compiling.

mod arrows;
mod manifests;
mod sources;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::workspace_root;

/// Prints everything that is not as it should be, and fails if there is anything.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata()?;
    let mut problems = arrows::problems(&metadata);
    problems.extend(manifests::problems(&metadata)?);
    problems.extend(sources::problems(&workspace_root())?);
    for problem in &problems {
        println!("    {problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => bail!("tidy: one problem"),
        count => bail!("tidy: {count} problems"),
    }
}

fn metadata() -> Result<Metadata> {
    let manifest = workspace_root().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().context("cargo metadata")
}
