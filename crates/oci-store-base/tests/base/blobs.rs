//! Blobs: writing, rows, lists, partial digests.

use oci_store_base::{BlobFilter, Condition, Error, Space};
use oci_store_cas::{Algorithm, Digest, Expect};

use crate::common::{any, assert_blobs, benches, digest, failure, files, has_row, loose, put, read, write};

#[test]
fn known_and_unknown_digests() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        let blob = write(&lease, b"hello");
        assert_eq!((&blob.digest, blob.size), (&digest(b"hello"), 5));
        assert_eq!(read(&store, &blob.digest), b"hello");
        assert!(store.has(&blob.digest).unwrap());

        let known = Expect::digest(digest(b"known")).size(5);
        lease.write(known, "", &mut &b"known"[..]).unwrap();
        assert_eq!(read(&store, &digest(b"known")), b"known");

        // What is not what it should be leaves nothing.
        let wrong = lease.write(Expect::digest(digest(b"right")), "", &mut &b"wrong"[..]);
        assert!(matches!(failure(wrong), Error::Cas(oci_store_cas::Error::DigestMismatch { .. })), "{}", bench.name);
        let long = lease.write(Expect::digest(digest(b"long")).size(3), "", &mut &b"long"[..]);
        assert!(matches!(failure(long), Error::Cas(oci_store_cas::Error::SizeMismatch { .. })));
        assert_blobs(&store, &[&digest(b"hello"), &digest(b"known")]);

        let sha512 = lease.write(Expect::any(Algorithm::Sha512), "", &mut &b"hello"[..]).unwrap().digest;
        assert_eq!((sha512.algorithm(), sha512.encoded().len()), ("sha512", 128));
        assert_eq!(read(&store, &sha512), b"hello");
        let listed = store.view(|view| view.blobs(&BlobFilter::default(), None, 10)).unwrap();
        assert_eq!(listed.last().unwrap().digest, sha512, "sorts by algorithm");
    }
}

#[test]
fn info_and_media_types() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        let info = |digest: &Digest| store.view(|view| view.blob(digest)).unwrap().unwrap();
        let digest = lease.write(any(), "", &mut &b"blob"[..]).unwrap().digest;
        let first = info(&digest);
        assert_eq!((first.size, first.media_type.as_str(), first.damaged), (4, "", false));
        assert!(first.created > 1_600_000_000 && first.verified == Some(first.created));
        // The first type that is known stays.
        lease.write(any(), "a/b", &mut &b"blob"[..]).unwrap();
        assert_eq!(info(&digest).media_type, "a/b");
        lease.write(any(), "c/d", &mut &b"blob"[..]).unwrap();
        assert_eq!(info(&digest).media_type, "a/b");
        assert_eq!(info(&digest).created, first.created);
        assert!(store.view(|view| view.blob(&self::digest(b"none"))).unwrap().is_none());
    }
}

#[test]
fn damage_is_noted_and_repaired() {
    for bench in benches() {
        let store = bench.open();
        let digest = put(&store, "r", b"original");
        assert!(store.check_blob(&digest, &mut |_| Ok(())).unwrap());
        let path = store.root().join("blobs/sha256").join(digest.encoded());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"modified").unwrap();
        assert!(!store.check_blob(&digest, &mut |_| Ok(())).unwrap());
        assert!(!store.has(&digest).unwrap());
        // The next one who has it replaces it.
        write(&store.lease("test").unwrap(), b"original");
        assert!(store.has(&digest).unwrap());
        assert_eq!(read(&store, &digest), b"original");
        std::fs::remove_file(&path).unwrap();
        assert!(!store.has(&digest).unwrap());
        assert!(matches!(failure(store.read_blob(&digest)), Error::BlobNotFound(_)));
    }
}

