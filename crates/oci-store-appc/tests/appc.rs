//! The store of ACIs, over both indexes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use oci_store_appc::base::index::Backend;
use oci_store_appc::base::{self, Collected};
use oci_store_appc::{Caching, Error, Store, key};
use oci_store_index_lmdb::LmdbBackend;
use oci_store_index_sqlite::SqliteBackend;
use tempfile::TempDir;

const URL: &str = "https://example.com/app.aci";

fn backends() -> [Arc<dyn Backend>; 2] {
    [Arc::new(LmdbBackend), Arc::new(SqliteBackend)]
}

fn each(test: impl Fn(&Store, &dyn Fn() -> Store)) {
    for backend in backends() {
        let folder = TempDir::new().unwrap();
        let open = || Store::open(folder.path(), vec![backend.clone()]).unwrap();
        test(&open(), &open);
    }
}

fn caching(etag: &str, fetched: u64) -> Caching {
    Caching { etag: Some(etag.to_owned()), max_age: 60, fetched }
}

fn text(store: &Store, image: &base::cas::Digest) -> String {
    let mut text = String::new();
    store.read(image).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn images_and_keys() {
    each(|store, open| {
        let image = store.put(&mut &b"image"[..]).unwrap();
        assert_eq!((image.digest().algorithm(), image.size()), ("sha512", 5));
        let key = key(image.digest());
        assert_eq!(key.len(), "sha512-".len() + 64);
        assert!(image.digest().to_string().replace(':', "-").starts_with(&key));
        for prefix in [&key, &key[..12], &key[..9], &key[7..], &image.digest().to_string()] {
            assert_eq!(store.resolve(prefix).unwrap(), *image.digest());
        }
        let none = store.resolve("sha512-000000000000");
        assert!(matches!(none, Err(Error::Base(base::Error::BlobNotFound(_)))));
        assert_eq!(text(&open(), image.digest()), "image");
        let listed = store.images(None, 10).unwrap();
        assert_eq!((&listed[0].digest, listed[0].size, listed.len()), (image.digest(), 5, 1));
        assert_eq!(store.images(Some(image.digest()), 10).unwrap(), []);
    });
}

#[test]
fn an_image_without_a_record_goes() {
    each(|store, _| {
        let image = store.put(&mut &b"image"[..]).unwrap();
        let digest = image.digest().clone();
        assert_eq!(store.gc().unwrap(), Collected::default());
        assert_eq!(text(store, &digest), "image");
        drop(image);
        assert_eq!(store.gc().unwrap(), Collected { blobs: 1, bytes: 5, ..Collected::default() });
        assert!(matches!(store.read(&digest), Err(Error::Base(base::Error::BlobNotFound(_)))));
        assert!(store.images(None, 10).unwrap().is_empty());
    });
}

#[test]
fn records() {
    each(|store, open| {
        assert_eq!(store.remote(URL).unwrap(), None);
        let remote = store.fetch(URL, &caching("one", 1000), &mut &b"one"[..]).unwrap();
        assert_eq!(store.remote(URL).unwrap().as_ref(), Some(&remote));
        assert!(remote.is_fresh(1059) && !remote.is_fresh(1060));
        // Two records of one image.
        let image = store.put(&mut &b"one"[..]).unwrap();
        let other = store.record("https://example.com/other", &caching("x", 0), &image).unwrap();
        drop(image);
        assert_eq!(other.image, remote.image);
        assert_eq!(store.gc().unwrap(), Collected::default());
        let store = &open();
        assert_eq!(store.remotes("", None, 10).unwrap(), [remote.clone(), other.clone()]);
        assert_eq!(store.remotes("https://example.com/a", None, 10).unwrap().as_slice(), std::slice::from_ref(&remote));
        assert_eq!(store.remotes("", Some(URL), 10).unwrap(), [other]);
        assert!(store.remove(URL).unwrap() && !store.remove(URL).unwrap());
        assert_eq!(store.gc().unwrap(), Collected::default());
        assert!(store.remove("https://example.com/other").unwrap());
        assert_eq!(store.gc().unwrap().blobs, 1);
        let long = format!("https://{}", "x".repeat(4088));
        store.fetch(&long, &caching("long", 0), &mut &b"long"[..]).unwrap();
        assert_eq!(store.remote(&long).unwrap().unwrap().url, long);
        let bad = store.fetch(&format!("{long}x"), &caching("", 0), &mut &b""[..]);
        assert!(matches!(bad, Err(Error::Base(base::Error::InvalidName { .. }))));
    });
}

#[test]
fn refreshes() {
    each(|store, _| {
        let first = store.fetch(URL, &caching("one", 1000), &mut &b"one"[..]).unwrap();
        let renewed = store.refresh(&first, &caching("one", 1100)).unwrap();
        assert!(!first.is_fresh(1100) && renewed.is_fresh(1100) && renewed.image == first.image);
        assert_eq!(store.remote(URL).unwrap().as_ref(), Some(&renewed));
        assert_eq!(store.gc().unwrap(), Collected::default());
        // One who has read it before comes too late.
        let late = store.refresh(&first, &caching("one", 1200));
        assert!(matches!(late, Err(Error::Changed { url }) if url == URL));
        assert_eq!(store.remote(URL).unwrap().unwrap(), renewed);
        // Another image takes its place.
        let second = store.fetch(URL, &caching("two", 1300), &mut &b"two!"[..]).unwrap();
        assert_eq!(store.gc().unwrap(), Collected { blobs: 1, bytes: 3, ..Collected::default() });
        assert_eq!(text(store, &second.image), "two!");
        store.remove(URL).unwrap();
        assert!(matches!(store.refresh(&second, &caching("two", 1400)), Err(Error::Changed { .. })));
    });
}

#[test]
fn a_failed_fetch_leaves_nothing() {
    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    each(|store, _| {
        let kept = store.fetch(URL, &caching("one", 1), &mut &b"one"[..]).unwrap();
        let source = &mut (&b"half of it"[..]).chain(Cut);
        assert!(store.fetch(URL, &caching("two", 2), source).is_err());
        assert_eq!(store.remote(URL).unwrap(), Some(kept));
        assert_eq!(store.images(None, 10).unwrap().len(), 1);
    });
}

#[test]
fn a_damaged_record_is_typed() {
    each(|store, _| {
        let remote = store.fetch(URL, &caching("one", 1), &mut &b"one"[..]).unwrap();
        let any = base::Condition::Any;
        let set = |value: &[u8], blob| {
            store.base().update(|txn| txn.set_data(base::Space::Store, "remote", URL, value, blob, any)).unwrap();
        };
        set(b"{", Some(&remote.image));
        assert!(matches!(store.remote(URL), Err(Error::Record { url, .. }) if url == URL));
        set(br#"{"etag":null,"max_age":1,"fetched":2}"#, None);
        assert!(matches!(store.remotes("", None, 9), Err(Error::Record { .. })));
    });
}

#[test]
fn other_kinds_of_stores_are_not_opened() {
    for backend in backends() {
        let folder = TempDir::new().unwrap();
        let open = |root: &Path| Store::open(root, vec![backend.clone()]);
        base::OpenOptions::new("oci", vec![backend.clone()]).open(folder.path()).unwrap();
        assert!(matches!(open(folder.path()), Err(Error::Base(base::Error::Kind { found, .. })) if found == "oci"));
        let absent = folder.path().join("absent");
        let options = |options: base::OpenOptions| options.create(false);
        let refused = Store::open_with(absent, vec![backend.clone()], options);
        assert!(matches!(refused, Err(Error::Base(base::Error::NoStore(_)))));
    }
}

#[test]
fn fetchers_share_a_store() {
    each(|store, open| {
        thread::scope(|scope| {
            for n in 0..4 {
                let store = if n % 2 == 0 { store.clone() } else { open() };
                scope.spawn(move || {
                    for round in 0..5 {
                        let body = format!("image {}", round % 3);
                        let remote = store.fetch(URL, &caching(&body, round), &mut body.as_bytes()).unwrap();
                        match store.refresh(&remote, &caching(&body, round + 1)) {
                            Ok(_) | Err(Error::Changed { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        store.gc().unwrap();
                    }
                });
            }
        });
        let last = store.remote(URL).unwrap().unwrap();
        assert_eq!(Some(text(store, &last.image)), last.caching.etag);
        store.gc().unwrap();
        assert_eq!(store.images(None, 10).unwrap().len(), 1);
    });
}
