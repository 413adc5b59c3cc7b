//! What a power cut needs of the machine, and a room of its own there: mounts that nobody else sees and that go with
//! this process, and with them their loop devices. SIGINT and SIGTERM end it in order. SIGKILL may come while a thread
//! waits for a disk that this process itself serves: then that thread stays until the connection is aborted
//! (`/sys/fs/fuse/connections/*/abort`).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use tempfile::NamedTempFile;

/// What is missing, if something is.
pub(super) fn lack() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it mounts filesystems, and needs root for that".to_owned());
    }
    let lacking = ["/dev/fuse", "/dev/loop-control"].into_iter().find(|device| !Path::new(device).exists());
    lacking.map(|device| format!("there is no {device}"))
}

/// The room of this process.
pub(super) struct Room {
    /// Set when the process is asked to end (SIGINT, SIGTERM).
    pub(super) stop: &'static AtomicBool,
    boot_id: NamedTempFile,
    boots: u64,
}

impl Room {
    /// Enters the room. To be called while there is no other thread.
    pub(super) fn enter() -> Result<Self> {
        static STOP: AtomicBool = AtomicBool::new(false);
        unshare(CloneFlags::CLONE_NEWNS).context("no namespace for mounts")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("the mounts stay shared")?;
        let boot_id = NamedTempFile::new()?;
        mount(Some(boot_id.path()), "/proc/sys/kernel/random/boot_id", none, MsFlags::MS_BIND, none)
            .context("no boot id of its own")?;
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        std::thread::spawn(move || {
            let _ = signals.wait();
            eprintln!("powercut: ending");
            STOP.store(true, Ordering::Relaxed);
        });
        Ok(Self { stop: &STOP, boot_id, boots: 0 })
    }

    /// Whether the process is asked to end.
    pub(super) fn is_to_end(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// From now on this process and its children see another boot, as after a power cut.
    pub(super) fn boot(&mut self) -> Result<()> {
        self.boots += 1;
        Ok(std::fs::write(self.boot_id.path(), format!("c0ffee00-0000-4000-8000-{:012x}\n", self.boots))?)
    }
}