#[test]
fn filters_and_pages() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        for n in 0..25_u8 {
            let bytes = vec![n; usize::from(n)];
            let media_type = if n % 2 == 0 { "even" } else { "odd" };
            lease.write(any(), media_type, &mut bytes.as_slice()).unwrap();
        }
        lease.write(Expect::any(Algorithm::Sha512), "even", &mut &b"x"[..]).unwrap();
        let list = |filter: BlobFilter| store.view(|view| view.blobs(&filter, None, 100)).unwrap().len();
        assert_eq!(list(BlobFilter::default()), 26);
        assert_eq!(list(BlobFilter { media_type: Some("odd".into()), ..Default::default() }), 12);
        assert_eq!(list(BlobFilter { algorithm: Some("sha512".into()), ..Default::default() }), 1);
        assert_eq!(list(BlobFilter { min_size: Some(20), ..Default::default() }), 5);
        assert_eq!(list(BlobFilter { max_size: Some(1), ..Default::default() }), 3);
        assert_eq!(list(BlobFilter { created_before: Some(1_000_000), ..Default::default() }), 0);
        assert_eq!(list(BlobFilter { created_since: Some(1_000_000), ..Default::default() }), 26);
        assert_eq!(list(BlobFilter { used_before: Some(u64::MAX), ..Default::default() }), 26);

        let filter = BlobFilter { media_type: Some("even".into()), ..Default::default() };
        let whole = store.view(|view| view.blobs(&filter, None, 100)).unwrap();
        let mut paged = Vec::new();
        loop {
            let page =
                store.view(|view| view.blobs(&filter, paged.last().map(|b: &oci_store_base::BlobInfo| &b.digest), 4));
            let page = page.unwrap();
            let last = page.len() < 4;
            paged.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(paged, whole);
        assert!(store.view(|view| view.blobs(&filter, None, 0)).unwrap().is_empty());
        // Behind a digest that is not there.
        let after = "sha256:7000000000000000000000000000000000000000000000000000000000000000".parse().unwrap();
        let behind = store.view(|view| view.blobs(&BlobFilter::default(), Some(&after), 100)).unwrap();
        assert!(behind.iter().all(|blob| blob.digest > after) && behind.len() < 26);
    }
}

#[test]
fn partial_digests() {
    for bench in benches() {
        let store = bench.open();
        let resolve = |text: &str| store.view(|view| view.resolve(text));
        let digests: Vec<Digest> = (0..600_u32).map(|n| digest(&n.to_be_bytes())).collect();
        let lease = store.lease("test").unwrap();
        // Few are written the long way; the index does not care for files.
        for n in 0..40_u32 {
            write(&lease, &n.to_be_bytes());
        }
        for digest in digests.iter().take(40) {
            let hex = digest.encoded();
            for length in [2, 3, 5, 8, 13, 63, 64] {
                let part = &hex[..length];
                let matching: Vec<&Digest> =
                    digests.iter().take(40).filter(|other| other.encoded().starts_with(part)).collect();
                for text in [format!("sha256:{part}"), format!("sha256-{part}"), part.to_owned()] {
                    match (resolve(&text), matching.as_slice()) {
                        (Ok(found), [one]) => assert_eq!(found, **one),
                        (Err(Error::Ambiguous { candidates, more, .. }), many) => {
                            let mut many: Vec<Digest> = many.iter().map(|digest| (*digest).clone()).collect();
                            many.sort();
                            assert_eq!((candidates, more), (many, false));
                        }
                        (other, _) => panic!("{text}: {other:?} for {matching:?}"),
                    }
                }
            }
        }
        for none in ["sha512:ab", "sha384-ab", "0123456789abcdef", "sha256:0123456789abcdef0", "other:abc"] {
            assert!(matches!(failure(resolve(none)), Error::BlobNotFound(_)), "{none}");
        }
        let whole = format!("sha256:{}", "0".repeat(64));
        assert!(matches!(failure(resolve(&whole)), Error::BlobNotFound(_)));
        assert!(matches!(failure(resolve(&"0".repeat(66))), Error::BlobNotFound(_)));
        for bad in ["", "a", "sha256:", "sha256:a", "sha256:ABCD", "ABCD", "md5:ab:cd", "sha256:xy", "nothex", "é0"] {
            assert!(matches!(failure(resolve(bad)), Error::InvalidPrefix { .. }), "{bad}");
        }
    }
}

