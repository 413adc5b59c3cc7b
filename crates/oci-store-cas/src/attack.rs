//! Doors for attacks on a store: guards that can be taken out, to see that the attacks notice, and points at which a
//! process can be made to wait. They are there in builds with `--cfg oci_store_attack` alone; in all others each
//! function is a constant, and what asks it is compiled away.
//!
//! What a process does is set by its environment: `OCI_STORE_WITHOUT` lists the guards that are taken out, and
//! `OCI_STORE_STOP=POINT@N=FOLDER` makes it wait when it comes to `POINT` for the Nth time: it makes the file
//! `FOLDER/reached`, and goes on once there is `FOLDER/go`. `OCI_STORE_POINTS=FILE` lists the points in a file as the
//! process comes to them.

/// Something that the promises rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A blob's bytes are synced before it is visible.
    FileSync,
    /// Names in `blobs/` are synced before rows say that they are there.
    FolderSync,
    /// A publish looks whether all of its closure is still there.
    PublishCheck,
    /// Leases name what is in use.
    Leases,
    /// An export looks again after it has named its closure.
    SecondLook,
    /// A row goes, durably, before its file.
    RowsFirst,
    /// `index.json` is written by one process at a time.
    RefOrder,
}

impl Guard {
    /// Its name in `OCI_STORE_WITHOUT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FileSync => "file-sync",
            Self::FolderSync => "folder-sync",
            Self::PublishCheck => "publish-check",
            Self::Leases => "leases",
            Self::SecondLook => "second-look",
            Self::RowsFirst => "rows-first",
            Self::RefOrder => "ref-order",
        }
    }
}

/// Where a process can be made to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before a transaction begins, and before its locks are taken.
    BeforeUpdate,
    /// A lease was made, and names nothing yet.
    LeaseMade,
    /// An import has named a blob and looked whether the store has it.
    Looked,
    /// An export knows what its image consists of, and has named nothing of it yet.
    Gathered,
    /// All that an operation needs is named in its lease.
    ClosureNamed,
    /// New blobs are visible, and not yet durable under their names.
    BlobPersisted,
    /// New blobs are durable; the transaction that publishes them has not begun.
    BeforePublish,
    /// A collection has deleted rows; the files are still there.
    AfterMark,
    /// Inside the transaction of a collection: the leases are read, no row is deleted yet.
    BeforeRows,
    /// A collection is about to unlink files.
    BeforeUnlink,
    /// Inside the transaction that unlinks: the leases are read, no file is gone yet.
    InUnlink,
    /// Refs are committed, `index.json` is not written yet.
    BeforeProjection,
    /// What `index.json` is to say is known, and not in its place yet.
    Rendered,
    /// An export is about to copy a blob.
    BeforeCopy,
    /// A new index is built, and not in the place of the one before yet.
    BeforeSwitch,
}

impl Point {
    /// Its name in `OCI_STORE_STOP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeUpdate => "before-update",
            Self::LeaseMade => "lease-made",
            Self::Looked => "looked",
            Self::Gathered => "gathered",
            Self::ClosureNamed => "closure-named",
            Self::BlobPersisted => "blob-persisted",
            Self::BeforePublish => "before-publish",
            Self::AfterMark => "after-mark",
            Self::BeforeRows => "before-rows",
            Self::BeforeUnlink => "before-unlink",
            Self::InUnlink => "in-unlink",
            Self::BeforeProjection => "before-projection",
            Self::Rendered => "rendered",
            Self::BeforeCopy => "before-copy",
            Self::BeforeSwitch => "before-switch",
        }
    }
}

/// Whether a guard is taken out. Always false but in an attack build.
#[cfg(not(oci_store_attack))]
#[inline(always)]
#[must_use]
pub const fn without(_: Guard) -> bool {
    false
}

/// Waits, if this process is to wait here. Does nothing but in an attack build.
#[cfg(not(oci_store_attack))]
#[inline(always)]
pub const fn reached(_: Point) {}

#[cfg(oci_store_attack)]
pub use build::{reached, without};

#[cfg(oci_store_attack)]
mod build {
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use std::{env, fs, thread};

    use super::{Guard, Point};

    /// Whether a guard is taken out.
    #[must_use]
    pub fn without(guard: Guard) -> bool {
        static OUT: OnceLock<String> = OnceLock::new();
        let out = OUT.get_or_init(|| env::var("OCI_STORE_WITHOUT").unwrap_or_default());
        out.split(',').any(|name| name == guard.name())
    }

    /// Waits, if this process is to wait here.
    pub fn reached(point: Point) {
        if let Some(list) = env::var_os("OCI_STORE_POINTS") {
            let file = fs::OpenOptions::new().create(true).append(true).open(list);
            let _ = file.and_then(|mut file| writeln!(file, "{}", point.name()));
        }
        static STOP: OnceLock<Option<Stop>> = OnceLock::new();
        let stop = STOP.get_or_init(|| Stop::parse(&env::var("OCI_STORE_STOP").ok()?));
        if let Some(stop) = stop
            && stop.point == point.name()
            && stop.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            let _ = fs::write(stop.folder.join("reached"), "");
            while !stop.folder.join("go").exists() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    struct Stop {
        point: String,
        /// Arrivals up to the one that waits.
        left: AtomicU32,
        folder: PathBuf,
    }

    impl Stop {
        fn parse(text: &str) -> Option<Self> {
            let (place, folder) = text.split_once('=')?;
            let (point, count) = place.split_once('@')?;
            let left = AtomicU32::new(count.parse().ok()?);
            Some(Self { point: point.to_owned(), left, folder: folder.into() })
        }
    }
}
