//! What a store needs of locks and leases, as traits; [`FileLocks`](crate::FileLocks) is the one that there is.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use oci_store_cas::Digest;

use crate::Result;

/// The locks of a store, in the order in which they are taken: who holds one never asks for one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lock {
    /// The projection of the index for readers outside (an OCI store's `index.json`).
    Projection,
    /// Taken before [`Store`](Lock::Store), so that one who wants that alone is not starved by those who share it.
    Turnstile,
    /// The store: shared by every transaction that writes; alone for migration, convert and reindex.
    Store,
    /// The index's one writer.
    Writer,
}

impl Lock {
    /// Its name, for people and for files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Projection => "projection",
            Self::Turnstile => "turnstile",
            Self::Store => "store",
            Self::Writer => "writer",
        }
    }
}

/// Whether a lock is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With any number of others who share it.
    Shared,
    /// With nobody.
    Alone,
}

/// How long to wait for a lock. The default is without limit: whoever holds one is at work, and a dead process
/// holds none. Waits of over two seconds are told through `tracing`, with the lock and its holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// The limit.
    pub limit: Option<Duration>,
}

/// A lock held; it is released when this is dropped, or when the process dies.
pub trait Guard: Debug + Send + Sync {}

/// Locks and leases, shared by all who have the store open.
pub trait Locks: Debug + Send + Sync {
    /// Takes a lock.
    ///
    /// # Errors
    /// [`Error::LockTimeout`](crate::Error::LockTimeout) if `wait` has a limit; [`Error::Io`](crate::Error::Io).
    fn lock(&self, lock: Lock, mode: Mode, wait: Wait) -> Result<Box<dyn Guard>>;

    /// Claims the work on a blob, or returns `None` if somebody else is at it; never waits. A claim is a courtesy: it saves
    /// others from doing the same work, and nothing rests on it. By default there is nobody else.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn claim(&self, digest: &Digest) -> Result<Option<Box<dyn Guard>>> {
        let _ = digest;
        Ok(Some(Box::new(Nobody)))
    }

    /// Makes a lease. It is live from the moment at which anybody can see it until it is released, or its process
    /// dies. `purpose` is a word for people: `import`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn lease(&self, purpose: &str) -> Result<Box<dyn LeaseHold>>;

    /// All leases. Those of the dead are taken over: nobody else sees them as dead until they are dropped.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn leases(&self) -> Result<Vec<Lease>>;

    /// All leases, for who only looks: none is taken over.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn look_at_leases(&self) -> Result<Vec<LeaseInfo>> {
        let seen = |lease: Lease| {
            let Lease { id, about, digests, dead } = lease;
            LeaseInfo { id, about, digests, live: dead.is_none(), made: None }
        };
        Ok(self.leases()?.into_iter().map(seen).collect())
    }

    /// An identity of this boot of the machine: another one means that no process of before is alive, and that
    /// files whose names were not durable may have gone.
    fn boot(&self) -> u64;

    /// When this boot was, by the clock that file systems go by; `None` if nobody knows. A full collection that nobody
    /// has asked for removes files without rows only if they are older.
    fn booted(&self) -> Option<SystemTime> {
        None
    }
}

/// What is held where nobody else is.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Guard for Nobody {}

/// One's own live lease. Dropping it without [`release`](LeaseHold::release) leaves it as one of the dead: the
/// next gc looks after all that it names.
pub trait LeaseHold: Debug + Send + Sync {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `-`, never used again.
    fn id(&self) -> &str;

    /// Names blobs that this lease keeps. When it returns, every gc that looks for leases later sees them.
    /// Idempotent.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn name(&self, digests: &[Digest]) -> Result<()>;

    /// Ends the lease and removes it: all that it names is kept by something else, or is the gc's.
    fn release(self: Box<Self>);
}

/// A lease, as others see it.
#[derive(Debug)]
pub struct Lease {
    /// Its name.
    pub id: String,
    /// What it says of itself: process and purpose.
    pub about: String,
    /// The blobs that it names.
    pub digests: Vec<Digest>,
    /// If its owner is dead: the lease itself, taken over.
    pub dead: Option<Box<dyn DeadLease>>,
}

/// A lease, as it was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// Its name.
    pub id: String,
    /// What it says of itself: process and purpose.
    pub about: String,
    /// The blobs that it names.
    pub digests: Vec<Digest>,
    /// Whether its owner was alive.
    pub live: bool,
    /// When it was made, if that is known.
    pub made: Option<SystemTime>,
}

impl LeaseInfo {
    /// The owner's process, if the lease says so.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.about.strip_prefix("pid=")?.split(' ').next()?.parse().ok()
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> &str {
        let words = self.about.split_once(' ');
        words.filter(|(first, _)| first.starts_with("pid=")).map_or(&self.about, |(_, purpose)| purpose)
    }
}

/// A lease whose owner is dead, taken over. Dropping it leaves it to the next one who looks.
pub trait DeadLease: Debug + Send {
    /// Removes it. Idempotent.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn remove(self: Box<Self>) -> Result<()>;
}
