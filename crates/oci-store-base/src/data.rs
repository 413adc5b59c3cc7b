//! Key/value data, by type and key, which may reference a blob.

use std::fmt;
use std::ops::ControlFlow;

use oci_store_cas::Digest;

use crate::edges::scan;
use crate::name::{Key, Kind, key_head};
use crate::schema::{self, DataHead};
use crate::time::{TIME_GRANULARITY, now};
use crate::{Error, Result, Txn, View};

/// Whose key/value data: two spaces never see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Space {
    /// Data of the programs and people who use the store.
    User,
    /// Records of the store on top of this one: refs, pins, caching records.
    Store,
}

impl Space {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::User => b'u',
            Self::Store => b's',
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "data",
            Self::Store => "record",
        })
    }
}

/// One value, with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Data {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub value: Vec<u8>,
    /// Changes with every set, and never comes back in a store's life.
    pub version: u64,
    /// When it was set, in seconds since 1970.
    pub updated: u64,
    /// The blob that it references, and with which it goes.
    pub blob: Option<Digest>,
}

/// What must be there for a set or a delete to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Anything, or nothing.
    Any,
    /// Nothing.
    Absent,
    /// A value of this version.
    Version(u64),
}

/// The counter of versions.
pub(crate) const VERSION: &str = "version";

