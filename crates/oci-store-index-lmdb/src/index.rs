use std::path::Path;
use std::sync::Arc;

use heed::RoTxn;
use oci_store_index::{Backend, Error, Index, ReadTxn, Result, WriteTxn};

use crate::environment::{Environment, Rows};
use crate::txn::{Reader, Writer};
use crate::{NAME, files, table};

/// Opens indexes over LMDB.
#[derive(Debug, Default, Clone, Copy)]
pub struct LmdbBackend;

impl LmdbBackend {
    /// [`Backend::open`], giving the concrete type.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub fn open_index(&self, dir: &Path) -> Result<LmdbIndex> {
        table::open(dir).map(|environment| LmdbIndex { environment })
    }
}

impl Backend for LmdbBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>> {
        Ok(Arc::new(self.open_index(dir)?))
    }
}

/// An index over LMDB. Clones share one environment, as do all indexes of a process over one folder.
///
/// If the folder's files are replaced by others and the folder is opened anew, the indexes opened before
/// fail from then on: LMDB allows a process one environment for a folder.
#[derive(Debug, Clone)]
pub struct LmdbIndex {
    environment: Arc<Environment>,
}

impl LmdbIndex {
    /// LMDB keeps the number of rows. A walk meets as many, in order, unless a page on the way was changed.
    fn count(&self, txn: &RoTxn<'_>, rows: Rows) -> Result<()> {
        let failed = |error| self.environment.failed(error);
        let damaged = |why: String| Error::damaged(NAME, &self.environment.dir, why);
        let expected = rows.len(txn).map_err(failed)?;
        let (mut met, mut last) = (0, Vec::new());
        for row in rows.iter(txn).map_err(failed)? {
            let (key, _) = row.map_err(failed)?;
            if met > 0 && key <= last.as_slice() {
                return Err(damaged("rows are out of order".to_owned()));
            }
            met += 1;
            last.clear();
            last.extend_from_slice(key);
        }
        if met == expected {
            Ok(())
        } else {
            Err(damaged(format!("it has {expected} rows, and {met} are to be found")))
        }
    }
}

impl LmdbIndex {
    /// Runs `further` once the pages are known to be sound.
    fn look(&self, further: &dyn Fn(&RoTxn<'_>, Rows) -> Result<()>) -> Result<()> {
        let opened = self.environment.opened()?;
        let failed = |error| self.environment.failed(error);
        let dir = &self.environment.dir;
        match self.environment.read(&opened)? {
            Some(txn) => files::check(dir).and_then(|()| further(&txn, opened.rows)),
            None => {
                let _turn = self.environment.turn()?;
                let txn = opened.env.write_txn().map_err(failed)?;
                files::check(dir).and_then(|()| further(&txn, opened.rows))
            }
        }
    }
}

impl Index for LmdbIndex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn view(&self, body: &mut dyn FnMut(&dyn ReadTxn) -> Result<()>) -> Result<()> {
        let opened = self.environment.opened()?;
        let failed = |error| self.environment.failed(error);
        match self.environment.read(&opened)? {
            Some(txn) => body(&Reader { txn, rows: opened.rows, environment: &self.environment }),
            None => {
                let _turn = self.environment.turn()?;
                let txn = opened.env.write_txn().map_err(failed)?;
                body(&Writer { txn, rows: opened.rows, environment: &self.environment })
            }
        }
    }

    fn update(&self, body: &mut dyn FnMut(&mut dyn WriteTxn) -> Result<()>) -> Result<()> {
        let opened = self.environment.opened()?;
        let failed = |error| self.environment.failed(error);
        let _turn = self.environment.turn()?;
        let txn = opened.env.write_txn().map_err(failed)?;
        // Dropped without a commit, by an error or a panic of the body, the transaction is rolled back.
        let mut writer = Writer { txn, rows: opened.rows, environment: &self.environment };
        body(&mut writer)?;
        writer.txn.commit().map_err(failed)
    }

    fn check_readable(&self) -> Result<()> {
        self.look(&|_, _| Ok(()))
    }

    fn check(&self) -> Result<()> {
        self.look(&|txn, rows| self.count(txn, rows))
    }
}
