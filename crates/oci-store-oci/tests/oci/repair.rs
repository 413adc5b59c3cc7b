use std::fs;
use std::os::unix::fs::symlink;

use oci_store_oci::{Error, Fault, ImageSource, Source};

use crate::common::{benches, import_all, name, overwrite, path_of};
use crate::images::{Images, digest};

fn of(source: &dyn ImageSource) -> Source<'_> {
    Source::InPlace(Box::new(source))
}

/// An index of one image, and another image: what is damaged in the one is no business of the other.
fn images() -> Images {
    let mut images = Images::default();
    let image = images.simple("layer");
    let index = images.index(std::slice::from_ref(&image));
    let other = images.simple("other");
    images.name("v1", &index);
    images.name("other", &other);
    images
}

#[test]
fn each_fault_of_each_blob_is_repaired() {
    for bench in benches() {
        let images = images();
        let store = bench.open();
        import_all(&store, &images).unwrap();
        let blobs = store.base().view(|view| view.blobs(&oci_store_base::BlobFilter::default(), None, 99)).unwrap();
        for blob in &blobs {
            let path = path_of(store.root(), &blob.digest);
            let bytes = fs::read(&path).unwrap();
            let damages: [&dyn Fn(); 4] = [
                &|| fs::remove_file(&path).unwrap(),
                &|| overwrite(store.root(), &blob.digest, &vec![b'?'; bytes.len()]),
                &|| overwrite(store.root(), &blob.digest, b"short"),
                &|| {
                    fs::remove_file(&path).unwrap();
                    symlink("elsewhere", &path).unwrap();
                },
            ];
            for damage in damages {
                damage();
                let repaired = store.repair(&[], vec![of(&images)], &()).unwrap();
                assert_eq!(repaired.repaired, std::slice::from_ref(&blob.digest), "{:?}", repaired.checked.problems);
                assert!(repaired.checked.problems.is_empty());
                assert_eq!(fs::read(&path).unwrap(), bytes);
                assert!(store.check(&[], false, &()).unwrap().problems.is_empty());
                assert!(store.repair(&[], vec![of(&images)], &()).unwrap().repaired.is_empty());
            }
        }
    }
}

#[test]
fn what_no_source_has_is_told_and_all_else_repaired() {
    for bench in benches() {
        let (images, mut half, mut bad) = (images(), Images::default(), Images::default());
        let store = bench.open();
        import_all(&store, &images).unwrap();
        for text in ["layer", "other"] {
            fs::remove_file(path_of(store.root(), &digest(text.as_bytes()))).unwrap();
        }
        half.layer("layer");
        // Another's bytes under the digest.
        bad.layer("other");
        bad.blobs.insert(digest(b"other"), b"OTHER".to_vec());
        assert!(store.repair(&[], Vec::new(), &()).unwrap().repaired.is_empty());
        let repaired = store.repair(&[], vec![of(&bad), of(&half)], &()).unwrap();
        assert_eq!(repaired.repaired, [digest(b"layer")]);
        let [problem] = repaired.checked.problems.as_slice() else { panic!("{:?}", repaired.checked.problems) };
        assert_eq!((problem.fault, &problem.blob.digest), (Fault::Missing, &digest(b"other")));
        assert_eq!(store.repair(&[name("v1")], vec![of(&half)], &()).unwrap().checked.problems, []);
        assert!(matches!(store.repair(&[name("absent")], vec![of(&half)], &()), Err(Error::RefNotFound(_))));
        assert_eq!(store.repair(&[], vec![of(&images)], &()).unwrap().repaired, [digest(b"other")]);
    }
}
