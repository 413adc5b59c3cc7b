//! Parsing, printing, order and key form of digests.

use oci_store_cas::{Algorithm, Digest, Hasher};
use proptest::prelude::*;

const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn parse(text: &str) -> Digest {
    text.parse().unwrap()
}

#[test]
fn parts() {
    let digest = parse(ABC);
    assert_eq!(digest.algorithm(), "sha256");
    assert_eq!(digest.encoded(), &ABC[7..]);
    assert_eq!(digest.known_algorithm(), Some(Algorithm::Sha256));
    assert_eq!(digest.raw().len(), 32);
    assert_eq!((digest.to_string(), format!("{digest:?}")), (ABC.to_owned(), ABC.to_owned()));
    assert_eq!(format!("{:>73}", digest), format!("  {ABC}"));

    let other = parse("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564");
    assert_eq!((other.algorithm(), other.known_algorithm()), ("sha256+b64u", None));
    assert_eq!(other.encoded(), "LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564");
}

#[test]
fn digests_are_small() {
    assert!(size_of::<Digest>() <= 40, "{}", size_of::<Digest>());
}

#[test]
fn raw_bytes_need_the_right_number() {
    for algorithm in Algorithm::ALL {
        let digest = Digest::from_raw(algorithm, &vec![0xa5; algorithm.len()]).unwrap();
        assert_eq!(digest.to_string(), format!("{algorithm}:{}", "a5".repeat(algorithm.len())));
        assert!(Digest::from_raw(algorithm, &vec![0; algorithm.len() - 1]).is_none());
        assert!(Digest::from_raw(algorithm, &vec![0; algorithm.len() + 1]).is_none());
        assert_eq!(Algorithm::by_name(algorithm.name()), Some(algorithm));
    }
    assert_eq!(Algorithm::by_name("SHA256"), None);
}

#[test]
fn what_the_grammar_allows() {
    let longest = format!("x:{}", "y".repeat(Digest::MAX_TEXT - 2));
    for text in ["a:b", "md6:AZaz09=_-", "a+b.c_d-e:f", "multihash+base58:QmRZ", "sha256x:ab", "0:-", &longest] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn what_it_does_not() {
    let long = format!("x:{}", "y".repeat(Digest::MAX_TEXT - 1));
    let upper = ABC.to_uppercase().replace("SHA256", "sha256");
    let cases = [
        ("", "colon"),
        ("sha256", "colon"),
        (":", "algorithm"),
        (":ab", "algorithm"),
        ("foo:", "follows"),
        ("sha256:", "wrong length"),
        ("sha256:abcd", "wrong length"),
        (&ABC[..70], "wrong length"),
        (&format!("{ABC}0"), "wrong length"),
        (&upper, "lower-case hex"),
        (&ABC.replace("ba78", "ga78"), "lower-case hex"),
        (&ABC.replace("ba78", "éé"), "lower-case hex"),
        (&ABC.replace("sha256", "sha512"), "wrong length"),
        (&ABC.replace("sha256", "SHA256"), "algorithm"),
        (&format!(" {ABC}"), "algorithm"),
        (&format!("{ABC}\n"), "wrong length"),
        ("foo:a:b", "follows"),
        ("foo:a/b", "follows"),
        ("foo:..", "follows"),
        ("foo:a+b", "follows"),
        ("foo:\0", "follows"),
        ("../foo:a", "algorithm"),
        ("a..b:c", "algorithm"),
        ("+a:b", "algorithm"),
        ("a-:b", "algorithm"),
        ("ä:b", "algorithm"),
        (&long, "too long"),
    ];
    for (text, why) in cases {
        let error = text.parse::<Digest>().unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    let error = "\n\x1b[31m:".parse::<Digest>().unwrap_err().to_string();
    assert!(!error.contains('\n') && !error.contains('\x1b'), "one clear line: {error}");
    assert!("x".repeat(1 << 20).parse::<Digest>().unwrap_err().to_string().len() < 300);
}

#[test]
fn json_is_text() {
    let json = format!("\"{ABC}\"");
    assert_eq!(serde_json::to_string(&parse(ABC)).unwrap(), json);
    assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), parse(ABC));
    let error = serde_json::from_str::<Digest>("\"sha256:1\"").unwrap_err().to_string();
    assert!(error.contains("wrong length"), "{error}");
}

#[test]
fn foreign_keys_are_refused() {
    let key = |code: u8, rest: &[u8]| [&[code], rest].concat();
    let bad = [
        vec![],
        vec![0],
        vec![1],
        key(1, &[0; 31]),
        key(9, &[0; 64]),
        key(0, b"foo:bar"),
        key(0, b"foo\0"),
        key(0, b"\xff:a\0"),
        // A registered algorithm written out would be a second key of the same digest.
        key(0, format!("{ABC}\0").as_bytes()),
    ];
    for bytes in bad {
        assert!(Digest::split_key(&bytes).is_none(), "{bytes:?}");
    }
}

