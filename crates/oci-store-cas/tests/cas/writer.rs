//! That no failure of a backend makes what is staged differ from what was hashed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Mutex;

use oci_store_cas::{Algorithm, Batch, Blob, BlobWriter, Digest, Error, Expect, Hasher, Result, Stage, VerifyReader};

fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
    hasher.update(bytes);
    hasher.finish()
}

/// A disk that takes few bytes at a time and is full every other time; it "reflinks" `clone`.
#[derive(Debug, Default)]
struct FullDisk {
    clone: Vec<u8>,
    sealed: Mutex<Vec<(Digest, Vec<u8>)>>,
}

#[derive(Debug)]
struct FullStage<'b> {
    disk: &'b FullDisk,
    bytes: Vec<u8>,
    full: bool,
}

impl Batch for FullDisk {
    fn stage(&self) -> Result<Box<dyn Stage + '_>> {
        Ok(Box::new(FullStage { disk: self, bytes: Vec::new(), full: true }))
    }
    fn persist(&self) -> Result<()> {
        Ok(())
    }
    fn open(&self, _: &Digest) -> Result<Option<Box<dyn Blob>>> {
        Ok(None)
    }
    fn forget(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }
}

impl Write for FullStage<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.full = !self.full;
        if self.full { Err(ErrorKind::StorageFull.into()) } else { self.bytes.write(&bytes[..bytes.len().min(3)]) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for FullStage<'_> {
    fn seal(self: Box<Self>, digest: &Digest) -> Result<()> {
        self.disk.sealed.lock().unwrap().push((digest.clone(), self.bytes));
        Ok(())
    }
    fn reflink(&mut self, _: &File) -> io::Result<bool> {
        self.bytes.clone_from(&self.disk.clone);
        Ok(true)
    }
    fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.bytes.as_slice()))
    }
}

/// The writer goes on after an error in the middle of a piece: all bytes taken are hashed, once.
#[test]
fn what_is_sealed_is_what_was_hashed() {
    let disk = FullDisk::default();
    let mut blob = BlobWriter::new(&disk, Expect::any(Algorithm::Sha256)).unwrap();
    assert_eq!(blob.write_all(b"abcdef").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(blob.written(), 3);
    blob.write_all(b"ghi").unwrap();
    let (digest, size) = blob.finish().unwrap();
    assert_eq!((&digest, size), (&sha256(b"abcghi"), 6));
    assert_eq!(*disk.sealed.lock().unwrap(), [(digest, b"abcghi".to_vec())]);
}

#[test]
fn reflinked_content_is_hashed() {
    let disk = FullDisk { clone: vec![7; 300_000], ..FullDisk::default() };
    let any_file = File::open("/dev/null").unwrap();
    let mut blob = BlobWriter::new(&disk, Expect::digest(sha256(&disk.clone)).size(300_000)).unwrap();
    let mut passed = 0;
    let mut count = |n| {
        passed += n;
        Ok(())
    };
    assert!(blob.reflink(&any_file, &mut count).unwrap());
    assert!(!blob.reflink(&any_file, &mut |_| Ok(())).unwrap(), "it is not empty any more");
    blob.finish().unwrap();
    assert_eq!(passed, 300_000);

    let blob = || BlobWriter::new(&disk, Expect::digest(sha256(b"other"))).unwrap();
    let mut wrong = blob();
    wrong.reflink(&any_file, &mut |_| Ok(())).unwrap();
    assert!(matches!(wrong.finish().unwrap_err(), Error::DigestMismatch { .. }));
}

/// The stage holds more than was hashed when a reflink turns out too long: its beginning must not pass for it.
#[test]
fn a_reflink_that_failed_cannot_be_finished() {
    let piece = 128 << 10;
    let disk = FullDisk { clone: vec![7; piece + 1], ..FullDisk::default() };
    let any_file = File::open("/dev/null").unwrap();
    let expect = Expect::digest(sha256(&disk.clone[..piece])).size(piece as u64);
    let mut blob = BlobWriter::new(&disk, expect).unwrap();
    let error = blob.reflink(&any_file, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { truncated: false, .. }), "{error:?}");
    assert!(!blob.reflink(&any_file, &mut |_| Ok(())).unwrap());
    blob.finish().unwrap_err();
    assert!(disk.sealed.lock().unwrap().is_empty());
}

#[test]
fn interrupted_sources_are_read_on() {
    struct Interrupted(u32);
    impl Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 | 3 => Err(ErrorKind::Interrupted.into()),
                2 => b"abc".as_slice().read(buffer),
                4 => Ok(0),
                _ => Err(ErrorKind::Other.into()),
            }
        }
    }
    let disk = FullDisk::default();
    let mut blob = BlobWriter::new(&disk, Expect::any(Algorithm::Sha256)).unwrap();
    blob.copy(&mut Interrupted(0), &mut |_| Ok(())).unwrap();
    assert_eq!(blob.finish().unwrap(), (sha256(b"abc"), 3));
}

/// A verifying source's verdict arrives as what it is, not wrapped in a stream's error.
#[test]
fn a_sources_own_error_comes_through() {
    let disk = FullDisk::default();
    let mut blob = BlobWriter::new(&disk, Expect::any(Algorithm::Sha256)).unwrap();
    let mut source = VerifyReader::new(b"abc".as_slice(), &sha256(b"xyz"), None).unwrap();
    let error = blob.copy(&mut source, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

#[test]
#[cfg(not(feature = "blake3"))]
fn an_algorithm_this_build_lacks_is_refused() {
    let disk = FullDisk::default();
    let error = BlobWriter::new(&disk, Expect::any(Algorithm::Blake3)).unwrap_err();
    assert_eq!(error.to_string(), "can't compute blake3");
}
