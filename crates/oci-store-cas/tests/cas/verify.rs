//! Reading with a verdict at the end.

use std::io::{self, ErrorKind, Read};

use oci_store_cas::{Algorithm, Digest, Error, Hasher, VerifyReader};

fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
    hasher.update(bytes);
    hasher.finish()
}

fn reader(bytes: &'static [u8], of: &[u8], size: Option<u64>) -> VerifyReader<&'static [u8]> {
    VerifyReader::new(bytes, &sha256(of), size).unwrap()
}

/// Says `Interrupted` before each byte.
struct Halting(&'static [u8], bool);

impl Read for Halting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 { Err(ErrorKind::Interrupted.into()) } else { self.0.by_ref().take(1).read(buffer) }
    }
}

#[test]
fn right_bytes_pass() {
    for size in [None, Some(5)] {
        let mut text = String::new();
        let mut reader = reader(b"hello", b"hello", size);
        assert_eq!(reader.read_to_string(&mut text).unwrap(), 5);
        assert_eq!(text, "hello");
        assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0, "the end stays the end");
    }
    assert_eq!(reader(b"", b"", Some(0)).check(&mut |_| Ok(())).unwrap(), 0);
}

#[test]
fn a_buffer_of_no_bytes_is_not_the_end() {
    let mut reader = reader(b"hello", b"hello", Some(5));
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn interruptions_are_none_of_its_business() {
    let halting = || VerifyReader::new(Halting(b"hello", false), &sha256(b"hello"), Some(5)).unwrap();
    let mut passed = Vec::new();
    let mut note = |n| {
        passed.push(n);
        Ok(())
    };
    assert_eq!(halting().check(&mut note).unwrap(), 5);
    assert_eq!(passed, [1; 5]);
    let mut text = String::new();
    halting().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn wrong_bytes_fail_and_go_on_failing() {
    let mut reader = reader(b"hullo", b"hello", Some(5));
    let mut buffer = [0; 5];
    reader.read_exact(&mut buffer).unwrap();
    for _ in 0..3 {
        let error = reader.read(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let Error::DigestMismatch { expected, actual } = error.into() else { panic!("the crate's error is lost") };
        assert_eq!((expected, actual), (sha256(b"hello"), sha256(b"hullo")));
    }
}

#[test]
fn too_few_and_too_many() {
    let error = reader(b"hell", b"hell", Some(5)).check(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 5, actual: 4, truncated: true, .. }), "{error:?}");
    let error = reader(b"hello!!!", b"hello!!!", Some(5)).check(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { expected: 5, actual: 6, truncated: false, .. }), "{error:?}");
    // It comes back from a source without an end.
    let endless = VerifyReader::new(io::repeat(0), &sha256(b""), Some(5)).unwrap();
    endless.check(&mut |_| Ok(())).unwrap_err();
    let mut reader = reader(b"hello!!!", b"hello!!!", Some(5));
    for _ in 0..2 {
        assert_eq!(reader.read(&mut [0; 99]).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn an_error_of_the_callback_ends_it() {
    let mut stop = |_| Err(Error::BatchName("stop".to_owned()));
    let error = VerifyReader::new(io::repeat(0), &sha256(b""), None).unwrap().check(&mut stop).unwrap_err();
    assert!(matches!(error, Error::BatchName(_)));
}

#[test]
fn an_error_of_reading_names_the_blob() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let error = VerifyReader::new(Broken, &sha256(b"x"), None).unwrap().check(&mut |_| Ok(())).unwrap_err();
    let Error::Io { path, source } = &error else { panic!("{error:?}") };
    assert_eq!((path.to_str().unwrap(), source.raw_os_error()), (sha256(b"x").to_string().as_str(), Some(5)));
}
