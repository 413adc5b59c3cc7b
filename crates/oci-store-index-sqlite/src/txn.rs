use std::ops::ControlFlow;

use oci_store_index::limits::{check_key, check_value};
use oci_store_index::{Error, Range, ReadTxn, Result, Visit, WriteTxn};
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use crate::NAME;
use crate::busy;
use crate::error::about;
use crate::pool::Pool;

/// A transaction, of either kind. Whoever drops it without a commit leaves the rollback to the pool.
pub(crate) struct Txn<'a> {
    pool: &'a Pool,
    connection: &'a Connection,
}

impl<'a> Txn<'a> {
    /// Begins a view. Its snapshot is that of its first read, hence the read.
    pub(crate) fn view(pool: &'a Pool, connection: &'a Connection) -> Result<Self> {
        let begun = busy::retry(|| {
            run(connection, "BEGIN DEFERRED")?;
            let read = connection.prepare_cached("SELECT 1 FROM kv LIMIT 1").and_then(|mut first| first.exists([]));
            if read.is_err() && !connection.is_autocommit() {
                run(connection, "ROLLBACK")?;
            }
            read
        });
        begun.map_err(|error| pool.failed(&error))?;
        Ok(Self { pool, connection })
    }

    /// Begins an update, alone over all processes.
    pub(crate) fn update(pool: &'a Pool, connection: &'a Connection) -> Result<Self> {
        busy::retry(|| run(connection, "BEGIN IMMEDIATE")).map_err(|error| pool.failed(&error))?;
        Ok(Self { pool, connection })
    }

    /// SQLite's own look at pages, order and keys.
    pub(crate) fn check(&self) -> Result<()> {
        let found = self.statement("PRAGMA integrity_check(1)")?.query_row([], |row| row.get::<_, String>(0));
        let found = found.map_err(|error| self.pool.failed(&error))?;
        if found == "ok" { Ok(()) } else { Err(Error::damaged(NAME, &self.pool.file.path, found)) }
    }

    pub(crate) fn commit(&self) -> Result<()> {
        busy::retry(|| run(self.connection, "COMMIT")).map_err(|error| self.pool.failed(&error))
    }

    /// A statement of this transaction. Some errors (a full disk) make SQLite roll back by itself; what a body
    /// did after one that it passed over would be committed row by row.
    fn statement(&self, sql: &str) -> Result<CachedStatement<'a>> {
        if self.connection.is_autocommit() {
            return Err(about(&self.pool.file.path, "SQLite has ended the transaction after an error"));
        }
        self.connection.prepare_cached(sql).map_err(|error| self.pool.failed(&error))
    }
}

impl ReadTxn for Txn<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let value =
            self.statement("SELECT value FROM kv WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional();
        value.map_err(|error| self.pool.failed(&error))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let Some(range) = Range::of_scan(prefix, from) else { return Ok(()) };
        match range.end {
            Some(end) => {
                let sql = "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key";
                walk(&mut self.statement(sql)?, &[&range.start, &end], visit)
            }
            None => {
                let sql = "SELECT key, value FROM kv WHERE key >= ?1 ORDER BY key";
                walk(&mut self.statement(sql)?, &[&range.start], visit)
            }
        }
        .map_err(|error| self.pool.failed(&error))
    }
}

impl WriteTxn for Txn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        check_key(key)?;
        check_value(value)?;
        let insert = "INSERT INTO kv(key, value) VALUES(?1, ?2) ON CONFLICT DO NOTHING";
        let rows = self.statement(insert)?.execute([key, value]).map_err(|error| self.pool.failed(&error))?;
        if rows == 0 {
            let update = self.statement("UPDATE kv SET value = ?2 WHERE key = ?1")?.execute([key, value]);
            update.map_err(|error| self.pool.failed(&error))?;
        }
        Ok(rows > 0)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        let deleted = self.statement("DELETE FROM kv WHERE key = ?1")?.execute([key]);
        deleted.map(|rows| rows > 0).map_err(|error| self.pool.failed(&error))
    }
}

/// Runs a statement that gives no rows.
pub(crate) fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Takes what the log holds over into the database, as far as nobody still reads it, so that the next update begins
/// the log anew instead of making it longer. Waits for nobody; should it fail, nothing is lost.
pub(crate) fn empty_log(connection: &Connection) {
    if connection.is_autocommit() || run(connection, "ROLLBACK").is_ok() {
        let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}

fn walk(statement: &mut CachedStatement<'_>, bounds: &[&Vec<u8>], visit: &mut Visit<'_>) -> rusqlite::Result<()> {
    let mut rows = statement.query(rusqlite::params_from_iter(bounds))?;
    while let Some(row) = rows.next()? {
        if let ControlFlow::Break(()) = visit(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?) {
            break;
        }
    }
    Ok(())
}
