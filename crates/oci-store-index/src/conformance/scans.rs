use std::path::Path;

use super::{Check, keys, open, put, scanned};
use crate::{Backend, Index, IndexExt, MAX_KEY, Result};

pub(super) const CHECKS: &[Check] = &[
    ("an-empty-index-has-no-rows", an_empty_index_has_no_rows),
    ("prefixes", prefixes),
    ("prefixes-without-successor", prefixes_without_successor),
    ("from", from),
    ("bounds-of-any-length", bounds_of_any_length),
    ("break-ends-a-scan", break_ends_a_scan),
    ("a-scan-sees-own-changes", a_scan_sees_own_changes),
    ("many-rows", many_rows),
];

fn fill(index: &dyn Index, keys: &[&[u8]]) {
    index.write(|txn| keys.iter().try_for_each(|key| txn.put(key, b"value").map(drop))).unwrap();
}

fn an_empty_index_has_no_rows(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    assert!(keys(&*index, b"", b"").is_empty());
    assert!(keys(&*index, b"a", b"").is_empty());
    assert!(keys(&*index, b"", b"a").is_empty());
}

fn prefixes(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    fill(&*index, &[b"b", b"a", b"ab", b"abc", b"ac", b"a\x00", b"\x00", b"B"]);
    assert_eq!(keys(&*index, b"", b""), [&b"\x00"[..], b"B", b"a", b"a\x00", b"ab", b"abc", b"ac", b"b"]);
    assert_eq!(keys(&*index, b"a", b""), [&b"a"[..], b"a\x00", b"ab", b"abc", b"ac"]);
    assert_eq!(keys(&*index, b"ab", b""), [&b"ab"[..], b"abc"]);
    assert_eq!(keys(&*index, b"abc", b""), [b"abc"]);
    assert!(keys(&*index, b"abcd", b"").is_empty());
    assert!(keys(&*index, b"c", b"").is_empty());
}

fn prefixes_without_successor(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    fill(&*index, &[b"a", b"a\xff", b"a\xff\xff", b"b", b"\xfe", b"\xff", b"\xff\x00", b"\xff\xff", b"\xff\xff\xff"]);
    assert_eq!(keys(&*index, b"a\xff", b""), [&b"a\xff"[..], b"a\xff\xff"]);
    assert_eq!(keys(&*index, b"\xff", b""), [&b"\xff"[..], b"\xff\x00", b"\xff\xff", b"\xff\xff\xff"]);
    assert_eq!(keys(&*index, b"\xff\xff", b""), [&b"\xff\xff"[..], b"\xff\xff\xff"]);
    assert_eq!(keys(&*index, b"\xff", b"\xff\x01"), [&b"\xff\xff"[..], b"\xff\xff\xff"]);
    assert!(keys(&*index, b"\xff", b"\xff\xff\xff\xff").is_empty());
}

fn from(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    fill(&*index, &[b"a", b"p", b"p1", b"p2", b"p3", b"q"]);
    assert_eq!(keys(&*index, b"", b"p2"), [&b"p2"[..], b"p3", b"q"]);
    assert_eq!(keys(&*index, b"p", b"p2"), [b"p2", b"p3"], "a from that is there comes first");
    assert_eq!(keys(&*index, b"p", b"p1\x00"), [b"p2", b"p3"], "a from that is not there need not be");
    assert_eq!(keys(&*index, b"p", b"p"), [&b"p"[..], b"p1", b"p2", b"p3"]);
    assert_eq!(keys(&*index, b"p", b"a"), [&b"p"[..], b"p1", b"p2", b"p3"], "a from before the prefix");
    assert_eq!(keys(&*index, b"p1", b"p"), [b"p1"], "a from that begins the prefix");
    assert!(keys(&*index, b"p", b"p4").is_empty());
    assert!(keys(&*index, b"p", b"q").is_empty(), "a from after the prefix");
    assert!(keys(&*index, b"p", b"zzz").is_empty());
    assert!(keys(&*index, b"", b"zzz").is_empty());
}

fn bounds_of_any_length(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let longest = vec![b'k'; MAX_KEY];
    fill(&*index, &[b"a", &longest, b"l"]);
    for more in [1, 31, 32, 1000, 100_000] {
        let longer = vec![b'k'; MAX_KEY + more];
        assert!(keys(&*index, &longer, b"").is_empty());
        assert!(keys(&*index, &longest, &longer).is_empty());
        assert_eq!(keys(&*index, b"", &longer), [b"l"], "the longest key sorts before what is longer");
        assert_eq!(keys(&*index, b"k", &vec![b'j'; MAX_KEY + more]), [&*longest]);
        assert!(keys(&*index, &vec![u8::MAX; MAX_KEY + more], b"").is_empty());
    }
    assert_eq!(keys(&*index, &longest, &longest), [&*longest]);
}

fn break_ends_a_scan(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    fill(&*index, &[b"a", b"b", b"c"]);
    for limit in 1..3 {
        assert_eq!(index.read(|txn| scanned(txn, b"", b"", limit)).unwrap().len(), limit);
        assert_eq!(index.write(|txn| scanned(txn, b"", b"", limit)).unwrap().len(), limit);
    }
    // The transaction goes on after it.
    let after: Result<_> = index.write(|txn| {
        scanned(txn, b"", b"", 1)?;
        txn.put(b"d", b"value")?;
        scanned(txn, b"", b"", usize::MAX)
    });
    assert_eq!(after.unwrap().len(), 4);
}

fn a_scan_sees_own_changes(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    fill(&*index, &[b"a", b"c", b"e"]);
    let seen: Result<_> = index.write(|txn| {
        txn.put(b"b", b"new")?;
        txn.put(b"c", b"changed")?;
        txn.delete(b"e")?;
        txn.put(b"f", b"new")?;
        txn.put(b"g", b"new")?;
        txn.delete(b"g")?;
        scanned(txn, b"", b"", usize::MAX)
    });
    let expected = [("a", "value"), ("b", "new"), ("c", "changed"), ("f", "new")];
    let expected = expected.map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
    assert_eq!(seen.unwrap(), expected);
    assert_eq!(index.read(|txn| scanned(txn, b"", b"", usize::MAX)).unwrap(), expected);
}

fn many_rows(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    let key = |number: u32| format!("row/{number:06}").into_bytes();
    put(&*index, b"row", b"before");
    put(&*index, b"row0", b"after");
    index
        .write(|txn| (0..20_000).try_for_each(|number| txn.put(&key(number * 7919 % 20_000), b"value").map(drop)))
        .unwrap();
    let expected: Vec<_> = (0..20_000).map(key).collect();
    assert_eq!(keys(&*index, b"row/", b""), expected);
    assert_eq!(keys(&*index, b"row/", &key(19_990)), expected[19_990..]);
    index.write(|txn| (0..20_000).step_by(2).try_for_each(|number| txn.delete(&key(number)).map(drop))).unwrap();
    assert_eq!(keys(&*index, b"row/", b""), expected.into_iter().skip(1).step_by(2).collect::<Vec<_>>());
}
