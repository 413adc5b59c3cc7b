use std::path::Path;

use super::{Check, get, open, put};
use crate::{Backend, Error, IndexExt, MAX_KEY, MAX_VALUE, Result};

pub(super) const CHECKS: &[Check] = &[
    ("names", names),
    ("set-get-delete", set_get_delete),
    ("key-limits", key_limits),
    ("any-bytes-are-a-key", any_bytes_are_a_key),
    ("empty-value", empty_value),
    ("large-values", large_values),
    ("value-limit", value_limit),
];

fn names(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    assert_eq!(index.name(), backend.name());
    assert!(!backend.name().is_empty());
}

fn set_get_delete(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    assert_eq!(get(&*index, b"key"), None);
    put(&*index, b"key", b"one");
    assert_eq!(get(&*index, b"key").as_deref(), Some(&b"one"[..]));
    put(&*index, b"key", b"two, which is longer");
    assert_eq!(get(&*index, b"key").as_deref(), Some(&b"two, which is longer"[..]));
    assert_eq!(get(&*index, b"ke"), None, "the beginning of a key is another key");
    let deleted: Result<_> = index.write(|txn| Ok((txn.delete(b"key")?, txn.delete(b"key")?, txn.get(b"key")?)));
    assert_eq!(deleted.unwrap(), (true, false, None));
    assert_eq!(get(&*index, b"key"), None);
    let new: Result<_> = index.write(|txn| Ok((txn.put(b"new", b"1")?, txn.put(b"new", b"2")?)));
    assert_eq!(new.unwrap(), (true, false), "in the transaction that made it, a key is new once");
    let again: Result<_> = index.write(|txn| {
        let replaced = txn.put(b"new", b"")?;
        Ok((replaced, txn.delete(b"new")?, txn.put(b"new", b"3")?, txn.put(b"new", b"4")?))
    });
    assert_eq!(again.unwrap(), (false, true, true, false), "a key that was deleted is new again");
    assert_eq!(get(&*index, b"new").as_deref(), Some(&b"4"[..]));
    let own: Result<_> = index.write(|txn| {
        txn.put(b"own", b"1")?;
        let put = txn.get(b"own")?;
        let deleted = txn.delete(b"own")?;
        txn.put(b"own", b"2")?;
        Ok((put, deleted, txn.get(b"own")?))
    });
    assert_eq!(own.unwrap(), (Some(b"1".to_vec()), true, Some(b"2".to_vec())), "an update reads what it wrote");
}

fn key_limits(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let longest = vec![b'k'; MAX_KEY];
    put(&*index, &longest, b"value");
    assert_eq!(get(&*index, &longest).as_deref(), Some(&b"value"[..]));
    assert!(index.write(|txn| txn.delete(&longest)).unwrap());
    for length in [0, MAX_KEY + 1, MAX_KEY + 32, 1 << 20] {
        let key = vec![b'k'; length];
        let refused = |result: Result<()>| match result {
            Err(Error::Key(found)) => assert_eq!(found, length),
            other => panic!("a key of {length} bytes: {other:?}"),
        };
        refused(index.read(|txn| txn.get(&key)).map(drop));
        refused(index.write(|txn| txn.get(&key)).map(drop));
        refused(index.write(|txn| txn.put(&key, b"value")).map(drop));
        refused(index.write(|txn| txn.delete(&key)).map(drop));
    }
    // A refused key is an error of its own, not of the transaction.
    index.write(|txn| txn.put(b"", b"value").or_else(|_| txn.put(b"other", b"value"))).unwrap();
    assert!(get(&*index, b"other").is_some());
}

fn any_bytes_are_a_key(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let all: Vec<Vec<u8>> = (0..=u8::MAX).flat_map(|byte| [vec![byte], vec![byte, 0], vec![byte, u8::MAX]]).collect();
    index.write(|txn| all.iter().try_for_each(|key| txn.put(key, key).map(drop))).unwrap();
    for key in &all {
        assert_eq!(get(&*index, key).as_ref(), Some(key));
    }
    let mut sorted = all;
    sorted.sort();
    assert_eq!(super::keys(&*index, b"", b""), sorted, "rows lie in the order of their keys' bytes");
}

fn empty_value(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    put(&*index, b"key", b"");
    assert_eq!(get(&*index, b"key"), Some(Vec::new()));
    let rows = index.read(|txn| super::scanned(txn, b"", b"", 9)).unwrap();
    assert_eq!(rows, [(b"key".to_vec(), Vec::new())]);
}

fn large_values(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let value = |seed: usize, length: usize| (0..length).map(|at| (at * 31 + seed) as u8).collect::<Vec<u8>>();
    let sizes = [1, 100, 2000, 4096, 5000, 70_000, 1 << 20, (3 << 20) + 17];
    for (seed, size) in sizes.into_iter().enumerate() {
        put(&*index, format!("key {seed}").as_bytes(), &value(seed, size));
    }
    for (seed, size) in sizes.into_iter().enumerate() {
        assert_eq!(get(&*index, format!("key {seed}").as_bytes()).unwrap(), value(seed, size));
    }
    put(&*index, b"key 6", b"short now");
    assert_eq!(get(&*index, b"key 6").unwrap(), b"short now");
}

fn value_limit(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let value = vec![7; MAX_VALUE + 1];
    match index.write(|txn| txn.put(b"key", &value)) {
        Err(Error::Value(length)) => assert_eq!(length, MAX_VALUE + 1),
        other => panic!("a value that is too long: {other:?}"),
    }
    assert_eq!(get(&*index, b"key"), None);
    put(&*index, b"key", &value[1..]);
    assert_eq!(get(&*index, b"key").map(|value| value.len()), Some(MAX_VALUE));
}
