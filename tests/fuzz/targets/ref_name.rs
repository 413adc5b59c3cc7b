//! Ref names: exactly those of the image-spec's grammar are accepted, here written as a regular expression.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oci_store_oci::RefName;
use regex::Regex;

static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let component = "[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*";
    Regex::new(&format!("^{component}(?:/{component})*$")).unwrap()
});

fuzz_target!(|text: &str| {
    let parsed = text.parse::<RefName>();
    let expected = text.len() <= RefName::MAX && !text.contains('\n') && GRAMMAR.is_match(text);
    assert_eq!(parsed.is_ok(), expected, "{text:?}");
    match parsed {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert_eq!(name.to_string().parse::<RefName>().unwrap(), name);
        }
        Err(error) => {
            let line = error.to_string();
            assert!(line.len() < 1000 && !line.chars().any(char::is_control), "{line:?}");
        }
    }
});
