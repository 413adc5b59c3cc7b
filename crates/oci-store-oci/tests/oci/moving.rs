//! Moving out of a layout that somebody else changes meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use oci_store_base::LinkMode;
use oci_store_cas::Digest;
use oci_store_oci::{Content, Descriptor, Entry, Error, ImageSource, ImportOptions, Layout, Result, Selection};

use crate::common::{assert_sound, benches};
use crate::images::Images;

/// A layout that puts a symlink in a folder's place as soon as somebody has asked what there is.
#[derive(Debug)]
struct Exchanged {
    layout: Layout,
    folder: PathBuf,
    other: PathBuf,
}

impl ImageSource for Exchanged {
    fn origin(&self) -> String {
        self.layout.origin()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let entries = self.layout.entries();
        fs::rename(&self.folder, self.folder.with_extension("aside")).unwrap();
        symlink(&self.other, &self.folder).unwrap();
        entries
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        self.layout.fetch(descriptor)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.layout.referrers(subject)
    }

    fn as_layout(&self) -> Option<&Layout> {
        Some(&self.layout)
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

#[test]
fn from_a_folder_that_comes_in_anothers_place_nothing_is_removed() {
    for place in ["", "blobs", "blobs/sha256"] {
        for bench in benches() {
            let mut images = Images::default();
            for name in ["one", "two"] {
                let image = images.simple(name);
                images.name(name, &image);
            }
            let (from, other) = (bench.beside("from"), bench.beside("other"));
            let layout = images.write(&from);
            images.write(&other);
            let before = files(&other);
            let folder = |layout: &Path| layout.join(place).components().collect::<PathBuf>();
            let source = Exchanged { layout, folder: folder(&from), other: folder(&other) };
            let options = ImportOptions { link: LinkMode::Move, ..ImportOptions::default() };
            let store = bench.open();
            match store.import(&source, &Selection::All, &options, &()).unwrap_err() {
                Error::NotRemoved { imported, error, .. } => {
                    assert_eq!(imported.len(), 2);
                    assert!(error.to_string().contains("others than before"), "{error}");
                }
                error => panic!("{place}: {error}"),
            }
            assert!(source.folder.is_symlink());
            assert_eq!(files(&other), before, "{place:?}, {}", bench.backend);
            assert_sound(&store);
        }
    }
}