/// Digests of all kinds, close to each other often enough.
fn digests() -> impl Strategy<Value = Digest> {
    let known = (0..Algorithm::ALL.len(), prop::collection::vec(prop_oneof![0..=2_u8, any::<u8>()], 64))
        .prop_map(|(n, raw)| Digest::from_raw(Algorithm::ALL[n], &raw[..Algorithm::ALL[n].len()]).unwrap());
    let other = "[ab]{1,3}([+._-][a-z0-9]{1,4}){0,2}:[a-zA-Z0-9=_-]{1,40}".prop_map(|text| text.parse().unwrap());
    let short = "[ab]{1,2}:[AB]{1,3}".prop_map(|text| text.parse().unwrap());
    prop_oneof![known, other, short]
}

/// Image-spec, *Digests*, written once more in another way.
fn in_grammar(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let mut after_separator = true;
    for c in algorithm.chars() {
        match c {
            'a'..='z' | '0'..='9' => after_separator = false,
            '+' | '.' | '_' | '-' if !after_separator => after_separator = true,
            _ => return false,
        }
    }
    let hex = |len| encoded.len() == len && encoded.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    !after_separator
        && match algorithm {
            "sha256" | "blake3" => hex(64),
            "sha384" => hex(96),
            "sha512" => hex(128),
            _ => {
                !encoded.is_empty()
                    && encoded.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '=' | '_' | '-'))
                    && text.len() <= Digest::MAX_TEXT
            }
        }
}

proptest! {
    #[test]
    fn text_round_trips(digest in digests()) {
        let text = digest.to_string();
        prop_assert_eq!(&text, &format!("{}:{}", digest.algorithm(), digest.encoded()));
        prop_assert_eq!(parse(&text), digest);
    }

    #[test]
    fn keys_round_trip(digest in digests(), behind in prop::collection::vec(any::<u8>(), 0..20)) {
        let key = digest.to_key();
        prop_assert!(key.len() <= Digest::MAX_TEXT + 2);
        if let Some(algorithm) = digest.known_algorithm() {
            prop_assert!(key.starts_with(&Digest::key_prefix(algorithm)));
        }
        let bytes = [key.as_slice(), &behind].concat();
        prop_assert_eq!(Digest::split_key(&bytes), Some((digest, behind.as_slice())));
    }

    #[test]
    fn keys_sort_as_digests(a in digests(), b in digests()) {
        let (a_key, b_key) = (a.to_key(), b.to_key());
        if a.known_algorithm() == b.known_algorithm() {
            prop_assert_eq!(a_key.cmp(&b_key), a.cmp(&b));
        }
        prop_assert_eq!(a == b, a_key == b_key);
        prop_assert_eq!(a == b, a_key.starts_with(&b_key), "no key is a prefix of another one");
    }

    #[test]
    fn keys_that_are_read_are_those_that_are_written(bytes in prop::collection::vec(any::<u8>(), 0..150)) {
        if let Some((digest, behind)) = Digest::split_key(&bytes) {
            prop_assert_eq!([digest.to_key().as_slice(), behind].concat(), bytes);
        }
    }

    #[test]
    fn any_text_is_judged_by_the_grammar(text in prop_oneof![
        any::<String>(),
        "\\PC{0,8}:\\PC{0,70}",
        "[a-c+._-]{0,6}:[a-zA-Z0-9=_:/.-]{0,6}",
        "(sha256|sha384|sha512|blake3|sha25):[0-9a-g]{62,66}",
        "[a-z]{1,60}:[a-z]{50,80}",
    ]) {
        let parsed = text.parse::<Digest>();
        prop_assert_eq!(parsed.is_ok(), in_grammar(&text), "{:?}", text);
        if let Ok(digest) = parsed {
            prop_assert_eq!(digest.to_string(), text);
            for part in [digest.algorithm(), &digest.encoded()] {
                prop_assert!(!part.contains(['/', '\0']) && part != "." && part != ".." && !part.is_empty());
            }
        }
    }

    #[test]
    fn hashing_in_pieces_is_hashing_at_once(bytes in prop::collection::vec(any::<u8>(), 0..500), at in 0..500_usize) {
        let (begin, end) = bytes.split_at(at.min(bytes.len()));
        for algorithm in Algorithm::ALL {
            let Some(mut whole) = Hasher::new(algorithm) else { continue };
            let mut pieces = whole.clone();
            whole.update(&bytes);
            pieces.update(begin);
            pieces.update(end);
            prop_assert_eq!(whole.finish(), pieces.finish());
        }
    }
}
