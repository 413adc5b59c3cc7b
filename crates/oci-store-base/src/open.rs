//! Opening and making stores.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_store_cas::{Access, Cas, folder::FolderCas};
use oci_store_index::{Backend, IndexExt};

use crate::config::{Config, OWN_FOLDER, Stamp, new_id, sync_folder};
use crate::counts;
use crate::current::{epochs, find_backend, index_folder, sign};
use crate::file_locks::FileLocks;
use crate::filesystem::network_below;
use crate::locks::{Lock, Locks, Mode, Wait};
use crate::migrate::migrate;
use crate::schema::FORMAT;
use crate::sealed::Sealed;
use crate::share::{share, share_blobs};
use crate::store::Parts;
use crate::{Error, Result, Store, Txn};

/// How to open a store, and how to make one that is absent.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    kind: String,
    backends: Vec<Arc<dyn Backend>>,
    index: Option<String>,
    create: bool,
    access: Access,
    wait: Wait,
    network: bool,
    cas: Option<Arc<dyn Cas>>,
    locks: Option<Arc<dyn Locks>>,
}

impl OpenOptions {
    /// A store of `kind` (a word for the store on top: `oci`), over one of `backends`; a new one is made over
    /// the first.
    #[must_use]
    pub fn new(kind: &str, backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            kind: kind.to_owned(),
            backends,
            index: None,
            create: true,
            access: Access::Private,
            wait: Wait::default(),
            network: false,
            cas: None,
            locks: None,
        }
    }

    /// The name of the index's backend. It counts when the store is made; a store that has another one is an
    /// [`Error::IndexMismatch`].
    #[must_use]
    pub fn index(mut self, name: Option<&str>) -> Self {
        self.index = name.map(str::to_owned);
        self
    }

    /// Whether an absent store is made; it is, by default. Else it is an [`Error::NoStore`].
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether a store that is made is for one user (the default) or for a group.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How long to wait for locks.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Whether the store may be on a network filesystem. It may not, by default: flock and shared memory, which keep
    /// processes apart, are not reliable there. Allow it for a folder that one machine alone uses. Whoever brings
    /// [`locks`](Self::locks) is not asked.
    #[must_use]
    pub fn allow_network_filesystem(mut self, allow: bool) -> Self {
        self.network = allow;
        self
    }

    /// A place for the blobs other than the folder `blobs/`.
    #[must_use]
    pub fn cas(mut self, cas: Arc<dyn Cas>) -> Self {
        self.cas = Some(cas);
        self
    }

    /// Locks and leases other than files and flock.
    #[must_use]
    pub fn locks(mut self, locks: Arc<dyn Locks>) -> Self {
        self.locks = Some(locks);
        self
    }

    /// Opens the store in the folder `root`, making it if it is absent, and migrating it if an older version
    /// made it. Idempotent; any number of processes may do it at once. A crash in the middle leaves what the
    /// next open completes.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::NotAStore`], [`Error::Kind`], [`Error::NewerFormat`],
    /// [`Error::IndexMismatch`], [`Error::NoBackend`], [`Error::IndexLost`], [`Error::ReadOnly`],
    /// [`Error::NetworkFilesystem`], [`Error::Config`]; [`Error::Io`], [`Error::Index`].
    pub fn open(self, root: impl AsRef<Path>) -> Result<Store> {
        let root = root.as_ref();
        let (mut parts, mut stamp) = self.parts(root)?;
        if let Some(asked) = self.index.filter(|asked| *asked != parts.config.index) {
            find_backend(&self.backends, &asked)?;
            return Err(Error::IndexMismatch { path: root.to_owned(), asked, found: parts.config.index });
        }
        if parts.config.format < FORMAT {
            migrate(&parts.own, &*parts.locks, &self.backends, self.wait)?;
            (parts.config, stamp) = Config::read(&parts.own)?.ok_or_else(|| Error::NoStore(root.to_owned()))?;
        }
        Store::assemble(root, parts, stamp, self.backends, self.wait)
    }

    /// All but the index: the store is there, is of the right kind, and may be written.
    pub(crate) fn parts(&self, root: &Path) -> Result<(Parts, Stamp)> {
        self.check_filesystem(root)?;
        let own = root.join(OWN_FOLDER);
        if Config::read(&own)?.is_none() {
            if self.create {
                let config = self.new_config()?;
                let locks = self.locks_of(&own, &config);
                make(root, &own, &config, &self.backends, &*locks, self.wait)?;
            } else {
                // Something else is there, unless another process has just made it.
                let is_free = is_free(root, &own)?;
                if !is_free && Config::read(&own)?.is_none() {
                    return Err(no_store(root, &own));
                }
            }
        }
        // Another process may have made it, and otherwise than this one would have.
        let (config, stamp) = Config::read(&own)?.ok_or_else(|| Error::NoStore(root.to_owned()))?;
        Ok((self.parts_of(root, own, config)?, stamp))
    }

    /// The same, or if there is no config but are blobs: the folders that a store needs, and the config that it is
    /// to get when it has an index.
    pub(crate) fn parts_or_lost(&self, root: &Path) -> Result<(Parts, Option<Config>)> {
        let own = root.join(OWN_FOLDER);
        if Config::read(&own)?.is_some() || !root.join("blobs").is_dir() {
            return Ok((self.parts(root)?.0, None));
        }
        self.check_filesystem(root)?;
        let mut config = self.new_config()?;
        make_folders(root, config.access())?;
        share_blobs(root, config.access());
        config.epoch = epochs(&own)?.into_iter().max().unwrap_or(0);
        Ok((self.parts_of(root, own, config.clone())?, Some(config)))
    }

    fn parts_of(&self, root: &Path, own: PathBuf, config: Config) -> Result<Parts> {
        if config.kind != self.kind {
            return Err(Error::Kind { path: root.to_owned(), expected: self.kind.clone(), found: config.kind });
        }
        if !may_write(&own) {
            return Err(Error::ReadOnly(root.to_owned()));
        }
        // Empty folders get lost in backups, and what is in these is of no use to anybody later.
        for folder in ["locks", "leases", "ingest"].map(|name| own.join(name)) {
            config.access().make_folder(&folder)?;
        }
        share(root, config.access());
        let blobs = || FolderCas::new(root.join("blobs"), own.join("ingest"), config.access());
        let cas = self.cas.clone().unwrap_or_else(|| Arc::new(blobs()));
        let locks = self.locks_of(&own, &config);
        Ok(Parts { own, config, cas, locks })
    }

    fn check_filesystem(&self, root: &Path) -> Result<()> {
        match network_below(root) {
            Some(name) if !self.network && self.locks.is_none() => {
                Err(Error::NetworkFilesystem { path: root.to_owned(), name })
            }
            _ => Ok(()),
        }
    }

    fn locks_of(&self, own: &Path, config: &Config) -> Arc<dyn Locks> {
        let files = || FileLocks::new(own.join("locks"), own.join("leases"), config.access());
        self.locks.clone().unwrap_or_else(|| Arc::new(files()))
    }

    pub(crate) fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    pub(crate) fn wait_policy(&self) -> Wait {
        self.wait
    }

    pub(crate) fn index_asked(&self) -> Option<String> {
        self.index.clone()
    }

    fn new_config(&self) -> Result<Config> {
        let index = match (&self.index, self.backends.first()) {
            (Some(name), _) => find_backend(&self.backends, name)?.name(),
            (None, Some(backend)) => backend.name(),
            (None, None) => return Err(Error::NoBackend { name: String::new(), known: "none".to_owned() }),
        };
        let shared = matches!(self.access, Access::Group);
        Ok(Config { format: FORMAT, kind: self.kind.clone(), index: index.to_owned(), epoch: 1, shared, id: new_id() })
    }
}

