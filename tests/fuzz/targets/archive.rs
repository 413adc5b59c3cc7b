//! The reader of archives. What it accepts, it must read as `tar` does from the beginning to the end: each member of
//! the layout once, with the same bytes.
//!
//! The first byte says whether the checksums of headers are put right first: no fuzzer finds them by itself.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use oci_store_cas::Digest;
use oci_store_oci::{Archive, Descriptor, Error, ImageSource, Limits};

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if first % 4 != 0 {
        mend(&mut bytes);
    }
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let file = tempfile::Builder::new().prefix("fuzz-").suffix(".tar").tempfile_in(folder).unwrap();
    fs::write(file.path(), &bytes).unwrap();
    let archive = match Archive::open(file.path()) {
        Ok(archive) => archive.with_limits(Limits { manifest: 1 << 16, index_json: 1 << 16 }),
        Err(error) => return plain(&error),
    };
    let members = members(&bytes);
    if !members.contains_key("index.json") {
        assert!(members.contains_key("manifest.json"));
        return archive.entries().map_or_else(|error| plain(&error), drop);
    }
    for (name, all) in &members {
        let Some((algorithm, encoded)) = name.strip_prefix("blobs/").and_then(|name| name.split_once('/')) else {
            continue;
        };
        let Ok(digest) = format!("{algorithm}:{encoded}").parse::<Digest>() else { continue };
        assert_eq!(fetch(&archive, &digest).as_ref(), digest.known_algorithm().map(|_| all), "{name}");
    }
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return plain(&error),
    };
    for entry in entries.iter().take(20) {
        let digest = &entry.descriptor.digest;
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.encoded());
        assert_eq!(fetch(&archive, digest), members.get(&name).filter(|_| digest.known_algorithm().is_some()).cloned());
        archive.referrers(digest).map_or_else(|error| plain(&error), drop);
    }
});

fn fetch(archive: &Archive, digest: &Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    archive.fetch(&Descriptor::new("", digest.clone(), 0)).ok()??.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// All files of an archive, with names in their shortest form, read as a stream. None may be there twice if it is
/// one of a layout.
fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let (mut members, mut links) = (BTreeMap::new(), 0);
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.expect("it was accepted");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() == tar::EntryType::XGlobalHeader {
            continue;
        }
        assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."), "{name:?} leads out");
        let kind = entry.header().entry_type();
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if kind.is_symlink() && matches!(parts.as_slice(), [_, "layer.tar"]) {
            links += 1;
            continue;
        }
        assert!(kind.is_dir() || kind.is_file() || kind.is_contiguous(), "{kind:?}");
        let mut all = Vec::new();
        entry.read_to_end(&mut all).unwrap();
        assert_eq!(all.len() as u64, entry.size(), "{name}: cut off");
        let is_layout = matches!(parts.as_slice(), ["index.json" | "oci-layout"] | ["blobs", _, _]);
        let is_known = parts.get(1).is_none_or(|name| ["sha256", "sha384", "sha512", "blake3"].contains(name));
        let is_new = members.insert(parts.join("/"), all).is_none();
        assert!(is_new || !is_layout || !is_known || !is_blob(&parts), "{name} twice");
    }
    assert!(links == 0 || !members.contains_key("index.json"), "a link in a layout");
    members
}

fn is_blob(parts: &[&str]) -> bool {
    parts.len() == 1 || format!("{}:{}", parts[1], parts[2]).parse::<Digest>().is_ok()
}

fn plain(error: &Error) {
    let line = error.to_string();
    assert!(line.len() < 3000 && !line.chars().any(char::is_control), "{line:?}");
}

/// Puts right the checksum of what stands where a header is read.
fn mend(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + 512) {
        if block.iter().all(|&byte| byte == 0) {
            return;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = tar::Header::from_byte_slice(block).entry_size().unwrap_or(0);
        let Some(next) = size.checked_next_multiple_of(512).and_then(|size| (at as u64 + 512).checked_add(size)) else {
            return;
        };
        let Ok(next) = usize::try_from(next) else { return };
        at = next;
    }
}
