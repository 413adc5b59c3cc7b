//! From the formats of older versions to today's.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use oci_store_index::{Backend, Index, IndexExt};

use crate::config::Config;
use crate::current::Current;
use crate::locks::{Locks, Wait};
use crate::replace::{Replacing, copy_rows, replace};
use crate::schema::{self, FORMAT};
use crate::{Error, Result, Txn, View};

/// Brings a store of an older format to today's, alone; the index before stays as a backup. If somebody else was
/// faster, there is nothing to do.
pub(crate) fn migrate(own: &Path, locks: &dyn Locks, backends: &[Arc<dyn Backend>], wait: Wait) -> Result<()> {
    let replaced: Option<(Current, ())> = replace(
        own,
        locks,
        backends,
        wait,
        None,
        None,
        |config: &Config| config.format < FORMAT,
        |Replacing { old, new }| bring_over(&*old?, &*new),
    )?;
    if replaced.is_some() {
        tracing::info!("migrated the index to format {FORMAT}");
    }
    Ok(())
}

/// Format 0 had edges from parent to child only: the other direction is made from them. Formats 0 and 1 did not count their rows:
/// the new index counts what it is given.
fn bring_over(old: &dyn Index, new: &dyn Index) -> Result<()> {
    old.check()?;
    copy_rows(old, new, &[], &|key, value| (key.first() != Some(&schema::REVERSE)).then_some(value))?;
    let mut after: Vec<u8> = Vec::new();
    loop {
        let mut page = Vec::new();
        new.read(|txn| {
            txn.scan(&[schema::EDGES], &after, &mut |key, _| {
                if key != after.as_slice() {
                    page.push(key.to_vec());
                }
                if page.len() == 1024 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(last);
        new.write(|txn| {
            for key in &page {
                let parent = schema::digest_of("edges", key)?;
                for edge in View(&*txn).edges(&parent)?.unwrap_or_default().edges {
                    Txn(txn).0.put(&schema::reverse(&edge.child, edge.link, edge.role, &parent), &[])?;
                }
            }
            Ok::<_, Error>(())
        })?;
    }
}
