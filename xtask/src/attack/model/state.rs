//! What the protocol's processes share, and where each of them is. Two images: `1` is the manifest A over the layer C, `2`
//! the manifest B over the same layer. A set of blobs is a few bits.

/// A set of blobs.
pub(super) type Blobs = u8;

/// The manifest of image 1.
pub(super) const A: Blobs = 1;
/// The manifest of image 2.
pub(super) const B: Blobs = 2;
/// The layer that both share.
pub(super) const C: Blobs = 4;

/// Each blob, in the order in which a walk meets them: manifests first.
pub(super) const EACH: [Blobs; 3] = [A, B, C];

/// An image: its manifest is its root, and also the bit of its ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Image {
    pub(super) root: Blobs,
    pub(super) all: Blobs,
}

/// Image 1.
pub(super) const FIRST: Image = Image { root: A, all: A | C };
/// Image 2.
pub(super) const SECOND: Image = Image { root: B, all: B | C };

/// All that there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// Blobs with a row; a row of A or B carries the edge to C.
    pub(super) rows: Blobs,
    pub(super) dirty: Blobs,
    /// Without a row, and to be unlinked.
    pub(super) pending: Blobs,
    /// What is in `blobs/`.
    pub(super) files: Blobs,
    /// By the roots of the images.
    pub(super) refs: Blobs,
    /// Refs whose import has returned, and that nobody has removed since.
    pub(super) acknowledged: Blobs,
    /// The collector that is inside an update. All other updates are one step.
    pub(super) writer: Option<usize>,
    pub(super) workers: Vec<Worker>,
    pub(super) collectors: Vec<Collector>,
    /// What the leases of the dead name, in order.
    pub(super) dead: Vec<Blobs>,
    pub(super) kills: u8,
    pub(super) removals: u8,
    pub(super) collections: u8,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Job {
    Import(Image),
    Export(Image),
}

/// A process that imports or exports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    /// Jobs still to be done, the last one first; one that is killed is begun again.
    pub(super) jobs: Vec<Job>,
    pub(super) at: At,
    /// What its live lease names.
    pub(super) named: Blobs,
    /// An import: still to be looked for; an export: still to be copied.
    pub(super) left: Blobs,
    /// Verified, and not visible yet.
    pub(super) staged: Blobs,
    /// Made visible by this worker.
    pub(super) persisted: Blobs,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// Between two jobs, without a lease.
    Idle,
    /// About to name what it is about to look for.
    Name,
    /// Named; about to look whether it is there.
    Look,
    /// All is named and staged; about to rename into place.
    Persist,
    /// About to publish.
    Publish,
    /// Published, and about to let go of the lease.
    Release,
    /// An export knows its closure, and has not named it.
    Gathered,
    /// An export looks again.
    Again,
    /// An export copies.
    Copy,
    /// An export has found a file gone.
    Failed,
}

/// A process that collects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Collector {
    pub(super) at: GcAt,
    pub(super) full: bool,
    /// What live leases named when it looked.
    pub(super) leased: Blobs,
    /// What the dead named, whose leases it holds.
    pub(super) buried: Vec<Blobs>,
    /// What it is about to unlink.
    pub(super) todo: Blobs,
    /// What it has seen to have no further business.
    pub(super) done: Blobs,
}

/// Where a collector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum GcAt {
    Idle,
    /// Inside the first update: leases are read.
    Mark,
    /// Rows are committed; the leases of the dead go.
    Bury,
    /// A full one looks for files without rows.
    Orphans,
    /// It has found some; they become pending.
    NoteOrphans,
    /// It lists what is pending.
    List,
    /// Before the second update.
    Listed,
    /// Inside the second update: leases are read again, files go one by one.
    Unlink,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self { at: GcAt::Idle, full: false, leased: 0, buried: Vec::new(), todo: 0, done: 0 }
    }
}

impl Worker {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        Self { jobs, at: At::Idle, named: 0, left: 0, staged: 0, persisted: 0 }
    }
}

impl State {
    /// What all live leases name. One of the dead that a collector holds looks alive to the others.
    pub(super) fn leased(&self) -> Blobs {
        let held = self.collectors.iter().flat_map(|collector| &collector.buried).fold(0, |all, named| all | named);
        self.workers.iter().fold(held, |all, worker| all | worker.named)
    }

    /// What the refs reach, and what `leased` keeps, over the rows that there are.
    pub(super) fn kept(&self, leased: Blobs) -> Blobs {
        let mut kept = self.refs | leased;
        for image in [FIRST, SECOND] {
            if kept & image.root & self.rows != 0 {
                kept |= image.all;
            }
        }
        kept
    }

    /// Whether nobody is in the middle of anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.workers.iter().all(|worker| worker.at == At::Idle)
            && self.collectors.iter().all(|collector| collector.at == GcAt::Idle)
    }
}
