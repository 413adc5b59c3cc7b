//! Digests: what is accepted prints as it was, sorts as its key does, and is safe as two file names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_store_cas::Digest;

fuzz_target!(|data: &[u8]| {
    if let Some((digest, rest)) = Digest::split_key(data) {
        let key = digest.to_key();
        assert_eq!([key.as_slice(), rest].concat(), data, "one digest has one key");
        check(&digest.to_string());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Two of them, to see how they sort.
    let mut lines = text.lines();
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if let (Some(a), Some(b)) = (check(first), check(second)) {
        assert_eq!(a == b, a.to_key() == b.to_key());
        let same_kind = a.known_algorithm() == b.known_algorithm();
        assert!(!same_kind || (a < b) == (a.to_key() < b.to_key()), "{a} and {b} sort unlike their keys");
        assert!(a == b || !a.to_key().starts_with(&b.to_key()), "a key begins with another");
    }
});

fn check(text: &str) -> Option<Digest> {
    let digest: Digest = match text.parse() {
        Ok(digest) => digest,
        Err(error) => {
            assert!(error.to_string().len() < 2000, "a message of any length");
            return None;
        }
    };
    assert_eq!(digest.to_string(), text);
    assert_eq!(format!("{}:{}", digest.algorithm(), digest.encoded()), text);
    assert_eq!(serde_json::from_str::<Digest>(&serde_json::to_string(&digest).unwrap()).unwrap(), digest);
    assert_eq!(Digest::split_key(&digest.to_key()), Some((digest.clone(), &[][..])));
    assert!(digest.to_key().len() <= Digest::MAX_TEXT + 2);
    for part in [digest.algorithm(), &digest.encoded()] {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '/' && c != '\\';
        assert!(
            !part.is_empty() && part.len() < 255 && !part.starts_with('.') && part.chars().all(is_plain),
            "{part:?}"
        );
    }
    Some(digest)
}
