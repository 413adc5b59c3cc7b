//! The files of a store: names, kinds, hashes, and what should not be there.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Facts;

/// Notes every file under `blobs/`, hashed.
pub(super) fn read_blobs(store: &Path, facts: &mut Facts) -> Result<()> {
    let blobs = store.join("blobs");
    for algorithm in entries(&blobs)? {
        let name = algorithm.file_name().to_string_lossy().into_owned();
        if !algorithm.file_type()?.is_dir() {
            facts.wrong.push(format!("I1: blobs/{name}: not a folder"));
            continue;
        }
        for entry in entries(&algorithm.path())? {
            let hex = entry.file_name().to_string_lossy().into_owned();
            let digest = format!("{name}:{hex}");
            if !entry.file_type()?.is_file() {
                facts.wrong.push(format!("I1: {digest}: not a file"));
                continue;
            }
            let (size, found) = match hash(&name, &entry.path()) {
                Ok(hashed) => hashed,
                // A gc beside this look has taken it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| digest.clone()),
            };
            if found.as_ref().is_some_and(|found| *found != hex) {
                facts.wrong.push(format!("I1: {digest}: {size} bytes that are {}", found.unwrap_or_default()));
            }
            facts.blobs.insert(digest, size);
        }
    }
    Ok(())
}

/// The size and the hash of a file; no hash if the algorithm is unknown.
fn hash(algorithm: &str, path: &Path) -> std::io::Result<(u64, Option<String>)> {
    let mut file = File::open(path)?;
    let hashed = match algorithm {
        "sha256" => stream::<Sha256>(&mut file)?,
        "sha384" => stream::<Sha384>(&mut file)?,
        "sha512" => stream::<Sha512>(&mut file)?,
        _ => return Ok((file.metadata()?.len(), None)),
    };
    Ok((hashed.0, Some(hashed.1)))
}

fn stream<D: Digest>(file: &mut File) -> std::io::Result<(u64, String)> {
    let mut hasher = D::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        size += n as u64;
    }
    Ok((size, hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Reads `index.json`. A store that was never written to has none.
pub(super) fn read_index(store: &Path, facts: &mut Facts) -> Result<Option<Value>> {
    let path = store.join("index.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !facts.blobs.is_empty() {
                facts.wrong.push("I3: blobs, and no index.json".to_owned());
            }
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if !store.join("oci-layout").is_file() {
        facts.wrong.push("I3: no oci-layout".to_owned());
    }
    match serde_json::from_slice(&bytes) {
        Ok(index) => Ok(Some(index)),
        Err(error) => {
            facts.wrong.push(format!("I3: index.json, {} bytes: {error}", bytes.len()));
            Ok(None)
        }
    }
}

/// What a store that nobody works on must not have after a `gc --full`.
pub(super) fn leftovers(store: &Path) -> Result<Vec<String>> {
    let own = store.join(".oci-store");
    let mut lines = Vec::new();
    for folder in ["ingest", "leases"] {
        for entry in entries(&own.join(folder))? {
            lines.push(format!("I6: .oci-store/{folder}/{} is left over", entry.file_name().to_string_lossy()));
        }
    }
    for entry in entries(&own)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !EXPECTED.contains(&name.as_str()) {
            lines.push(format!("I6: .oci-store/{name} is left over"));
        }
    }
    for entry in entries(store)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["blobs", "index.json", "oci-layout", ".oci-store"].contains(&name.as_str()) {
            lines.push(format!("I6: {name} is left over"));
        }
    }
    Ok(lines)
}

/// What may lie in a store's own folder.
const EXPECTED: &[&str] = &["config.json", "index", "ingest", "leases", "locks", "projection.json", "reserve"];

/// The entries of a folder; none if it is not there.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<std::io::Result<_>>().with_context(|| folder.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| folder.display().to_string()),
    }
}