/// What is wrong with a folder that has no config, and something else.
fn no_store(root: &Path, own: &Path) -> Error {
    if own.join("index").exists() {
        let why = "it is gone; `reindex` makes it anew, with an index".to_owned();
        return Error::Config { path: own.join("config.json"), why };
    }
    Error::NotAStore(root.to_owned())
}

/// Makes a store's folders, and last of all its config. Whoever comes second finds it made.
fn make(
    root: &Path,
    own: &Path,
    config: &Config,
    backends: &[Arc<dyn Backend>],
    locks: &dyn Locks,
    wait: Wait,
) -> Result<()> {
    if !is_free(root, own)? {
        // Unless another process has just made it.
        return if Config::read(own)?.is_some() { Ok(()) } else { Err(no_store(root, own)) };
    }
    let above: Vec<&Path> = root.ancestors().skip(1).map(or_here).collect();
    let missing = above.iter().take_while(|folder| !folder.exists()).count();
    if let Some(parent) = above.first() {
        fs::create_dir_all(parent).map_err(Error::io(*parent))?;
    }
    // Its own folder first: one that has it is a store in the making, and not somebody's other folder.
    for folder in ["", OWN_FOLDER, ".oci-store/locks"] {
        config.access().make_folder(&root.join(folder))?;
    }
    let _alone = locks.lock(Lock::Store, Mode::Alone, wait)?;
    if Config::read(own)?.is_some() {
        return Ok(());
    }
    make_folders(root, config.access())?;
    let folder = index_folder(own, config.epoch);
    // What an attempt left that did not get to its end, perhaps over another backend.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    config.access().make_folder(&folder)?;
    let index = Sealed::over(find_backend(backends, &config.index)?.open(&folder)?, &folder, config.format);
    index.write(|txn| {
        counts::begin(txn)?;
        sign(&mut Txn(txn), config)
    })?;
    sync_folder(&folder)?;
    sync_folder(&own.join("index"))?;
    config.write(own)?;
    sync_folder(root)?;
    // Each folder above that has a new name in it. Best effort: it may be one that can't be read.
    for folder in above.into_iter().take(missing + 1) {
        let _ = sync_folder(folder);
    }
    Ok(())
}

/// The folder that a path leads to, which is this one if it is empty.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// All that a store has but files.
fn make_folders(root: &Path, access: Access) -> Result<()> {
    let own = root.join(OWN_FOLDER);
    for folder in [own.clone(), own.join("locks"), own.join("leases"), own.join("ingest"), own.join("index")] {
        access.make_folder(&folder)?;
    }
    access.make_folder(&root.join("blobs"))?;
    Ok(())
}

/// Whether a store may be made in a folder: it is absent or empty, or is a store in the making, which has no blobs yet.
fn is_free(root: &Path, own: &Path) -> Result<bool> {
    Ok(is_empty(root)? || own.is_dir() && is_empty(&root.join("blobs"))?)
}

fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    // Every new file system has that one.
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found")))
}

/// Whether this process may write the store; a read-only mount counts as no.
fn may_write(own: &Path) -> bool {
    rustix::fs::access(own, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}
