//! Writing what was noted: rows are made in a thread of their own, in their order, while those before them are written.

use std::io;
use std::iter::{self, Peekable};
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use oci_store_cas::Digest;
use oci_store_cas::threads::has_room;
use oci_store_index::IndexExt as _;

use super::{Filled, Notes, Rebuild};
use crate::reindex::{carry_over, note_loss};
use crate::schema;
use crate::sorter::{Sorted, Sorter};
use crate::{BlobInfo, Edges, Error, Result, Txn, View};

/// Rows that one transaction writes.
const CHUNK: usize = 4096;

/// Rows of edges that one transaction writes: they are long.
const CHUNK_OF_EDGES: usize = CHUNK / 8;

/// Pages that are ready, and not written yet.
const AHEAD: usize = 2;

/// What those who name a blob say of it.
#[derive(Debug, Default)]
struct Named {
    media_type: String,
    /// Another size than the file has: one of the two is wrong.
    is_wrong: bool,
}

impl Rebuild<'_> {
    /// Tables in the order of their codes, so that each begins behind the last.
    pub(super) fn fill(&self, notes: Notes) -> Result<Filled> {
        let mut filled = Filled { blobs: 0, lost: notes.lost, lacks: false };
        self.fill_blobs(notes.names, &mut filled)?;
        self.fill_edges(notes.edges)?;
        self.fill_dirty()?;
        let mut reverse = self.sorted(notes.reverse)?;
        let keys = iter::from_fn(|| self.next_page(&mut reverse, CHUNK).transpose());
        self.put(keys.map(|page| Ok(page?.into_iter().map(|key| (key, Vec::new())).collect())))?;
        if let Some(old) = self.old {
            carry_over(old, self.new, &mut filled.lost)?;
        }
        if filled.lost.is_some() {
            self.new.write(|txn| Txn(txn).renew_versions())?;
        }
        Ok(filled)
    }

    fn sorted(&self, sorter: Mutex<Sorter>) -> Result<Sorted> {
        let sorter = sorter.into_inner().unwrap_or_else(PoisonError::into_inner);
        sorter.sorted().map_err(Error::io(&self.folder))
    }

    /// At most `most` rows; `None` if there are no more.
    fn next_page(&self, rows: &mut Sorted, most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        let page = rows.take(most).collect::<io::Result<Vec<_>>>().map_err(Error::io(&self.folder))?;
        Ok((!page.is_empty()).then_some(page))
    }

    /// Writes rows, a page in a transaction.
    fn put(&self, pages: impl Iterator<Item = Result<Vec<Row>>> + Send) -> Result<()> {
        ahead(pages, |page| {
            Ok(self.new.write(|txn| page.iter().try_for_each(|(key, row)| txn.put(key, row).map(drop)))?)
        })
    }

    /// A row for each file.
    fn fill_blobs(&self, names: Mutex<Sorter>, filled: &mut Filled) -> Result<()> {
        let mut files = Sorter::new(&self.folder);
        let mut failed = Ok(());
        self.cas.list(&mut |digest, size| {
            filled.blobs += 1;
            failed = files.push(&[&digest.to_key(), &size.to_be_bytes()]);
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed.map_err(Error::io(&self.folder))?;
        let (mut files, mut names) = (self.sorted(files.into())?, self.sorted(names)?.peekable());
        let pages = iter::from_fn(|| self.next_blobs(&mut files, &mut names, filled).transpose());
        ahead(pages, |page| self.new.write(|txn| page.iter().try_for_each(|info| Txn(txn).write_blob(info))))?;
        // What is behind the last file is not there.
        while let Some(name) = names.next().transpose().map_err(Error::io(&self.folder))? {
            filled.lacks |= split_name(&name).is_some_and(|(.., is_needed)| is_needed);
        }
        Ok(())
    }

    /// The next rows of blobs; `None` if there are no more.
    fn next_blobs(
        &self,
        files: &mut Sorted,
        names: &mut Peekable<Sorted>,
        filled: &mut Filled,
    ) -> Result<Option<Vec<BlobInfo>>> {
        let Some(page) = self.next_page(files, CHUNK)? else { return Ok(None) };
        let mut rows = Vec::with_capacity(page.len());
        for file in page {
            let (digest, size) = split_file(&file).ok_or(Error::Row { what: "blob" })?;
            let named = self.named(names, &file, size, &mut filled.lacks)?;
            rows.push((digest, size, named));
        }
        let known = self.known(&rows, &mut filled.lost)?;
        let now = crate::time::now();
        let row = |((digest, size, named), known): ((Digest, u64, Named), Option<BlobInfo>)| {
            let Named { media_type, is_wrong } = named;
            let is_verified = known.as_ref().is_some_and(|known| known.verified.is_some() && known.size == size);
            let damaged = is_wrong && !is_verified && !self.is_good(&digest)?;
            Ok(match known {
                // Of another size than it had: whatever it is, it is not what was verified.
                Some(known) => BlobInfo {
                    damaged: known.damaged || damaged || known.size != size,
                    media_type: if known.media_type.is_empty() { media_type } else { known.media_type.clone() },
                    ..known
                },
                None => BlobInfo { digest, size, media_type, created: now, used: now, verified: None, damaged },
            })
        };
        rows.into_iter().zip(known).map(row).collect::<Result<_>>().map(Some)
    }

    /// What the index before knew of blobs.
    fn known(&self, rows: &[(Digest, u64, Named)], lost: &mut Option<String>) -> Result<Vec<Option<BlobInfo>>> {
        let mut known = Vec::new();
        if let Some(old) = self.old {
            let read = old.read(|txn| {
                for (digest, ..) in rows {
                    let row = View(txn).blob(digest);
                    known.push(row.or_else(|error| note_loss(lost, error).map(|()| None))?);
                }
                Ok::<_, Error>(())
            });
            read.or_else(|error| note_loss(lost, error))?;
        }
        known.resize(rows.len(), None);
        Ok(known)
    }

    /// What the names say of a file; those before it are of no file.
    fn named(&self, names: &mut Peekable<Sorted>, file: &[u8], size: u64, lacks: &mut bool) -> Result<Named> {
        let key = file.get(..file.len().saturating_sub(size_of::<u64>())).unwrap_or_default();
        let mut named = Named::default();
        while let Some(row) =
            names.next_if(|row| row.as_ref().map_or(true, |row| row.as_slice() < key || row.starts_with(key)))
        {
            let row = row.map_err(Error::io(&self.folder))?;
            let (media_type, named_size, is_needed) = split_name(&row).ok_or(Error::Row { what: "name of a blob" })?;
            if !row.starts_with(key) {
                *lacks |= is_needed;
                continue;
            }
            named.is_wrong |= named_size != size;
            if named.media_type.is_empty() {
                named.media_type = String::from_utf8_lossy(media_type).into_owned();
            }
        }
        Ok(named)
    }

    fn fill_edges(&self, edges: Mutex<Sorter>) -> Result<()> {
        let mut rows = self.sorted(edges)?;
        let mut last = None;
        self.put(iter::from_fn(|| self.next_edges(&mut rows, &mut last).transpose()))
    }

    /// The next rows of edges; `None` if there are no more. `last` is the one that may go on.
    fn next_edges(&self, rows: &mut Sorted, last: &mut Option<(Vec<u8>, Edges)>) -> Result<Option<Vec<Row>>> {
        let page = self.next_page(rows, CHUNK_OF_EDGES)?;
        let mut made = Vec::new();
        for row in page.iter().flatten() {
            let (parent, edges) = split_edges(row).ok_or(Error::Row { what: "edges" })?;
            let edges = Edges::decode(edges)?;
            match last {
                Some((known, all)) if known == parent => all.add(edges),
                _ => made.extend(last.replace((parent.to_vec(), edges))),
            }
        }
        if page.is_none() {
            made.extend(last.take());
        }
        if page.is_none() && made.is_empty() {
            return Ok(None);
        }
        let row = |(parent, edges): (Vec<u8>, Edges)| Ok(([&[schema::EDGES], &parent[..]].concat(), edges.encode()?));
        made.into_iter().map(row).collect::<Result<_>>().map(Some)
    }

    /// All are dirty: the next gc looks what keeps them.
    fn fill_dirty(&self) -> Result<()> {
        let mut after = None;
        let pages = iter::from_fn(|| {
            let page = self.new.read(|txn| {
                let mut page = Vec::new();
                View(txn).each_blob(after.as_ref(), &mut |blob| {
                    page.push(blob.digest);
                    Ok(if page.len() == CHUNK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
                Ok::<_, Error>(page)
            });
            page.map(|page| {
                after = page.last().cloned();
                after.is_some().then_some(page)
            })
            .transpose()
        });
        ahead(pages, |page| self.new.write(|txn| page.iter().try_for_each(|digest| Txn(txn).mark_dirty(digest))))
    }
}

/// A key, and its value.
type Row = (Vec<u8>, Vec<u8>);

/// Writes pages that are made in a thread of their own meanwhile; in this one, where no thread is to be had (`ulimit -u`,
/// `ulimit -v`).
fn ahead<P: Send>(pages: impl Iterator<Item = Result<P>> + Send, mut write: impl FnMut(P) -> Result<()>) -> Result<()> {
    let mut pages = pages.fuse();
    thread::scope(|scope| {
        let (ready, next) = sync_channel(AHEAD);
        let made = &mut pages;
        // Where it can't be spawned, `ready` goes with it, and there is no next one.
        let make = move || {
            let _ = made.try_for_each(|page| ready.send(page));
        };
        if has_room() {
            let _ = thread::Builder::new().spawn_scoped(scope, make);
        } else {
            drop(make);
        }
        next.into_iter().try_for_each(|page| write(page?))
    })?;
    pages.try_for_each(|page| write(page?))
}

fn split_file(row: &[u8]) -> Option<(Digest, u64)> {
    let (digest, size) = Digest::split_key(row)?;
    Some((digest, u64::from_be_bytes(size.try_into().ok()?)))
}

/// The media type, the size, and whether it is needed.
fn split_name(row: &[u8]) -> Option<(&[u8], u64, bool)> {
    let (_, rest) = Digest::split_key(row)?;
    let (rest, needed) = rest.split_last_chunk::<1>()?;
    let (rest, size) = rest.split_last_chunk()?;
    let (media_type, _) = rest.split_last_chunk::<1>()?;
    Some((media_type, u64::from_be_bytes(*size), *needed == [1]))
}

/// The key form of the parent, and its edges.
fn split_edges(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, edges) = Digest::split_key(row)?;
    Some((row.get(..row.len() - edges.len())?, edges))
}
