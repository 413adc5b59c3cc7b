//! Locks and leases by files and flock: a lock dies with its process, whatever it died of.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use oci_store_cas::{Access, Digest, check_batch_name};

use crate::claims::Claims;
use crate::config::TEMPORARY;
use crate::flock::{flock, try_flock};
use crate::locks::{DeadLease, Guard, Lease, LeaseHold, LeaseInfo, Lock, Locks, Mode, Wait};
use crate::share::{open_or_create, set_mode};
use crate::{Error, Result};

/// The file in whose bytes claims are.
const CLAIMS: &str = "claims";

/// [`Locks`] in two folders of a store, for one machine: flock is not relied upon across network filesystems.
#[derive(Debug)]
pub struct FileLocks {
    locks: PathBuf,
    leases: PathBuf,
    access: Access,
    claims: Claims,
}

impl FileLocks {
    /// Locks under `locks` and leases under `leases`, both of which exist.
    #[must_use]
    pub fn new(locks: PathBuf, leases: PathBuf, access: Access) -> Self {
        Self { claims: Claims::new(locks.join(CLAIMS), access), locks, leases, access }
    }

    /// Opens the files of leases one after the other, those that are being made too.
    fn each_lease_file(&self, visit: &mut dyn FnMut(String, PathBuf, File) -> Result<()>) -> Result<()> {
        for entry in fs::read_dir(&self.leases).map_err(Error::io(&self.leases))? {
            let entry = entry.map_err(Error::io(&self.leases))?;
            let Ok(id) = entry.file_name().into_string() else { continue };
            let is_temporary = id.ends_with(TEMPORARY);
            if !is_temporary && check_batch_name(&id).is_err() {
                // Not ours.
                continue;
            }
            if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                // Nor this: opening a FIFO would wait for whoever made it.
                continue;
            }
            let path = entry.path();
            match File::open(&path) {
                Ok(file) => visit(id, path, file)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Another's, who has not let the group read it yet: no lease yet, or never one.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && is_temporary => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
        Ok(())
    }
}

impl Locks for FileLocks {
    fn lock(&self, lock: Lock, mode: Mode, wait: Wait) -> Result<Box<dyn Guard>> {
        let path = self.locks.join(lock.name());
        // Lock files are never removed, so the file that is locked is the file that all see.
        let file = open_or_create(&path, self.access)?;
        flock(&file, &path, lock.name(), mode, wait)?;
        Ok(Box::new(FileGuard { _file: file }))
    }

    fn claim(&self, digest: &Digest) -> Result<Option<Box<dyn Guard>>> {
        self.claims.claim(digest)
    }

    fn lease(&self, purpose: &str) -> Result<Box<dyn LeaseHold>> {
        // Made under a name that nobody looks at and locked before it is renamed: a lease that can be seen is locked
        // as long as its owner lives.
        loop {
            let id = new_id();
            let path = self.leases.join(&id);
            let temporary = self.leases.join(format!("{id}{TEMPORARY}"));
            let mut file = match OpenOptions::new().append(true).read(true).create_new(true).open(&temporary) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io(temporary)(error)),
            };
            set_mode(&file, &temporary, self.access)?;
            if !try_flock(&file, Mode::Alone).map_err(Error::io(&temporary))? {
                // A gc has it, took it for one of the dead and removes it.
                continue;
            }
            let about = format!("pid={} {purpose}\n", std::process::id());
            file.write_all(about.as_bytes()).map_err(Error::io(&temporary))?;
            match fs::rename(&temporary, &path) {
                Ok(()) => return Ok(Box::new(FileLease { id, path, file })),
                // A gc was faster still, and has removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
    }

    fn leases(&self) -> Result<Vec<Lease>> {
        let mut leases = Vec::new();
        self.each_lease_file(&mut |id, path, file| {
            let dead = try_flock(&file, Mode::Alone).map_err(Error::io(&path))?;
            // Released, or renamed, between the look into the folder and the lock: no lease any more.
            if dead && !is_at(&file, &path) {
                return Ok(());
            }
            if id.ends_with(TEMPORARY) {
                return if dead { remove_file(&path) } else { Ok(()) };
            }
            let (about, digests) = read_lease(&file, &path)?;
            let dead = dead.then(|| Box::new(DeadFile { path, _file: file }) as Box<dyn DeadLease>);
            leases.push(Lease { id, about, digests, dead });
            Ok(())
        })?;
        Ok(leases)
    }

    /// Whether an owner lives is told by asking for a share of the lock, which is given back at once. A gc that looks in that
    /// very moment takes a dead lease for a live one, and leaves it to the next.
    fn look_at_leases(&self) -> Result<Vec<LeaseInfo>> {
        let mut leases = Vec::new();
        self.each_lease_file(&mut |id, path, file| {
            // What is being made is no lease yet.
            if id.ends_with(TEMPORARY) {
                return Ok(());
            }
            let live = !try_flock(&file, Mode::Shared).map_err(Error::io(&path))?;
            if live || is_at(&file, &path) {
                let (about, digests) = read_lease(&file, &path)?;
                leases.push(LeaseInfo { made: made_at(&id), id, about, digests, live });
            }
            Ok(())
        })?;
        Ok(leases)
    }

    fn boot(&self) -> u64 {
        // The text of a random number; 48 bits of it are enough to tell two boots apart.
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(12).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(1)
    }

    fn booted(&self) -> Option<SystemTime> {
        // In whole seconds, rounded down: later than that is not before it.
        let text = fs::read_to_string("/proc/stat").ok()?;
        let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }
}

#[derive(Debug)]
struct FileGuard {
    /// Closing it releases the lock.
    _file: File,
}

impl Guard for FileGuard {}

#[derive(Debug)]
struct FileLease {
    id: String,
    path: PathBuf,
    file: File,
}

impl LeaseHold for FileLease {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self, digests: &[Digest]) -> Result<()> {
        // On a line of its own, whatever a write that failed has left.
        let mut text = String::with_capacity(1 + digests.len() * 72);
        text.push('\n');
        for digest in digests {
            text.push_str(&digest.to_string());
            text.push('\n');
        }
        // Appended: threads that share a lease don't overwrite each other.
        (&self.file).write_all(text.as_bytes()).map_err(Error::io(&self.path))
    }

    fn release(self: Box<Self>) {
        // Should it fail, the file is left unlocked, for the next gc.
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Debug)]
struct DeadFile {
    path: PathBuf,
    _file: File,
}

impl DeadLease for DeadFile {
    fn remove(self: Box<Self>) -> Result<()> {
        remove_file(&self.path)
    }
}

fn read_lease(mut file: &File, path: &Path) -> Result<(String, Vec<Digest>)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io(path))?;
    // After a power loss it may hold anything.
    Ok(parse_lease(&String::from_utf8_lossy(&bytes)))
}

/// A lease's first line, and its digests. A last line without its end is being written: who writes it has not
/// begun to rely on it.
fn parse_lease(text: &str) -> (String, Vec<Digest>) {
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let mut lines = whole.lines();
    let about = lines.next().unwrap_or_default().to_owned();
    (about, lines.filter_map(|line| line.parse().ok()).collect())
}

/// A name that no lease of this machine ever has again.
fn new_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{nanos:x}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// The time in a lease's name.
fn made_at(id: &str) -> Option<SystemTime> {
    let nanos = u64::from_str_radix(id.split('-').next()?, 16).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}
