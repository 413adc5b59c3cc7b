//! Whole folders, compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All files below a folder: path and content, or for what has none what it is.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

pub(crate) fn tree(root: &Path) -> Tree {
    let mut files = Tree::new();
    walk(root, root, &mut files);
    files
}

fn walk(root: &Path, at: &Path, files: &mut Tree) {
    let Ok(entries) = fs::read_dir(at) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            files.insert(name + "/", Vec::new());
            walk(root, &path, files);
        } else if meta.is_symlink() {
            files.insert(name, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// A store's folder, but for what may change though nothing does: the index's own files, locks, and the note of what
/// `index.json` was last seen to be.
pub(crate) fn store_tree(root: &Path) -> Tree {
    let mut files = tree(root);
    files.retain(|name, _| {
        let own = name.strip_prefix(".oci-store/").unwrap_or("");
        !own.starts_with("index/") && !own.starts_with("locks/") && own != "projection.json"
    });
    files
}

/// Asserts that two trees are the same; says which files are not, not what is in them.
#[track_caller]
pub(crate) fn assert_same(before: &Tree, after: &Tree, what: &str) {
    let names = before.keys().chain(after.keys());
    let other: Vec<&String> = names.filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(other.is_empty(), "{what}: changed: {other:?}");
}

/// The names of all files below `blobs/` of a layout, as digests, sorted.
pub(crate) fn blobs_of(layout: &Path) -> Vec<String> {
    let files = tree(&layout.join("blobs"));
    files.keys().filter(|name| !name.ends_with('/')).map(|name| name.replacen('/', ":", 1)).collect()
}
