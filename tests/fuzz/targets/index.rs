//! `index.json`, and what walks the graph below it.
//!
//! An input is an index.json and blobs, with a zero byte between them. `@N` in a text is the digest of blob N, for
//! one of those behind it: so the input can have a graph, with digests that are right.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use libfuzzer_sys::fuzz_target;
use oci_store_cas::{Algorithm, Digest, Hasher};
use oci_store_oci::{Content, Descriptor, Entry, Error, ImageSource, Result, fuzzing, pick};

#[derive(Debug)]
struct Memory {
    entries: Vec<Entry>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

struct Bytes(Cursor<Vec<u8>>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Content for Bytes {}

impl ImageSource for Memory {
    fn origin(&self) -> String {
        "memory".to_owned()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.entries.clone())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        let bytes = self.blobs.get(&descriptor.digest).cloned();
        Ok(bytes.map(|bytes| Box::new(Bytes(Cursor::new(bytes))) as Box<dyn Content>))
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        unreachable!("asked of the walk under test")
    }
}

fuzz_target!(|data: &[u8]| {
    let mut parts: Vec<Vec<u8>> = data.split(|&byte| byte == 0).take(8).map(<[u8]>::to_vec).collect();
    let mut blobs = BTreeMap::new();
    for n in (1..parts.len()).rev() {
        let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
        hasher.update(&parts[n]);
        let digest = hasher.finish();
        for part in &mut parts[..n] {
            *part = replaced(part, format!("@{n}").as_bytes(), digest.to_string().as_bytes());
        }
        blobs.insert(digest, parts[n].clone());
    }
    let Some(entries) = check_index(&parts[0]) else { return };
    let source = Memory { entries, blobs };
    for entry in source.entries.iter().take(20) {
        let name = entry.name.as_deref().unwrap_or("absent");
        match pick(&source, Some(name), None) {
            Ok(found) => assert!(found.name.as_deref() == Some(name) || found.descriptor.digest.to_string() == name),
            Err(error) => plain(&error),
        }
    }
    pick(&source, None, None).map_or_else(|error| plain(&error), drop);
    let mut about = BTreeSet::new();
    for digest in source.blobs.keys() {
        if let Ok(found) = pick(&source, Some(&digest.to_string()), None) {
            assert_eq!(found.descriptor.digest, *digest);
        }
        for referrer in fuzzing::referrers(&source, digest).unwrap() {
            assert!(source.blobs.contains_key(&referrer.digest), "a referrer that nobody has");
            assert!(about.insert((digest, referrer.digest)), "one referrer twice");
        }
    }
});

/// Parses it in both ways; what is written again must read the same.
fn check_index(bytes: &[u8]) -> Option<Vec<Entry>> {
    let own = fuzzing::index_json(bytes, true);
    let foreign = fuzzing::index_json(bytes, false);
    match (foreign, own) {
        (Ok((entries, written)), own) => {
            let (again, rewritten) = fuzzing::index_json(&written, false).expect("it was written");
            assert_eq!((&again, &rewritten), (&entries, &written));
            assert_eq!(own.expect("a good file is good").1, written);
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            assert_eq!(entries.len(), value["manifests"].as_array().map_or(0, Vec::len));
            Some(entries)
        }
        (Err(error), own) => {
            plain(&error);
            own.ok().map(|(entries, _)| entries)
        }
    }
}

fn plain(error: &Error) {
    let line = error.to_string();
    assert!(line.len() < 3000 && !line.chars().any(char::is_control), "{line:?}");
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut done = Vec::new();
    let mut rest = text;
    // A digest is longer than its mark: not too many of them.
    for _ in 0..64 {
        let Some(at) = rest.windows(from.len()).position(|window| window == from) else { break };
        done.extend_from_slice(&rest[..at]);
        done.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    done.extend_from_slice(rest);
    done
}
