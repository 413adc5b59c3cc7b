//! Other users, if this test is root and so can be anybody.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{Ran, World};

/// A user of this machine, by number: it needs no entry in `/etc/passwd`.
pub(crate) struct Other<'w> {
    world: &'w World,
    user: u32,
    group: u32,
}

impl<'w> Other<'w> {
    /// The user and its group, with a folder of its own, `theirs`, and an image that it can read, `copy`. Says why,
    /// if there is none.
    pub(crate) fn find(world: &'w World, user: u32, group: u32) -> Option<Self> {
        // Where it may be reached from, and run.
        fs::set_permissions(world.root(), fs::Permissions::from_mode(0o755)).unwrap();
        if !world.path("theirs").exists() {
            fs::copy(env!("CARGO_BIN_EXE_oci-store"), world.path("oci-store")).unwrap();
            fs::create_dir(world.path("theirs")).unwrap();
            super::layout::copy(&world.path("hello"), &world.path("copy"));
        }
        let other = Self { world, user, group };
        if !is_root() || other.command("--version").output().is_err() {
            println!("skipped: it takes root");
            return None;
        }
        chown(world.path("theirs"), Some(user), None).unwrap();
        Some(other)
    }

    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(self.world.path("oci-store"));
        command.args(words.split_whitespace());
        self.be(command)
    }

    /// After `before`, a line of the shell.
    pub(crate) fn shell(&self, before: &str, words: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before}; exec ./oci-store {words}")]);
        self.be(command)
    }

    /// As this user, with no other groups, and no home.
    fn be(&self, mut command: Command) -> Command {
        command.current_dir(self.world.root()).stdin(Stdio::null());
        command.env("OCI_STORE_PATH", "store").env_remove("HOME").env_remove("XDG_DATA_HOME").env_remove("RUST_LOG");
        command.uid(self.user).gid(self.group);
        command
    }

    pub(crate) fn run(&self, words: &str) -> Ran {
        Ran::of(&mut self.command(words))
    }
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}
