//! Which refs name an image of some kind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use oci_spec::image::Platform;
use oci_store_cas::Digest;
use oci_store_cas::threads::{available, side_by_side};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::document::Role;
use crate::media_type::{is_document, is_index};
use crate::source::{PlatformSpec, read_document};
use crate::{Descriptor, Result, Store, refs};

use super::config;
use super::graph::{Graph, Id};
use super::usage::Amount;

/// Which refs to find: those for which all that is given holds.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Annotations, of the entry, the image's documents or what these list: a key, and a value if it matters.
    pub annotations: Vec<(String, Option<String>)>,
    /// Labels of a config of the image.
    pub labels: Vec<(String, Option<String>)>,
    /// There is a manifest for this platform.
    pub platform: Option<PlatformSpec>,
    /// A blob of the image is of this type.
    pub media_type: Option<String>,
    /// The image has at least so many bytes.
    pub min_size: Option<u64>,
    /// It has at most so many.
    pub max_size: Option<u64>,
    /// The ref was set at this time or later, in seconds since 1970.
    pub set_since: Option<u64>,
    /// It was set before this time.
    pub set_before: Option<u64>,
    /// The image has this blob.
    pub blob: Option<Digest>,
}

/// A ref that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundRef {
    /// Its name.
    pub name: String,
    /// What it names.
    pub digest: Digest,
    /// All blobs of the image, without what is about it.
    pub size: Amount,
    /// When the ref was set, in seconds since 1970.
    pub updated: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundRefs {
    /// By name.
    pub refs: Vec<FoundRef>,
    /// Refs of which something could not be read, with why: nobody knows whether they are of the kind.
    pub unread: Vec<(String, String)>,
}

/// So many images are read by one thread.
const FEW: usize = 64;

impl Store {
    /// Finds refs. Reads the index, and where annotations, labels or a platform are asked for, documents and configs of
    /// those for which all else holds.
    ///
    /// # Errors
    /// Those of the base store.
    pub fn search(&self, query: &Query) -> Result<FoundRefs> {
        // Only what these ask for is in the entry.
        let is_told_by_entry = !query.annotations.is_empty() || query.platform.is_some();
        let (graph, records) = self.base().view(|view| {
            let graph = Graph::without_roots(view)?;
            let mut records = Vec::new();
            refs::each_record(view, refs::REF, &mut |data| {
                let is_in_time = query.set_since.is_none_or(|time| data.updated >= time)
                    && query.set_before.is_none_or(|time| data.updated < time);
                if let Some(id) = data.blob.filter(|_| is_in_time).and_then(|digest| graph.find(&digest)) {
                    let record = if is_told_by_entry { data.value } else { Vec::new() };
                    records.push((data.key, id, data.updated, record));
                }
                Ok(())
            })?;
            Ok::<_, crate::Error>((graph, records))
        })?;
        let mut walker = graph.walker();
        let mut candidates = Vec::new();
        for (name, id, updated, record) in records {
            let parts = walker.parts(id);
            let has = |wanted: &Digest| graph.find(wanted).is_some_and(|id| parts.contains(&id));
            let size = Amount::of(&graph, parts.iter().copied());
            let is_of_type = |media_type: &String| parts.iter().any(|id| graph.media_type(*id) == media_type);
            if query.min_size.is_none_or(|least| size.bytes >= least)
                && query.max_size.is_none_or(|most| size.bytes <= most)
                && query.blob.as_ref().is_none_or(has)
                && query.media_type.as_ref().is_none_or(is_of_type)
            {
                let Some(digest) = graph.digest(id) else { continue };
                candidates.push(Candidate { found: FoundRef { name, digest, size, updated }, record, id });
            }
        }
        if query.annotations.is_empty() && query.labels.is_empty() && query.platform.is_none() {
            let refs = candidates.into_iter().map(|candidate| candidate.found).collect();
            return Ok(FoundRefs { refs, unread: Vec::new() });
        }
        self.read(query, &graph, candidates)
    }

