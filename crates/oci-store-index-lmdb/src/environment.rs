use std::mem;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{PoisonError, RwLock};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use oci_store_index::{Error, Result};
use rustix::process::{Resource, getrlimit};

use crate::error::{about, at, explained};
use crate::gate::{Entered, Gate};

/// The rows lie in the unnamed database.
pub(crate) type Rows = Database<'static, Bytes, Bytes>;

/// The map is address space, not disk: the file is as long as its rows need. Growing a map later fails in the
/// other processes, so it is made once as large as can be.
pub(crate) const MAP_MOST: usize = 1 << 40;
/// Below this, where the address space is limited (`ulimit -v`), there is no use in trying: an index of thousands of
/// blobs is as large.
const MAP_LEAST: usize = 4 << 20;

/// Each open view takes a slot of 64 bytes in `lock.mdb`, over all processes: 256 KiB.
pub(crate) const READERS: u32 = 4096;

/// The files of an environment: which they are, whatever the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The gates of an environment. See [`crate::gate`].
pub(crate) struct Gates {
    /// Writers pass it for the length of their transaction.
    pub(crate) write: Gate,
    /// Views pass it while they begin.
    pub(crate) read: Gate,
}

/// What transactions need. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) env: Env<WithoutTls>,
    pub(crate) rows: Rows,
}

/// The one environment that this process has open over a folder.
pub(crate) struct Environment {
    pub(crate) dir: PathBuf,
    pub(crate) id: FileId,
    gates: Gates,
    pid: u32,
    /// `None` once other files have taken the place of these.
    opened: RwLock<Option<Opened>>,
}

impl Environment {
    pub(crate) fn new(dir: PathBuf, id: FileId, gates: Gates, opened: Opened) -> Self {
        Self { dir, id, gates, pid: process::id(), opened: RwLock::new(Some(opened)) }
    }

    /// Fails in a forked child, before anything of LMDB's is touched: the locks are the parent's.
    pub(crate) fn check_process(&self) -> Result<()> {
        if process::id() == self.pid {
            return Ok(());
        }
        Err(about(&self.dir, format_args!("the index was opened by process {}, and this is a fork of it", self.pid)))
    }

    pub(crate) fn opened(&self) -> Result<Opened> {
        self.check_process()?;
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.clone().ok_or_else(|| about(&self.dir, "the index's files have been replaced; open it again"))
    }

    /// Gives the environment up. It closes with the last transaction under way.
    pub(crate) fn give_up(&self) {
        let opened = self.opened.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(opened);
    }

    /// Waits for this writer's turn.
    pub(crate) fn turn(&self) -> Result<Entered<'_>> {
        self.gates.write.enter().map_err(at(&self.dir))
    }

    /// A view, or `None` where LMDB cannot give one and a write transaction has to serve.
    pub(crate) fn read<'a>(&self, opened: &'a Opened) -> Result<Option<RoTxn<'a, WithoutTls>>> {
        let _entered = self.gates.read.enter().map_err(at(&self.dir))?;
        read(&opened.env).map_err(|error| self.failed(error))
    }

    pub(crate) fn failed(&self, error: heed::Error) -> Error {
        explained(&self.dir, error)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            let opened = self.opened.get_mut().unwrap_or_else(PoisonError::into_inner);
            mem::forget(opened.take());
        }
    }
}

impl Opened {
    /// Opens the files in `dir`. The caller holds the folder's lock, which is the gate for views.
    pub(crate) fn open(dir: &Path, write: &Gate) -> heed::Result<Self> {
        Self::open_sized(dir, write, MAP_MOST, READERS)
    }

    fn open_sized(dir: &Path, write: &Gate, map: usize, readers: u32) -> heed::Result<Self> {
        let env = open_env(dir, map, readers)?;
        // What processes killed inside a view have left keeps pages from being used again.
        env.clear_stale_readers()?;
        let rows = match read(&env)? {
            Some(txn) => env.open_databases_and_commit(txn, |opener, txn| {
                opener.open_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
            }),
            None => {
                let _turn = write.enter()?;
                env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
                    opener.open_database(txn, None).map(CommitOrAbort::<_, ()>::Commit)
                })
            }
        }?;
        let rows = rows.commit().flatten().ok_or(heed::Error::Mdb(MdbError::Invalid))?;
        Ok(Self { env, rows })
    }
}