impl View<'_> {
    /// The value of (`kind`, `key`), or `None`.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn data(&self, space: Space, kind: &str, key: &str) -> Result<Option<Data>> {
        let (kind, key) = (Kind::new(kind)?, Key::new(key)?);
        let row = self.0.get(&schema::data(space, kind, key))?;
        row.map(|row| data_of(schema::decode("data", &row)?, key.text().to_owned())).transpose()
    }

    /// A page of at most `limit` values of a type, in the order of their keys: those whose key begins with
    /// `prefix`, behind the key `after`. A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn data_page(
        &self,
        space: Space,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Data>> {
        let mut page = Vec::new();
        self.each_data(space, kind, prefix, after, &mut |data| {
            if page.len() < limit {
                page.push(data);
            }
            Ok(if page.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(page)
    }

    /// Visits the values of a type in the order of their keys: those whose key begins with `prefix`, behind
    /// the key `after`.
    ///
    /// # Errors
    /// Those of `visit`; [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn each_data(
        &self,
        space: Space,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        visit: &mut dyn FnMut(Data) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let kind = Kind::new(kind)?;
        let table = schema::data_prefix(space, kind);
        let row_of = |head: &[u8]| [table.as_slice(), head].concat();
        let from = after.map(|after| row_of(key_head(after))).unwrap_or_default();
        // Long keys with one beginning stand together, in the order of their hashes: a run of them is sorted.
        let mut run: Vec<Data> = Vec::new();
        let mut run_head: Vec<u8> = Vec::new();
        let mut flush = |run: &mut Vec<Data>| {
            run.sort_by(|a, b| a.key.cmp(&b.key));
            for data in run.drain(..) {
                let wanted = data.key.starts_with(prefix) && after.is_none_or(|after| data.key.as_str() > after);
                if wanted && visit(data)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok::<_, Error>(ControlFlow::Continue(()))
        };
        let mut ended = false;
        scan(self.0, &row_of(key_head(prefix)), &from, &mut |row, value| {
            let (head, bytes): (DataHead, _) = schema::decode("data", value)?;
            let key = match &head.key {
                Some(key) => key.clone(),
                None => row
                    .get(table.len()..)
                    .and_then(|key| String::from_utf8(key.to_vec()).ok())
                    .ok_or(Error::Row { what: "data" })?,
            };
            if run_head != key_head(&key) {
                if flush(&mut run)?.is_break() {
                    ended = true;
                    return Ok(ControlFlow::Break(()));
                }
                run_head = key_head(&key).to_vec();
            }
            run.push(data_of((head, bytes), key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        if !ended {
            let _ = flush(&mut run)?;
        }
        Ok(())
    }

    /// The types of the data in a space, in order. Costs a step for each type, not for each value.
    ///
    /// # Errors
    /// [`Error::Row`], [`Error::Index`].
    pub fn data_kinds(&self, space: Space) -> Result<Vec<String>> {
        let mut kinds = std::collections::BTreeSet::new();
        let mut from = vec![space.code()];
        loop {
            let mut next = None;
            scan(self.0, &[space.code()], &from, &mut |row, value| {
                let (head, _): (DataHead, _) = schema::decode("data", value)?;
                // A long type's hash may have a NUL in it: its length in the key is fixed.
                let len = head.kind.as_ref().map_or_else(
                    || row.iter().position(|byte| *byte == 0).unwrap_or(row.len()),
                    |kind| Kind::new(kind).map_or(row.len(), |kind| kind.fitted().len() + 1),
                );
                let text = || String::from_utf8(row.get(1..len)?.to_vec()).ok();
                let kind = head.kind.or_else(text).ok_or(Error::Row { what: "data" })?;
                kinds.insert(kind);
                next = row.get(..len).map(|table| [table, &[1]].concat());
                Ok(ControlFlow::Break(()))
            })?;
            match next {
                Some(next) => from = next,
                None => return Ok(kinds.into_iter().collect()),
            }
        }
    }

    /// Visits the (space, type, key) of all data that references `blob`, until it breaks.
    pub(crate) fn each_reference(
        &self,
        blob: &Digest,
        space: Option<Space>,
        visit: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut prefix = schema::of_digest(schema::REFERENCE, blob);
        let at = prefix.len();
        prefix.extend(space.map(Space::code));
        scan(self.0, &prefix, &[], &mut |key, _| visit(key.get(at..).unwrap_or_default()))
    }
}

fn data_of((head, value): (DataHead, &[u8]), key: String) -> Result<Data> {
    let blob = match head.blob.as_deref().map(Digest::split_key) {
        None => None,
        Some(Some((digest, []))) => Some(digest),
        Some(_) => return Err(Error::Row { what: "data" }),
    };
    Ok(Data { key, value: value.to_vec(), version: head.version, updated: head.updated, blob })
}

impl Txn<'_> {
    /// Sets the value of (`kind`, `key`) if `condition` holds, and returns its new version. If it references a
    /// `blob`, that must be in the store; it goes with the blob, and by itself does not keep it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the condition does not hold, [`Error::BlobNotFound`]; [`Error::InvalidName`],
    /// [`Error::Row`], [`Error::Index`].
    pub fn set_data(
        &mut self,
        space: Space,
        kind: &str,
        key: &str,
        value: &[u8],
        blob: Option<&Digest>,
        condition: Condition,
    ) -> Result<u64> {
        let old = self.check(space, kind, key, condition)?;
        if let Some(digest) = blob
            && self.view().blob(digest)?.is_none()
        {
            return Err(Error::BlobNotFound(digest.to_string()));
        }
        let (kind, key) = (Kind::new(kind)?, Key::new(key)?);
        let row = schema::data(space, kind, key);
        self.unreference(old.and_then(|old| old.blob), &row)?;
        let version = self.count(VERSION)?;
        let blob = blob.map(Digest::to_key);
        if let Some(blob) = &blob {
            self.0.put(&schema::reference(blob, &row), &[])?;
        }
        let head = DataHead { version, updated: now(), kind: kind.spilled(), key: key.spilled(), blob };
        self.0.put(&row, &schema::encode("data", &head, value)?)?;
        Ok(version)
    }

    /// Notes that (`kind`, `key`) was set again to what it is: only its time changes, and at most once an hour. No value:
    /// nothing happens. Idempotent.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn touch_data(&mut self, space: Space, kind: &str, key: &str) -> Result<()> {
        let now = now();
        self.amend(space, kind, key, &|head, _| {
            if head.updated + TIME_GRANULARITY <= now {
                head.updated = now;
            }
        })
    }

    /// Replaces the value of (`kind`, `key`), of which all else stays: its time, its version and its blob. No value: nothing
    /// happens. Idempotent.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn amend_data(&mut self, space: Space, kind: &str, key: &str, value: &[u8]) -> Result<()> {
        self.amend(space, kind, key, &|_, old| *old = value.to_vec())
    }

    fn amend(
        &mut self,
        space: Space,
        kind: &str,
        key: &str,
        change: &dyn Fn(&mut DataHead, &mut Vec<u8>),
    ) -> Result<()> {
        let row = schema::data(space, Kind::new(kind)?, Key::new(key)?);
        let Some(old) = self.0.get(&row)? else { return Ok(()) };
        let (mut head, value): (DataHead, _) = schema::decode("data", &old)?;
        let mut value = value.to_vec();
        change(&mut head, &mut value);
        let new = schema::encode("data", &head, &value)?;
        if new != old {
            self.0.put(&row, &new)?;
        }
        Ok(())
    }

    /// Removes (`kind`, `key`) if `condition` holds; returns what was there. Idempotent with
    /// [`Condition::Any`].
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::InvalidName`], [`Error::Row`], [`Error::Index`].
    pub fn delete_data(&mut self, space: Space, kind: &str, key: &str, condition: Condition) -> Result<Option<Data>> {
        let old = self.check(space, kind, key, condition)?;
        if let Some(old) = &old {
            let row = schema::data(space, Kind::new(kind)?, Key::new(key)?);
            self.unreference(old.blob.clone(), &row)?;
            self.0.delete(&row)?;
        }
        Ok(old)
    }

    /// Begins versions above all that an index that was lost can have given.
    pub(crate) fn renew_versions(&mut self) -> Result<()> {
        let version = self.view().number(VERSION)?.max(now() << 20);
        self.set_number(VERSION, version)
    }

    fn check(&self, space: Space, kind: &str, key: &str, condition: Condition) -> Result<Option<Data>> {
        let old = self.view().data(space, kind, key)?;
        let found = old.as_ref().map(|old| old.version);
        let expected = match condition {
            Condition::Any => return Ok(old),
            Condition::Absent => None,
            Condition::Version(version) => Some(version),
        };
        if expected == found {
            return Ok(old);
        }
        Err(Error::Conflict { space, kind: kind.to_owned(), key: key.to_owned(), expected, found })
    }

    /// Takes back a reference. Whether it was what kept the blob is for the next gc to see.
    fn unreference(&mut self, blob: Option<Digest>, row: &[u8]) -> Result<()> {
        if let Some(blob) = blob {
            self.0.delete(&schema::reference(&blob.to_key(), row))?;
            self.mark_dirty(&blob)?;
        }
        Ok(())
    }

    /// Removes all data that references a blob, which goes; says how many of that were records of the store on top.
    pub(crate) fn remove_references(&mut self, blob: &Digest) -> Result<u64> {
        let mut rows = Vec::new();
        self.view().each_reference(blob, None, &mut |row| {
            rows.push(row.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        for row in &rows {
            self.0.delete(&schema::reference(&blob.to_key(), row))?;
            self.0.delete(row)?;
        }
        Ok(rows.iter().filter(|row| row.first() == Some(&Space::Store.code())).count() as u64)
    }
}