#[test]
fn ambiguous_lists_candidates_over_algorithms() {
    for bench in benches() {
        let store = bench.open();
        let lease = store.lease("test").unwrap();
        // Enough that some two digits have many: 256 prefixes, 16 candidates at the most.
        let mut written = std::collections::BTreeMap::<String, Vec<Digest>>::new();
        for n in 0..12_u32 {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let blob = lease.write(Expect::any(algorithm), "", &mut &n.to_be_bytes()[..]).unwrap();
                written.entry(blob.digest.encoded()[..2].to_owned()).or_default().push(blob.digest);
            }
        }
        for (part, mut digests) in written {
            digests.sort();
            match (store.view(|view| view.resolve(&part)), digests.as_slice()) {
                (Ok(found), [one]) => assert_eq!(found, *one),
                (Err(Error::Ambiguous { candidates, .. }), _) => assert_eq!(candidates, digests),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn more_candidates_than_are_listed() {
    // Rows are made by a reindex of files with names of our choice: it does not read them.
    for bench in benches() {
        let store = bench.open();
        let folder = store.root().join("blobs/sha256");
        std::fs::create_dir_all(&folder).unwrap();
        for n in 0..20 {
            std::fs::write(folder.join(format!("ab{n:062x}")), b"x").unwrap();
        }
        let (store, found, ()) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert_eq!(found.blobs, 20);
        let count = |text: &str| match failure(store.view(|view| view.resolve(text))) {
            Error::Ambiguous { candidates, more, .. } => (candidates.len(), more),
            other => panic!("{other}"),
        };
        assert_eq!(count("ab"), (16, true));
        assert_eq!(count("ab0"), (16, true));
        assert_eq!(count(&format!("ab{:060x}1", 0)), (4, false));
        assert_eq!(files(&store).len(), 20);
    }
}

#[test]
fn additional_data_goes_with_its_blob() {
    for bench in benches() {
        let store = bench.open();
        crate::common::settle(&store);
        let digest = loose(&store, b"blob");
        let long = "k".repeat(4096);
        let longer = format!("{}z", "k".repeat(4095));
        store
            .update(|txn| {
                for (kind, value) in [("size", "1"), (&long, "22"), (&longer, "333"), ("", "")] {
                    let set = txn.set_blob_data(&digest, kind, value.as_bytes());
                    assert_eq!(set.is_err(), kind.is_empty());
                }
                assert!(matches!(
                    failure(txn.set_blob_data(&digest, &"k".repeat(4097), b"")),
                    Error::InvalidName { .. }
                ));
                let absent = txn.set_blob_data(&self::digest(b"absent"), "size", b"");
                assert!(matches!(failure(absent), Error::BlobNotFound(_)));
                Ok::<_, Error>(())
            })
            .unwrap();
        let get = |kind: &str| store.view(|view| view.blob_data(&digest, kind)).unwrap();
        assert_eq!(get("size").unwrap(), b"1");
        assert_eq!(get(&long).unwrap(), b"22");
        assert_eq!(get(&longer).unwrap(), b"333");
        assert_eq!(get("none"), None);
        let list = || store.view(|view| view.blob_data_list(&digest)).unwrap();
        assert_eq!(list(), [(long.clone(), 2), (longer, 3), ("size".to_owned(), 1)]);
        assert!(store.update(|txn| txn.delete_blob_data(&digest, &long)).unwrap());
        assert!(!store.update(|txn| txn.delete_blob_data(&digest, &long)).unwrap());
        assert_eq!(list().len(), 2);

        // It keeps nothing, and does not come back with the blob.
        crate::common::gc(&store);
        assert!(!has_row(&store, &digest));
        loose(&store, b"blob");
        assert_eq!(list(), []);
        assert_eq!(get("size"), None);
    }
}

#[test]
fn a_failed_update_changes_nothing() {
    for bench in benches() {
        let store = bench.open();
        let failed: Result<(), Error> = store.update(|txn| {
            txn.set_data(Space::User, "kind", "key", b"value", None, Condition::Any)?;
            txn.count("counter")?;
            Err(Error::Cancelled)
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert!(store.view(|view| view.data(Space::User, "kind", "key")).unwrap().is_none());
        assert_eq!(store.view(|view| view.number("counter")).unwrap(), 0);
        assert_eq!(store.update(|txn| txn.count("counter")).unwrap(), 1);
        assert_eq!(store.view(|view| view.number("counter")).unwrap(), 1);
        store.update(|txn| txn.set_number("counter", u64::MAX)).unwrap();
        assert!(failure(store.update(|txn| txn.count("counter"))).to_string().contains("reindex"));
    }
}