/// LMDB tells readers apart by process id. Where two processes of the same id share a folder (both are the
/// first of their container) only one can have views; the other gets `None`, and reads as a writer.
fn read(env: &Env<WithoutTls>) -> heed::Result<Option<RoTxn<'_, WithoutTls>>> {
    let mut txn = env.read_txn();
    if matches!(txn, Err(heed::Error::Mdb(MdbError::ReadersFull))) {
        env.clear_stale_readers()?;
        txn = env.read_txn();
    }
    match txn {
        Ok(txn) => Ok(Some(txn)),
        Err(heed::Error::Io(error))
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::PermissionDenied) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// As much as can be, up to `most`: where the address space is limited, half of it, as the process needs some for
/// itself.
fn map_size(most: usize) -> usize {
    let limit = getrlimit(Resource::As).current.and_then(|limit| usize::try_from(limit).ok());
    // A power of two is whole pages.
    limit.map_or(most, |limit| 1 << (limit / 2).clamp(MAP_LEAST.min(most), most).ilog2())
}

fn open_env(dir: &Path, most: usize, readers: u32) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_readers(readers);
    let mut size = map_size(most);
    loop {
        options.map_size(size);
        // SAFETY: the files are LMDB's alone. Nobody else writes them, or truncates them while they are mapped;
        // `table` opens the environment of a folder once in a process; no flag turns a lock off.
        match unsafe { options.open(dir) } {
            Err(heed::Error::Io(error)) if error.kind() == std::io::ErrorKind::OutOfMemory && size > MAP_LEAST => {
                size /= 2;
            }
            // A signal interrupted the wait for the lock file.
            Err(heed::Error::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::{Opened, read};
    use crate::error::explained;
    use crate::gate::Gate;
    use crate::table;

    fn small(dir: &std::path::Path, map: usize, readers: u32) -> Opened {
        let gate = Gate::new(File::create(dir.join("write.lock")).unwrap());
        Opened::open_sized(dir, &gate, map, readers).unwrap()
    }

    #[test]
    fn a_map_that_is_full_is_no_full_disk_and_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { env, rows } = small(dir.path(), 1 << 20, 8);
        let put = |key: u32| {
            let mut txn = env.write_txn()?;
            rows.put(&mut txn, &key.to_be_bytes(), &[0; 4000])?;
            txn.commit()
        };
        put(0).unwrap();
        let error = (1..1000).find_map(|key| put(key).err()).unwrap();
        let error = explained(dir.path(), error);
        assert!(error.to_string().contains("the index is full"), "{error}");
        assert!(matches!(error, oci_store_index::Error::Backend { .. }), "{error}");
        let txn = env.read_txn().unwrap();
        assert_eq!(rows.get(&txn, &0_u32.to_be_bytes()).unwrap().map(<[u8]>::len), Some(4000));
    }

    #[test]
    fn readers_without_a_slot_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { env, .. } = small(dir.path(), 1 << 20, 2);
        let views: Vec<_> = (0..2).map(|_| read(&env).unwrap().unwrap()).collect();
        let error = explained(dir.path(), read(&env).err().unwrap());
        assert!(error.to_string().contains("too many transactions are reading"), "{error}");
        assert!(matches!(error, oci_store_index::Error::Backend { .. }), "{error}");
        drop(views);
        read(&env).unwrap().unwrap();
    }

    #[test]
    fn in_a_forked_child_nothing_of_it_is_touched() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let mut environment = Arc::into_inner(table::open(dir.path())?).ok_or("open elsewhere")?;
        assert!(environment.opened().is_ok());
        // As a fork would see it.
        environment.pid = environment.pid.wrapping_add(1);
        assert!(environment.opened().is_err_and(|error| error.to_string().contains("fork")));
        Ok(())
    }
}
