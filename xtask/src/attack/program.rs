//! The program under attack.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace_root;

/// Which program to attack.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Choice {
    /// The program to attack; by default it is built here, with both indexes
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// How the program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// As users get it.
    Plain,
    /// With points at which it can be stopped, and guards that can be taken out.
    Attack,
}

/// `oci-store`, built.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

impl Choice {
    /// The program that was named, or one that is built now.
    pub(crate) fn get(&self, build: Build) -> Result<Program> {
        match &self.program {
            Some(path) => {
                let path = path.canonicalize().with_context(|| path.display().to_string())?;
                Ok(Program { path })
            }
            None => Program::build(build),
        }
    }
}

impl Program {
    fn build(build: Build) -> Result<Self> {
        let built = cargo_build(build, &["-p", "oci-store-cli"])?;
        Ok(Self { path: built.join("oci-store") })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command on a store, not started; its input is empty, and nothing of the surroundings' settings reaches it.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, store: &Path, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.path);
        for name in ["OCI_STORE_PATH", "OCI_STORE_WITHOUT", "OCI_STORE_STOP", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.arg("--store-path").arg(store).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command on a store to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, store: &Path, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command(store, args).output().with_context(|| self.path.display().to_string())
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(crate) fn must<S: AsRef<OsStr>>(&self, store: &Path, args: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command(store, args);
        let output = command.output().with_context(|| self.path.display().to_string())?;
        if !output.status.success() {
            bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Builds something, which `what` names, with both indexes; returns the folder that it is built in.
pub(crate) fn cargo_build(build: Build, what: &[&str]) -> Result<PathBuf> {
    let root = workspace_root();
    let mut target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&root).stdin(Stdio::null());
    command.args(["build", "--quiet", "--features", "lmdb,sqlite"]).args(what);
    let profile = match build {
        Build::Plain => "release",
        Build::Attack => {
            // A folder of its own: other flags would build all that lies in the usual one anew.
            target = target.join("doors");
            command.env("RUSTFLAGS", "--cfg oci_store_attack");
            "attack"
        }
    };
    command.args(["--profile", profile]).arg("--target-dir").arg(&target);
    if !command.status().context("cargo does not start")?.success() {
        bail!("{what:?} does not build");
    }
    Ok(target.join(profile))
}
