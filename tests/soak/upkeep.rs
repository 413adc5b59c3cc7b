//! What keeps a store in order, and what replaces its index.

use std::fs::File;

use oci_store::{Checked, Extent};

use crate::outcome::{End, Failed, Outcome};
use crate::refs::name_of;
use crate::thread::Worker;

impl Worker {
    pub(crate) fn gc(&mut self) -> Result<(), Failed> {
        self.collect("gc", Extent::Changed, false)
    }

    pub(crate) fn gc_dry_run(&mut self) -> Result<(), Failed> {
        self.collect("gc --dry-run", Extent::Changed, true)
    }

    pub(crate) fn gc_full(&mut self) -> Result<(), Failed> {
        match self.alone_with_us()? {
            Some(_quiet) => self.collect("gc --full", Extent::Full, false),
            None => self.gc(),
        }
    }

    fn collect(&mut self, kind: &str, extent: Extent, dry_run: bool) -> Result<(), Failed> {
        let outside = self.outside();
        self.plain(kind, |worker| {
            if outside {
                return worker.program(&kind.split(' ').collect::<Vec<_>>()).map(drop);
            }
            Ok(worker.store.gc(extent, dry_run).map(drop)?)
        })
    }

    /// Held while no other tool writes into the folder: what such a tool has written and not listed yet is kept by
    /// nothing, and goes when all of `blobs/` is looked at.
    fn alone_with_us(&self) -> Result<Option<File>, Failed> {
        let file = File::options().create(true).append(true).open(self.job.folder.join("foreign.lock"))?;
        Ok(file.try_lock_shared().is_ok().then_some(file))
    }

    pub(crate) fn check(&mut self) -> Result<(), Failed> {
        let name = self.name();
        let outside = self.outside();
        let read_data = self.random.permille(200);
        self.plain("check", |worker| {
            if outside {
                return worker.program(&["check", &name]).map(drop);
            }
            whole(&worker.store.check(&[name_of(&name)?], read_data, &())?)
        })
    }

    pub(crate) fn check_all(&mut self) -> Result<(), Failed> {
        let outside = self.outside();
        self.plain("check --read-data", |worker| {
            if outside {
                return worker.program(&["check", "--read-data"]).map(drop);
            }
            whole(&worker.store.check(&[], true, &())?)
        })
    }

    pub(crate) fn reindex(&mut self) -> Result<(), Failed> {
        let Some(_quiet) = self.alone_with_us()? else { return Ok(()) };
        let outside = self.outside();
        self.plain("reindex", |worker| {
            if outside {
                return worker.program(&["reindex"]).map(drop);
            }
            let (_, report) = oci_store::options().create(false).reindex(&worker.job.store)?;
            if report.skipped.is_empty() && report.lacking.is_empty() && report.lost.is_none() {
                return Ok(());
            }
            Err(End::Bad(format!("reindex: {report:?}")))
        })
    }

    /// To the other index and back.
    pub(crate) fn convert(&mut self) -> Result<(), Failed> {
        let other = if self.job.index == "lmdb" { "sqlite" } else { "lmdb" };
        for to in [other, &self.job.index.clone()] {
            let outside = self.outside();
            self.plain("index convert", |worker| {
                if outside {
                    return worker.program(&["index", "convert", "--to", to]).map(drop);
                }
                Ok(worker.store.base().convert(to).map(drop)?)
            })?;
        }
        Ok(())
    }

    /// From here on through a handle of its own.
    pub(crate) fn reopen(&mut self) -> Result<(), Failed> {
        self.plain("open", |worker| {
            worker.store = oci_store::open(&worker.job.store)?;
            Ok(())
        })
    }
}

fn whole(checked: &Checked) -> Outcome {
    match checked.problems.first() {
        None if checked.incomplete.is_empty() => Ok(()),
        None => Err(End::Bad(format!("check: {:?} incomplete", checked.incomplete))),
        Some(problem) => Err(End::Bad(format!("check: {problem}"))),
    }
}
