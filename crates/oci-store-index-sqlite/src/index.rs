use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use oci_store_index::{Backend, Error, Index, ReadTxn, Result, WriteTxn};

use crate::NAME;
use crate::connection::{self, Unusable};
use crate::error::{about, explained};
use crate::file::LockedFolder;
use crate::pool::Pool;
use crate::txn::{self, Txn};

/// Opens indexes over SQLite.
#[derive(Debug, Default, Clone, Copy)]
pub struct SqliteBackend;

impl SqliteBackend {
    /// [`Backend::open`], giving the concrete type.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub fn open_index(&self, dir: &Path) -> Result<SqliteIndex> {
        let folder = LockedFolder::open(dir)?;
        let (file, new) = folder.database()?;
        file.check_room()?;
        let has_log = file.log().exists();
        let opened = connection::open(&file).map_err(Unusable::from);
        let connection = opened.and_then(|connection| connection::prepare(&connection).map(|()| connection));
        let connection = connection.map_err(|error| match error {
            Unusable::Sqlite(error) => explained(&file.path, &error),
            Unusable::Other(what) => Error::damaged(NAME, &file.path, what),
            Unusable::NoLog(what) => about(&file.path, what),
        })?;
        // SQLite syncs the folder too when it first syncs its log, and does not look whether that went well.
        if new || !has_log {
            folder.sync()?;
        }
        Ok(SqliteIndex { shared: Arc::new(Shared { pool: Pool::new(file, connection), writer: Mutex::new(()) }) })
    }
}

impl Backend for SqliteBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>> {
        Ok(Arc::new(self.open_index(dir)?))
    }
}

/// An index over SQLite. Clones share their connections.
#[derive(Debug, Clone)]
pub struct SqliteIndex {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Pool,
    /// The threads of a process queue here rather than poll SQLite's lock in turns.
    writer: Mutex<()>,
}

impl Index for SqliteIndex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()> {
        let taken = self.shared.pool.take()?;
        body(&Txn::view(&self.shared.pool, taken.connection()?)?)
    }

    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()> {
        let _writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.pool.file.check_room()?;
        let taken = self.shared.pool.take()?;
        let connection = taken.connection()?;
        let mut txn = Txn::update(&self.shared.pool, connection)?;
        let outcome = body(&mut txn).and_then(|()| txn.commit());
        // It may have been the log that had no room to grow. The body's own errors are no reason.
        if outcome.is_err() && (connection.is_autocommit() || matches!(outcome, Err(Error::Io { .. }))) {
            txn::empty_log(connection);
        }
        outcome
    }

    fn check(&self) -> Result<()> {
        let taken = self.shared.pool.take()?;
        Txn::view(&self.shared.pool, taken.connection()?)?.check()
    }
}
