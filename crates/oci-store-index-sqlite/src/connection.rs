use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::busy;
use crate::file::DatabaseFile;

/// Marks a database as an index ("OCIi"), and its version.
const APPLICATION: i64 = 0x4f43_4969;
const VERSION: i64 = 1;

/// Why a database cannot serve.
pub(crate) enum Unusable {
    Sqlite(rusqlite::Error),
    /// It is none of ours.
    Other(&'static str),
    /// The place is no good.
    NoLog(&'static str),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A connection whose commits are durable and which waits for its turn without limit.
pub(crate) fn open(file: &DatabaseFile) -> rusqlite::Result<Connection> {
    // No mutex: the pool hands a connection to one thread at a time. No URI: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&file.path, flags)?;
    connection.busy_handler(Some(busy::wait))?;
    // The files of the log and of its index stay when the last connection closes: they need no room, and no inodes,
    // when they are next opened, on a disk that is full by then.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A log is kept short (1 MiB), for the next one to read if it is left. One that has grown under a long view is cut to
    // 8 MiB when it is next begun anew. Four times the cache (4 MiB) makes a gc of a million blobs a tenth faster, and each
    // command that much larger.
    busy::retry(|| {
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 128; PRAGMA journal_size_limit = 8388608; \
             PRAGMA cache_size = -4096;",
        )
    })?;
    Ok(connection)
}

/// Takes all that the log holds over into the database and leaves it empty, unless somebody uses it: damage to a log
/// goes unnoticed, as it is taken for its end. Should it fail, nothing is lost. The connection is to be closed then.
pub(crate) fn empty_log(connection: &Connection) {
    if connection.busy_handler(None).is_ok() {
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// Checks that the database is an index, and makes it one if it is empty. Crashing in between leaves it empty.
/// The caller holds the folder's lock.
pub(crate) fn prepare(connection: &Connection) -> Result<(), Unusable> {
    let number = |pragma: &str| busy::retry(|| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, VERSION) => {}
        (APPLICATION, _) => return Err(Unusable::Other("the index was written by another version of this program")),
        (0, 0) => return create(connection),
        _ => return Err(Unusable::Other("the file is an SQLite database of some other program")),
    }
    write_ahead(connection)
}

fn create(connection: &Connection) -> Result<(), Unusable> {
    let tables = "SELECT count(*) FROM sqlite_schema";
    if busy::retry(|| connection.query_row(tables, [], |row| row.get::<_, i64>(0)))? != 0 {
        return Err(Unusable::Other("the file is an SQLite database of some other program"));
    }
    // To compare keys, SQLite reads the whole of each row on its way. One of over a quarter of a page, as the edges of an image
    // of 27 layers are with the usual 4 KiB, lies in further pages, which are read each time. With more than 8 KiB, a
    // commit writes more than is gained.
    busy::retry(|| connection.execute_batch("PRAGMA page_size = 8192"))?;
    write_ahead(connection)?;
    let schema = format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE kv(key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
         PRAGMA application_id = {APPLICATION};
         PRAGMA user_version = {VERSION};
         COMMIT;"
    );
    Ok(busy::retry(|| {
        let made = connection.execute_batch(&schema);
        if made.is_err() && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        made
    })?)
}

/// Sets the write-ahead log; of no effect where it is set, since the file records it.
fn write_ahead(connection: &Connection) -> Result<(), Unusable> {
    let mode: String =
        busy::retry(|| connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)))?;
    if mode == "wal" {
        Ok(())
    } else {
        Err(Unusable::NoLog("no write-ahead log is possible here: the file system has no shared memory, or no locks"))
    }
}
