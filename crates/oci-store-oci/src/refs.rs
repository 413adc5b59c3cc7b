//! Refs, pins and referrers: the records in the base store that keep images.

use std::collections::HashSet;
use std::ops::ControlFlow;

use oci_store_base::{BlobInfo, Condition, Data, Error as BaseError, Space, Txn, View};
use oci_store_cas::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::descriptor::REF_NAME;
use crate::media_type::is_document;
use crate::{Descriptor, Error, RefName, Result};

/// Records of refs, by name; each references its image.
pub(crate) const REF: &str = "ref";
/// Records of pins, by digest; each references its blob.
pub(crate) const PIN: &str = "pin";
/// What has a subject, by digest; each references its own blob and goes with it.
pub(crate) const REFERRER: &str = "referrer";
/// Refs that were removed, by name, and pins, by digest: so that a file written before does not bring them back.
pub(crate) const REMOVED: &str = "removed";

/// The media type of what nobody has given one.
const UNKNOWN: &str = "application/octet-stream";

/// The types of records that keep what they reference.
pub(crate) const ROOTS: [&str; 2] = [REF, PIN];

/// Counts the changes of refs, pins and referrers: the generation that `index.json` shows.
pub(crate) const GENERATION: &str = "refs";

/// Nobody has changed refs so often: a file, or an index, that says so is not to be believed, as the counter goes on from
/// what it says.
const MOST_GENERATIONS: u64 = 1 << 48;

/// A generation that the counter can go on from; 0 in the place of one that can't be.
pub(crate) fn counted(generation: u64) -> u64 {
    if generation < MOST_GENERATIONS { generation } else { 0 }
}

/// A name for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ref {
    /// The name.
    pub name: RefName,
    /// What it names: an image index, a manifest, or any blob. Without the annotation of the name.
    pub target: Descriptor,
    /// The image was let in although parts of it were missing (`--allow-incomplete`).
    pub incomplete: bool,
    /// When it was set, in seconds since 1970. An import that finds it set as it is to be counts too, accurate to an hour.
    pub updated: u64,
    /// Another one whenever the ref is set: for [`Condition::Version`].
    pub version: u64,
    /// The generation in which it was set.
    pub(crate) generation: u64,
}

/// A ref's record, as JSON.
#[derive(Serialize, Deserialize)]
struct Record<E> {
    /// As it stands in `index.json`, so that all of them can be written there as they are.
    entry: E,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    generation: u64,
}

/// The record of something that was removed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) digest: Digest,
    pub(crate) generation: u64,
}

fn decode<'d, T: Deserialize<'d>>(data: &'d Data) -> Result<T> {
    serde_json::from_slice(&data.value).map_err(|error| Error::document(format!("record {:?}", data.key), error))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::document("record", error))
}

fn ref_of(data: Data) -> Result<Ref> {
    let Record { entry, incomplete, generation } = decode::<Record<Descriptor>>(&data)?;
    let (name, target) = (data.key.parse()?, bare(entry));
    Ok(Ref { name, target, incomplete, updated: data.updated, version: data.version, generation })
}

pub(crate) fn generation(view: View<'_>) -> Result<u64> {
    Ok(view.number(GENERATION)?)
}

pub(crate) fn get(view: View<'_>, name: &RefName) -> Result<Option<Ref>> {
    view.data(Space::Store, REF, name.as_str())?.map(ref_of).transpose()
}