    /// Those candidates whose documents say what they should.
    fn read(&self, query: &Query, graph: &Graph, candidates: Vec<Candidate>) -> Result<FoundRefs> {
        let threads = if candidates.len() < FEW { 1 } else { available() };
        let next = AtomicUsize::new(0);
        let verdicts = Mutex::new(vec![Ok(false); candidates.len()]);
        side_by_side(threads, || {
            let mut walker = graph.walker();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(candidate) = candidates.get(at) else { return };
                let parts = walker.parts(candidate.id);
                let verdict = self.is_wanted(query, graph, candidate, &parts).map_err(|error| error.to_string());
                let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                verdicts.get_mut(at).into_iter().for_each(|at| at.clone_from(&verdict));
            }
        });
        let mut answer = FoundRefs::default();
        let verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (Candidate { found, .. }, verdict) in candidates.into_iter().zip(verdicts) {
            match verdict {
                Ok(true) => answer.refs.push(found),
                Ok(false) => {}
                Err(why) => answer.unread.push((found.name, why)),
            }
        }
        Ok(answer)
    }

    fn is_wanted(&self, query: &Query, graph: &Graph, candidate: &Candidate, parts: &[Id]) -> Result<bool> {
        let mut said = Said::default();
        let blobs = || parts.iter().filter_map(|id| Some((*id, graph.blobs.get(*id)?)));
        let named = |id| Some(Descriptor::new(graph.media_type(id), graph.digest(id)?, graph.size(id)?));
        let source = self.as_source();
        if !query.annotations.is_empty() || query.platform.is_some() {
            let entry = serde_json::from_slice::<Record>(&candidate.record).ok();
            said.entries.extend(entry.map(|record| record.entry));
            // Of a manifest, it is the config that says the platform.
            let is_manifest = |media_type: &str| is_document(media_type) && !is_index(media_type);
            let is_telling = |id: Id| !query.annotations.is_empty() || !is_manifest(graph.media_type(id));
            let telling = blobs().filter(|(id, blob)| blob.is_document && is_telling(*id));
            for descriptor in telling.filter_map(|(id, _)| named(id)) {
                if let Some(bytes) = read_document(&source, &descriptor)? {
                    let unlike = |error| crate::Error::document(&descriptor.digest, error);
                    let document: Document = serde_json::from_slice(&bytes).map_err(unlike)?;
                    said.entries.extend(document.manifests.unwrap_or_default());
                    said.entries.push(Entry { annotations: document.annotations, platform: None });
                }
            }
            if !query.annotations.iter().all(|wanted| said.has_annotation(wanted)) {
                return Ok(false);
            }
        }
        let is_for = |platform: &PlatformSpec, said: &Said| said.platforms().any(|known| platform.matches(&known));
        let is_known = query.platform.as_ref().is_none_or(|platform| is_for(platform, &said));
        if is_known && query.labels.is_empty() {
            return Ok(true);
        }
        let configs = blobs().filter(|(_, blob)| blob.roles & (1 << Role::Config.code()) != 0);
        for descriptor in configs.filter_map(|(id, _)| named(id)) {
            said.configs.extend(config::read_about(&source, &descriptor)?);
        }
        Ok(query.labels.iter().all(|wanted| said.has_label(wanted))
            && query.platform.as_ref().is_none_or(|platform| is_for(platform, &said)))
    }
}

/// A ref of which only documents can tell whether it is to be found.
struct Candidate {
    found: FoundRef,
    /// Its record, if that may tell.
    record: Vec<u8>,
    id: Id,
}

/// What of a ref's record matters here.
#[derive(Deserialize)]
struct Record {
    entry: Entry,
}

/// What of a document matters here.
#[derive(Deserialize)]
struct Document {
    annotations: Option<Map<String, Value>>,
    manifests: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    annotations: Option<Map<String, Value>>,
    platform: Option<Value>,
}

/// What an image's documents and configs say of it.
#[derive(Default)]
struct Said {
    entries: Vec<Entry>,
    configs: Vec<config::About>,
}

fn has(map: Option<&Map<String, Value>>, (key, value): &(String, Option<String>)) -> bool {
    let found = map.and_then(|map| map.get(key));
    found.is_some_and(|found| value.as_deref().is_none_or(|value| found.as_str() == Some(value)))
}

impl Said {
    fn has_annotation(&self, wanted: &(String, Option<String>)) -> bool {
        self.entries.iter().any(|entry| has(entry.annotations.as_ref(), wanted))
    }

    fn has_label(&self, wanted: &(String, Option<String>)) -> bool {
        self.configs.iter().any(|config| has(Some(&config.labels), wanted))
    }

    fn platforms(&self) -> impl Iterator<Item = Platform> {
        let listed = self.entries.iter().filter_map(|entry| serde_json::from_value(entry.platform.clone()?).ok());
        listed.chain(self.configs.iter().filter_map(|config| config.platform.clone()))
    }
}
