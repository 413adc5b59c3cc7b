use std::mem;
use std::process;
use std::sync::{Mutex, PoisonError};

use oci_store_index::{Error, Result};
use rusqlite::Connection;

use crate::connection;
use crate::error::{about, explained};
use crate::file::DatabaseFile;
use crate::txn;

/// How many connections are kept open for the transactions to come.
const IDLE: usize = 16;

/// Connections to one database. A transaction has one for itself while it runs.
pub(crate) struct Pool {
    pub(crate) file: DatabaseFile,
    pid: u32,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) fn new(file: DatabaseFile, first: Connection) -> Self {
        Self { file, pid: process::id(), idle: Mutex::new(vec![first]) }
    }

    /// Fails in a forked child, before anything of SQLite's is touched: the locks are the parent's.
    fn check_process(&self) -> Result<()> {
        if process::id() == self.pid {
            return Ok(());
        }
        let pid = self.pid;
        Err(about(&self.file.path, format_args!("the index was opened by process {pid}, and this is a fork of it")))
    }

    pub(crate) fn take(&self) -> Result<Taken<'_>> {
        self.check_process()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(Taken { pool: self, connection: Some(connection) })
    }

    fn connect(&self) -> Result<Connection> {
        self.file.check_room()?;
        let connection = connection::open(&self.file).map_err(|error| self.failed(&error))?;
        // Else one index would show two databases.
        if !self.file.is_there() {
            return Err(about(&self.file.path, "the file has been replaced; open the index again"));
        }
        Ok(connection)
    }

    pub(crate) fn failed(&self, error: &rusqlite::Error) -> Error {
        explained(&self.file.path, error)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("file", &self.file.path).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let forked = self.check_process().is_err();
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        if forked {
            mem::forget(mem::take(idle));
        } else if let Some(last) = idle.last() {
            connection::empty_log(last);
        }
    }
}

/// A connection, which goes back to its pool. What is still under way is rolled back then, be it after an error
/// or in a panic.
pub(crate) struct Taken<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Taken<'_> {
    pub(crate) fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(Error::Aborted)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.pool.check_process().is_err() {
            return mem::forget(connection);
        }
        if !connection.is_autocommit() && txn::run(&connection, "ROLLBACK").is_err() {
            return;
        }
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection;
    use crate::file::LockedFolder;

    #[test]
    fn in_a_forked_child_nothing_of_it_is_touched() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (file, _) = LockedFolder::open(dir.path())?.database()?;
        let mut pool = super::Pool::new(file.clone(), connection::open(&file)?);
        assert!(pool.take().is_ok());
        // As a fork would see it.
        pool.pid = pool.pid.wrapping_add(1);
        assert!(pool.take().err().is_some_and(|error| error.to_string().contains("fork")));
        Ok(())
    }
}