/// What `text` names (a ref, a digest, or the beginning of one), and whether that was let in with parts missing.
pub(crate) fn find(view: View<'_>, text: &str) -> Result<(Descriptor, bool)> {
    // A whole digest is a name by the grammar too. If the store has that blob, it is what is meant.
    let digest = text.parse::<oci_store_cas::Digest>().ok();
    let is_blob = digest.map(|digest| view.blob(&digest)).transpose()?.flatten().is_some();
    if let Ok(name) = text.parse::<RefName>()
        && !is_blob
        && let Some(found) = get(view, &name)?
    {
        return Ok((found.target, found.incomplete));
    }
    let info = view.resolve(text).and_then(|digest| view.blob(&digest));
    let info = match info {
        Ok(Some(info)) => info,
        Ok(None) | Err(BaseError::BlobNotFound(_) | BaseError::InvalidPrefix { .. }) => {
            return Err(not_found(text));
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = descriptor_of(view, info)?;
    // Nobody has said what it is, and a descriptor has to.
    if found.media_type.is_empty() {
        UNKNOWN.clone_into(&mut found.media_type);
    }
    Ok((found, false))
}

/// A blob as the index knows it. What came in as something else, and was named as a document later, is a document.
pub(crate) fn descriptor_of(view: View<'_>, info: BlobInfo) -> oci_store_base::Result<Descriptor> {
    let read_as = view.edges(&info.digest)?.and_then(|edges| edges.read_as.into_iter().next());
    let media_type = read_as.filter(|_| !is_document(&info.media_type)).unwrap_or(info.media_type);
    Ok(Descriptor::new(&media_type, info.digest, info.size))
}

/// That nothing is called so: a digest names a blob, and anything else a ref.
pub(crate) fn not_found(text: &str) -> Error {
    // Shorter ones may be meant as names.
    const DIGITS: usize = 12;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let of = |algorithm: &Algorithm| text.strip_prefix(algorithm.name())?.strip_prefix([':', '-']);
    if Algorithm::ALL.iter().filter_map(of).any(is_hex) || (text.len() >= DIGITS && is_hex(text)) {
        return BaseError::BlobNotFound(text.to_owned()).into();
    }
    Error::RefNotFound(text.to_owned())
}

pub(crate) fn page(view: View<'_>, prefix: &str, after: Option<&RefName>, limit: usize) -> Result<Vec<Ref>> {
    let page = view.data_page(Space::Store, REF, prefix, after.map(RefName::as_str), limit)?;
    page.into_iter().map(ref_of).collect()
}

/// All refs of one [name](RefName::base).
pub(crate) fn of(view: View<'_>, name: &str) -> Result<Vec<Ref>> {
    let mut found: Vec<Ref> = view.data(Space::Store, REF, name)?.map(ref_of).transpose()?.into_iter().collect();
    for mark in [':', '@'] {
        each_record_of(view, REF, &format!("{name}{mark}"), &mut |data| {
            let same = ref_of(data)?;
            if same.name.base() == name {
                found.push(same);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

pub(crate) fn each(view: View<'_>, visit: &mut dyn FnMut(Ref) -> Result<()>) -> Result<()> {
    each_record(view, REF, &mut |data| visit(ref_of(data)?))
}

/// What refs name, by name, then what is pinned, without a name.
pub(crate) fn each_root(view: View<'_>, visit: &mut dyn FnMut(Option<String>, Digest)) -> Result<()> {
    for kind in ROOTS {
        each_record(view, kind, &mut |data| {
            if let Some(digest) = data.blob {
                visit((kind == REF).then_some(data.key), digest);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Pins, or referrers.
pub(crate) fn each_unnamed(view: View<'_>, kind: &str, visit: &mut dyn FnMut(Descriptor) -> Result<()>) -> Result<()> {
    each_record(view, kind, &mut |data| visit(bare(decode(&data)?)))
}

/// Visits what `index.json` is to list, as text: refs by name, then, without one, pins and what nobody has named that is
/// about an image.
pub(crate) fn each_entry(view: View<'_>, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let mut named = HashSet::new();
    let has_referrers = !view.data_page(Space::Store, REFERRER, "", None, 1)?.is_empty();
    for kind in [REF, PIN, REFERRER] {
        each_record(view, kind, &mut |data| {
            if kind == REFERRER && data.blob.as_ref().is_some_and(|digest| named.contains(digest)) {
                return Ok(());
            }
            visit(match kind {
                REF => decode::<Record<&RawValue>>(&data)?.entry.get(),
                _ => decode::<&RawValue>(&data)?.get(),
            })?;
            named.extend(data.blob.filter(|_| has_referrers));
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether there is anything that `index.json` is to list.
pub(crate) fn is_empty(view: View<'_>) -> Result<bool> {
    for kind in [REF, PIN, REFERRER] {
        if !view.data_page(Space::Store, kind, "", None, 1)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An entry of `index.json`, its fields in the order of the alphabet, as the file's checksum has them.
fn entry(descriptor: &Descriptor) -> Result<Box<RawValue>> {
    let value = serde_json::to_value(descriptor).and_then(|value| serde_json::value::to_raw_value(&value));
    value.map_err(|error| Error::document(&descriptor.digest, error))
}

/// Without what an entry says beyond what it describes.
fn bare(mut descriptor: Descriptor) -> Descriptor {
    for annotation in OWN_ANNOTATIONS {
        descriptor.set_annotation(annotation, None);
    }
    descriptor
}

pub(crate) fn each_record(view: View<'_>, kind: &str, visit: &mut dyn FnMut(Data) -> Result<()>) -> Result<()> {
    each_record_of(view, kind, "", visit)
}

fn each_record_of(view: View<'_>, kind: &str, prefix: &str, visit: &mut dyn FnMut(Data) -> Result<()>) -> Result<()> {
    let mut failed = Ok(());
    view.each_data(Space::Store, kind, prefix, None, &mut |data| {
        failed = visit(data);
        Ok(if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    failed
}

pub(crate) fn unnamed(view: View<'_>, kind: &str, digest: &Digest) -> Result<Option<Descriptor>> {
    view.data(Space::Store, kind, &digest.to_string())?.map(|data| Ok(bare(decode(&data)?))).transpose()
}

pub(crate) fn removed(view: View<'_>, key: &str) -> Result<Option<Removed>> {
    view.data(Space::Store, REMOVED, key)?.map(|data| decode(&data)).transpose()
}

/// All records of a type, as they are.
pub(crate) fn all(view: View<'_>, kind: &str) -> Result<Vec<Data>> {
    let mut all = Vec::new();
    each_record(view, kind, &mut |data| {
        all.push(data);
        Ok(())
    })?;
    Ok(all)
}

/// Remembers what another index remembered; from now on, as for how long.
pub(crate) fn restore_removed(txn: &mut Txn<'_>, old: &Data) -> oci_store_base::Result<()> {
    txn.set_data(Space::Store, REMOVED, &old.key, &old.value, None, Condition::Any).map(drop)
}

/// Sets a ref. What it named before is for the next gc to look at.
pub(crate) fn set(
    txn: &mut Txn<'_>,
    name: &RefName,
    target: &Descriptor,
    incomplete: bool,
    condition: Condition,
) -> Result<u64> {
    let generation = txn.count(GENERATION)?;
    restore(txn, name, target, incomplete, generation, condition)?;
    txn.delete_data(Space::Store, REMOVED, name.as_str(), Condition::Any)?;
    Ok(generation)
}

/// The value of a ref's record.
fn record(name: &RefName, target: &Descriptor, incomplete: bool, generation: u64) -> Result<Vec<u8>> {
    let mut target = bare(target.clone());
    target.set_annotation(REF_NAME, Some(name.as_str()));
    target.set_annotation(INCOMPLETE, incomplete.then_some("true"));
    encode(&Record { entry: &entry(&target)?, incomplete, generation })
}

/// Sets a ref as of a generation.
pub(crate) fn restore(
    txn: &mut Txn<'_>,
    name: &RefName,
    target: &Descriptor,
    incomplete: bool,
    generation: u64,
    condition: Condition,
) -> Result<()> {
    let value = record(name, target, incomplete, generation)?;
    match txn.set_data(Space::Store, REF, name.as_str(), &value, Some(&target.digest), condition) {
        Err(BaseError::Conflict { .. }) => Err(Error::RefConflict(name.to_string())),
        other => Ok(other.map(drop)?),
    }
}

/// Notes that a ref was set again to what it names: it is as young as that, accurate to an hour, and nothing else changes.
pub(crate) fn touch(txn: &mut Txn<'_>, name: &RefName) -> Result<()> {
    Ok(txn.touch_data(Space::Store, REF, name.as_str())?)
}

/// Notes that a ref's image lacks nothing any more: no change of what it names, and not news of when it was set. Returns
/// the generation.
pub(crate) fn set_whole(txn: &mut Txn<'_>, found: &Ref) -> Result<u64> {
    let value = record(&found.name, &found.target, false, found.generation)?;
    txn.amend_data(Space::Store, REF, found.name.as_str(), &value)?;
    Ok(txn.count(GENERATION)?)
}

/// Removes a ref; returns the generation, and what was there.
pub(crate) fn remove(txn: &mut Txn<'_>, name: &RefName) -> Result<Option<(u64, Ref)>> {
    let Some(data) = txn.delete_data(Space::Store, REF, name.as_str(), Condition::Any)? else { return Ok(None) };
    let old = ref_of(data)?;
    let generation = bury(txn, name.as_str(), &old.target.digest)?;
    Ok(Some((generation, old)))
}

/// Notes that a name (or a pin, by its digest) is gone as of a new generation, which is returned.
fn bury(txn: &mut Txn<'_>, key: &str, digest: &Digest) -> Result<u64> {
    let generation = txn.count(GENERATION)?;
    let value = encode(&Removed { digest: digest.clone(), generation })?;
    txn.set_data(Space::Store, REMOVED, key, &value, None, Condition::Any)?;
    Ok(generation)
}

/// Pins a blob, or notes a referrer. Returns the generation, if that was news.
pub(crate) fn add_unnamed(txn: &mut Txn<'_>, kind: &str, descriptor: &Descriptor) -> Result<Option<u64>> {
    let mut descriptor = bare(descriptor.clone());
    descriptor.set_annotation(PINNED, (kind == PIN).then_some("true"));
    let key = descriptor.digest.to_string();
    if txn.view().data(Space::Store, kind, &key)?.is_some() {
        return Ok(None);
    }
    let digest = descriptor.digest.clone();
    txn.set_data(Space::Store, kind, &key, &encode(&entry(&descriptor)?)?, Some(&digest), Condition::Any)?;
    if kind == PIN {
        txn.delete_data(Space::Store, REMOVED, &key, Condition::Any)?;
    }
    Ok(Some(txn.count(GENERATION)?))
}

pub(crate) fn unpin(txn: &mut Txn<'_>, digest: &Digest) -> Result<Option<u64>> {
    let key = digest.to_string();
    if txn.delete_data(Space::Store, PIN, &key, Condition::Any)?.is_none() {
        return Ok(None);
    }
    bury(txn, &key, digest).map(Some)
}

/// Forgets what was removed before `time`, in seconds since 1970: no file of before will be written any more.
pub(crate) fn forget_removed(txn: &mut Txn<'_>, time: u64) -> Result<()> {
    let mut old = Vec::new();
    each_record(txn.view(), REMOVED, &mut |data| {
        if data.updated < time {
            old.push(data.key);
        }
        Ok(())
    })?;
    for key in old {
        txn.delete_data(Space::Store, REMOVED, &key, Condition::Any)?;
    }
    Ok(())
}

/// Marks, in an entry of `index.json`, an image that was let in with parts missing.
pub const INCOMPLETE: &str = "io.oci-store.incomplete";
/// Marks, in an entry of `index.json`, a pin: a pinned blob may have a subject, too.
pub(crate) const PINNED: &str = "io.oci-store.pin";

/// Annotations of entries of `index.json` that are not part of what they describe.
const OWN_ANNOTATIONS: [&str; 3] = [REF_NAME, INCOMPLETE, PINNED];
