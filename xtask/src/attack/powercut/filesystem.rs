//! Filesystems to cut the power of: how each is made, and how it is mounted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};

/// A journalled filesystem of Linux.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filesystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl Filesystem {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The bytes of a disk for it; about the least that it works on.
    pub(super) const fn size(self) -> u64 {
        match self {
            Self::Ext4 => 64 << 20,
            Self::Xfs => 320 << 20,
            Self::Btrfs => 256 << 20,
        }
    }

    /// The program that makes it, and its options: small, and nothing left to be done later.
    fn mkfs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Ext4 => {
                ("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"])
            }
            Self::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"]),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-f", "-K"]),
        }
    }

    /// Whether the program that makes it is installed.
    pub(super) fn is_here(self) -> bool {
        Command::new(self.mkfs().0).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Whether it can be told to stop at once.
    pub(super) const fn shuts_down(self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs)
    }

    /// Makes the filesystem in a file.
    pub(super) fn make(self, file: &Path) -> Result<()> {
        let (program, options) = self.mkfs();
        run(Command::new(program).args(options).arg(file))
    }

    /// Mounts a file, over a loop device that goes with the mount. The journal is replayed here.
    pub(super) fn mount(self, file: &Path, folder: &Path, more: Option<&str>) -> Result<Mounted> {
        let mut options = "loop".to_owned();
        if self == Self::Xfs {
            // Copies of one filesystem are mounted side by side.
            options.push_str(",nouuid");
        }
        if let Some(more) = more {
            options.push(',');
            options.push_str(more);
        }
        run(Command::new("mount").args(["-t", self.name(), "-o", &options]).arg(file).arg(folder))?;
        Ok(Mounted { folder: folder.to_owned() })
    }
}

/// A mount, undone at the end.
pub(super) struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    /// Where.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Somebody may still be on the way out.
        for _ in 0..500 {
            if umount2(&self.folder, MntFlags::empty()) != Err(nix::errno::Errno::EBUSY) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| command.get_program().to_string_lossy().into_owned())?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
