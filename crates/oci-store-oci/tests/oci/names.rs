use oci_store_oci::{PlatformSpec, RefName};
use proptest::prelude::*;

/// The grammar, read character by character: an independent second opinion.
fn oracle(name: &str) -> bool {
    let component = |part: &str| {
        let chars: Vec<char> = part.chars().collect();
        let mut at = 0;
        loop {
            let begin = at;
            while at < chars.len() && chars[at].is_ascii_alphanumeric() {
                at += 1;
            }
            if at == begin {
                return false;
            }
            if at == chars.len() {
                return true;
            }
            at += match (chars[at], chars.get(at + 1)) {
                ('-', Some('-')) => 2,
                ('-' | '.' | '_' | ':' | '@' | '+', _) => 1,
                _ => return false,
            };
        }
    };
    name.len() <= 1024 && !name.is_empty() && name.split('/').all(component)
}

#[test]
fn names_by_the_grammar() {
    let long = "a".repeat(1024);
    let longer = "a".repeat(1025);
    for (name, good) in [
        ("latest", true),
        ("v1.0", true),
        ("nginx:1.27", true),
        ("localhost:5000/a/b:v1", true),
        ("a@sha256:0c45", true),
        ("a--b", true),
        ("a+b_c", true),
        (&long, true),
        (&longer, false),
        ("", false),
        ("/", false),
        ("a/", false),
        ("/a", false),
        ("a//b", false),
        ("-a", false),
        ("a-", false),
        ("a---b", false),
        ("a..b", false),
        ("a__b", false),
        ("..", false),
        ("a b", false),
        ("a\n", false),
        ("a\0b", false),
        ("\u{1b}[31m", false),
        ("é", false),
        ("a\u{301}", false),
        ("１", false),
    ] {
        assert_eq!(name.parse::<RefName>().is_ok(), good, "{name:?}");
        assert_eq!(oracle(name), good, "{name:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_algorithm: prop::test_runner::RngAlgorithm::ChaCha, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn names_as_the_oracle_says(name in "[a1Z/._:@+ é-]{0,12}") {
        let parsed = name.parse::<RefName>();
        prop_assert_eq!(parsed.is_ok(), oracle(&name), "{:?}", name);
        if let Ok(parsed) = parsed {
            prop_assert_eq!(parsed.to_string(), name);
        }
    }
}

#[test]
fn names_in_messages_are_plain_text() {
    for name in ["\u{1b}[31m", "a\nb", &"\u{7}".repeat(5000)] {
        let text = name.parse::<RefName>().unwrap_err().to_string();
        assert!(!text.chars().any(char::is_control) && text.len() < 1000, "{text:?}");
    }
}

#[test]
fn platforms() {
    for good in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
        assert!(good.parse::<PlatformSpec>().is_ok(), "{good}");
    }
    for bad in ["", "linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x", "/"] {
        assert!(bad.parse::<PlatformSpec>().is_err(), "{bad}");
    }
}
