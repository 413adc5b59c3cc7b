//! Waiting for a flock, and telling who has it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fs2::FileExt;
use oci_store_cas::threads::has_room;

use crate::locks::{Mode, Wait};
use crate::{Error, Result};

/// Waits that last longer are told.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// Waits that last so long are told to who wants to know; shorter ones, to who wants to know all.
const NOTABLE: Duration = Duration::from_millis(100);

pub(crate) fn flock(file: &File, path: &Path, name: &str, mode: Mode, wait: Wait) -> Result<()> {
    if try_flock(file, mode).map_err(Error::io(path))? {
        tracing::debug!("took the lock {name:?} ({mode:?}) at once");
        return Ok(());
    }
    let waited = Waited::begin(path);
    match wait.limit {
        Some(limit) => poll(file, path, name, mode, limit),
        None => block(file, path, name, mode),
    }?;
    waited.tell(name, mode);
    Ok(())
}

/// Asks for the lock of an open file once; `false`: another has it.
pub(crate) fn try_flock(file: &File, mode: Mode) -> io::Result<bool> {
    let tried = through_signals(|| match mode {
        Mode::Shared => FileExt::try_lock_shared(file),
        Mode::Alone => FileExt::try_lock_exclusive(file),
    });
    match tried {
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
        tried => tried.map(|()| true),
    }
}

/// A signal is no reason to give up.
fn through_signals(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// A wait for a lock, for who asks what a command waits for.
struct Waited {
    began: Instant,
    /// Who had the lock then.
    holder: Option<String>,
}

impl Waited {
    fn begin(path: &Path) -> Self {
        // To find out costs more than many a wait.
        let holder = tracing::enabled!(tracing::Level::INFO).then(|| holder(path)).flatten();
        Self { began: Instant::now(), holder }
    }

    fn tell(self, name: &str, mode: Mode) {
        let waited = self.began.elapsed();
        let holder = self.holder.map(|holder| format!(", held by {holder}")).unwrap_or_default();
        if waited >= NOTABLE {
            tracing::info!("waited {waited:.1?} for the lock {name:?} ({mode:?}){holder}");
        } else {
            tracing::debug!("waited {waited:.1?} for the lock {name:?} ({mode:?}){holder}");
        }
    }
}

/// Waits in the kernel, first come first served, while another thread tells if it takes long.
fn block(file: &File, path: &Path, name: &str, mode: Mode) -> Result<()> {
    let (done, waiting) = mpsc::channel::<()>();
    let locked = thread::scope(|scope| {
        let watch = move || {
            if waiting.recv_timeout(TOLD_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                tell(path, name);
            }
        };
        // Where there is no thread to be had, nothing is told.
        if has_room() {
            let _ = thread::Builder::new().spawn_scoped(scope, watch);
        }
        let locked = through_signals(|| match mode {
            Mode::Shared => FileExt::lock_shared(file),
            Mode::Alone => FileExt::lock_exclusive(file),
        });
        drop(done);
        locked
    });
    locked.map_err(Error::io(path))
}

/// Asks again and again until `limit` has passed.
fn poll(file: &File, path: &Path, name: &str, mode: Mode, limit: Duration) -> Result<()> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut told = false;
    loop {
        if try_flock(file, mode).map_err(Error::io(path))? {
            return Ok(());
        }
        let waited = began.elapsed();
        if waited >= limit {
            return Err(Error::LockTimeout { lock: format!("lock {name:?}"), waited, holder: holder(path) });
        }
        if waited >= TOLD_AFTER && !told {
            tell(path, name);
            told = true;
        }
        thread::sleep(pause.min(limit - waited));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn tell(path: &Path, name: &str) {
    let holder = holder(path).unwrap_or_else(|| "another process".to_owned());
    tracing::warn!("waiting for the lock {name:?} ({}), held by {holder}", path.display());
}

/// Who holds a lock, as the kernel tells: `process 123 (oci-store)`. Its table comes in pieces, so that a line may slip away
/// between two of them while locks come and go elsewhere.
fn holder(path: &Path) -> Option<String> {
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    (0..3).find_map(|_| listed(&inode))
}

fn listed(inode: &str) -> Option<String> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 4242 fe:00:131 0 EOF; waiters have an arrow in the second column.
    let pid = table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        match columns.as_slice() {
            [_, "FLOCK", _, _, pid, file, ..] if file.ends_with(inode) => Some((*pid).to_owned()),
            _ => None,
        }
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}
