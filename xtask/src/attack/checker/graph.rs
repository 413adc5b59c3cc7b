//! The images that `index.json` lists, walked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Facts;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INCOMPLETE: &str = "io.oci-store.incomplete";

/// Notes refs, and all that the entries reach. What an entry lacks is wrong, unless the entry says so itself.
pub(super) fn walk(store: &Path, index: &Value, facts: &mut Facts) {
    let entries = index["manifests"].as_array().cloned().unwrap_or_default();
    for entry in &entries {
        let digest = entry["digest"].as_str().unwrap_or_default().to_owned();
        let name = match entry["annotations"][REF_NAME].as_str() {
            Some(name) => {
                if facts.refs.insert(name.to_owned(), digest.clone()).is_some() {
                    facts.wrong.push(format!("I5: ref {name}: listed twice"));
                }
                format!("ref {name}")
            }
            None => {
                facts.unnamed.insert(digest.clone());
                format!("entry {digest}")
            }
        };
        let may_lack = entry["annotations"][INCOMPLETE].as_str() == Some("true");
        let mut missing = Vec::new();
        reach(store, entry, facts, &mut missing);
        if !may_lack {
            facts.wrong.extend(missing.into_iter().map(|line| format!("I3: {name}: {line}")));
        }
    }
    // Who is about a kept image is kept with it, listed or not: what it needs must be there as well.
    let listed: BTreeSet<String> = facts.unnamed.clone();
    facts.reached.extend(listed);
}

/// Each (digest, media type) once, without recursion.
fn reach(store: &Path, root: &Value, facts: &mut Facts, missing: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let mut stack = vec![root.clone()];
    while let Some(descriptor) = stack.pop() {
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        let media_type = descriptor["mediaType"].as_str().unwrap_or_default().to_owned();
        if !seen.insert((digest.clone(), media_type.clone())) {
            continue;
        }
        let elsewhere = media_type.contains("nondistributable")
            || media_type.contains(".foreign.")
            || descriptor["urls"].as_array().is_some_and(|urls| !urls.is_empty());
        facts.reached.insert(digest.clone());
        match facts.blobs.get(&digest) {
            None if elsewhere => continue,
            None => {
                missing.push(format!("{digest} is missing"));
                continue;
            }
            Some(&size) if Some(size) != descriptor["size"].as_u64() => {
                missing.push(format!("{digest} has {size} bytes, its descriptor says {}", descriptor["size"]));
            }
            Some(_) => {}
        }
        // What was pinned by its digest when nobody knew its type says itself what it is.
        if !is_document(&media_type) && !media_type.is_empty() {
            continue;
        }
        let path = store.join("blobs").join(digest.replacen(':', "/", 1));
        if media_type.is_empty() && !says_that_it_is_a_document(&path) {
            continue;
        }
        let Some(document) = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
            missing.push(format!("{digest} is no {media_type}"));
            continue;
        };
        for list in ["manifests", "layers", "blobs"] {
            stack.extend(document[list].as_array().into_iter().flatten().cloned());
        }
        stack.extend(document.get("config").filter(|config| config.is_object()).cloned());
    }
}

fn says_that_it_is_a_document(path: &Path) -> bool {
    let read = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    read.is_some_and(|value| value["mediaType"].as_str().is_some_and(is_document))
}

fn is_document(media_type: &str) -> bool {
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
    .contains(&media_type)
}
