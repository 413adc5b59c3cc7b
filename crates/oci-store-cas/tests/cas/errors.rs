//! The lines that a user gets to read.

use std::io::{self, ErrorKind};

use oci_store_cas::{Digest, Error};

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

#[test]
fn messages() {
    let size = |actual, truncated| Error::SizeMismatch { digest: digest("a:b"), expected: 15, actual, truncated };
    let cases = [
        (size(12, true), "a:b: 12 bytes where its descriptor says 15"),
        (size(16, false), "a:b: 16 or more bytes where its descriptor says 15"),
        (Error::DigestMismatch { expected: digest("a:b"), actual: digest("a:c") }, "a:b: the bytes are those of a:c"),
        (Error::BatchName("A\n".to_owned()), "\"A\\n\" is no name for a batch: it takes 1 to 64 of a-z, 0-9 and -"),
        (Error::io("/some/path")(ErrorKind::NotFound.into()), "/some/path: entity not found"),
        (Error::Stream(io::Error::other("broken pipe")), "broken pipe"),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn errors_survive_a_reader() {
    let round = |error: Error| Error::from(io::Error::from(error));
    assert!(matches!(round(Error::BatchName("x".to_owned())), Error::BatchName(name) if name == "x"));
    let io = round(Error::io("/path")(ErrorKind::StorageFull.into()));
    assert_eq!(io::Error::from(io).kind(), ErrorKind::StorageFull);
    let Error::Stream(plain) = round(io::Error::from_raw_os_error(28).into()) else { panic!() };
    assert_eq!(plain.raw_os_error(), Some(28));
}

#[test]
fn errors_are_small() {
    assert!(size_of::<Error>() <= 96, "{}", size_of::<Error>());
}
