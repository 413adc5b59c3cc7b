//! Archives as sources: what a tar file of a layout gives, and what of one is refused.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use oci_store_oci::{
    Archive, Descriptor, Error, ImageSource, ImportOptions, Limit, Limits, Place, Result, Selection, Source, Stream,
};
use tar::{EntryType, Header};

use crate::common::{Bench, assert_sound, benches, failure, files, import, import_all, seen};
use crate::images::{Images, digest};

/// What lies at a place, as far as it is read in place.
fn open(place: &Place, limits: Limits) -> Result<Box<dyn ImageSource + Send>> {
    oci_store_oci::source::open(place, limits).map(|source| match source {
        Source::InPlace(source) => source,
        Source::Stream(stream) => panic!("{stream:?}"),
    })
}

/// A tar file in the making, member by member.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

impl Tar {
    /// The layout with `images`, each name behind `prefix`.
    fn of(images: &Images, prefix: &str) -> Self {
        let mut tar = Self::default();
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": images.entries });
        tar = tar.file(&format!("{prefix}oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        for (digest, bytes) in &images.blobs {
            tar = tar.file(&format!("{prefix}blobs/{}/{}", digest.algorithm(), digest.encoded()), bytes);
        }
        tar.file(&format!("{prefix}index.json"), index.to_string().as_bytes())
    }

    fn header(mut self, header: &Header) -> Self {
        self.0.extend(header.as_bytes());
        self
    }

    fn body(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.member(name, EntryType::Regular, bytes)
    }

    fn member(mut self, name: &str, kind: EntryType, bytes: &[u8]) -> Self {
        if name.len() > 100 {
            self = self.member("././@LongLink", EntryType::GNULongName, format!("{name}\0").as_bytes());
        }
        let short = &name[..name.len().min(100)];
        self.header(&header(short, kind, bytes.len() as u64)).body(bytes)
    }

    /// An extended header, of records that are whole.
    fn extended(self, kind: EntryType, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..6).map(|digits| rest + digits).find(|all| all.to_string().len() == all - rest).unwrap();
            text += &format!("{length} {key}={value}\n");
        }
        self.member("PaxHeaders/x", kind, text.as_bytes())
    }

    fn write(&self, bench: &Bench) -> PathBuf {
        let path = bench.beside("image.tar");
        let mut bytes = self.0.clone();
        bytes.extend([0; 1024]);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn one() -> (Images, Descriptor) {
    let mut images = Images::default();
    let image = images.simple("in an archive");
    images.name("v1", &image);
    (images, image)
}

#[test]
fn an_archive_gives_what_the_folder_gives() {
    for bench in benches() {
        let store = bench.open();
        let (mut images, image) = one();
        let signature = images.about(&image, "signature");
        images.list(&signature);
        let second = images.simple("second");
        images.name(&"long/".repeat(30).replace("/long/long", "/l"), &second);
        for prefix in ["", "./", "././"] {
            let mut tar = Tar::default()
                .member(&format!("{prefix}blobs/"), EntryType::Directory, b"")
                .extended(EntryType::XGlobalHeader, &[("comment", "made by a test")]);
            tar.0.extend(Tar::of(&images, prefix).0);
            let tar = tar
                .file("manifest.json", b"[]")
                .file("blobs/README", b"")
                .file(&"x/".repeat(200).replace("/x/", "/y"), b"z");
            let archive = Archive::open(tar.write(&bench)).unwrap();
            let folder = images.write(&bench.beside("folder"));
            assert_eq!(archive.entries().unwrap(), folder.entries().unwrap());
            assert_eq!(archive.referrers(&image.digest).unwrap(), folder.referrers(&image.digest).unwrap());
            assert_eq!(archive.referrers(&image.digest).unwrap().len(), 1);
            import(&store, &archive, "v1").unwrap();
            assert_eq!(import_all(&store, &archive).unwrap_err().to_string().matches("no ref name").count(), 1);
            assert_eq!(files(store.root()).len(), 3 + 3, "the image, and its signature");
            assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
            assert_sound(&store);
        }
    }
}

#[test]
fn members_are_read_side_by_side() {
    let bench = Bench::new("memory");
    let (images, _) = one();
    let archive = Archive::open(Tar::of(&images, "").write(&bench)).unwrap();
    let fetch = |digest| archive.fetch(&Descriptor::new("", digest, 0)).unwrap();
    let mut readers: Vec<_> = images.blobs.iter().map(|(digest, all)| (fetch(digest.clone()).unwrap(), all)).collect();
    let mut read: Vec<Vec<u8>> = vec![Vec::new(); readers.len()];
    // A byte from each in turn.
    for _ in 0..1000 {
        for (n, (reader, _)) in readers.iter_mut().enumerate() {
            let mut byte = [0];
            let got = reader.read(&mut byte).unwrap();
            read[n].extend(&byte[..got]);
        }
    }
    assert!(readers.iter().zip(&read).all(|((_, all), read)| *all == read));
    assert!(fetch(digest(b"nowhere")).is_none());
    assert!(archive.fetch(&Descriptor::new("", "magic:abc".parse().unwrap(), 0)).is_err());
}

/// An archive that is made by `change` from a good one is refused, with a line that names it and has `why`.
#[track_caller]
fn refuse(why: &str, change: impl Fn(Tar) -> Tar) {
    let bench = Bench::new("memory");
    let store = bench.open();
    let (images, _) = one();
    let tar = change(Tar::of(&images, ""));
    let before = seen(&store);
    let path = tar.write(&bench);
    let (_, line) = failure(
        open(&Place::parse(&path).unwrap(), Limits::default()).and_then(|archive| import(&store, &*archive, "v1")),
    );
    assert!(line.contains(path.to_str().unwrap()) && line.contains(why), "{why}: {line}");
    assert_eq!(seen(&store), before, "{why}");
}

#[test]
fn members_that_are_no_files() {
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char, EntryType::Block] {
        for name in ["index.json", "blobs/sha256", "elsewhere"] {
            refuse(&format!("{name}: neither a file nor a folder"), |tar| tar.member(name, kind, b""));
        }
    }
    refuse("neither a file", |tar| tar.member("label", EntryType::new(b'V'), b""));
    refuse("x: a folder with a size", |tar| tar.member("x", EntryType::Directory, b"x"));
    let blob = format!("blobs/sha256/{}", "0".repeat(64));
    for name in ["index.json", "oci-layout/", &blob] {
        refuse("a folder in place of a file", |tar| tar.member(name, EntryType::Directory, b""));
    }
    refuse("a folder in place of a file", |tar| tar.file(&format!("{blob}/x"), b""));
    refuse("blobs: a file in place", |tar| tar.file("blobs", b""));
}

#[test]
fn names_that_lead_elsewhere() {
    for name in ["../index.json", "blobs/../../x", "x/..", "blobs/sha256/../../index.json"] {
        refuse("leads out of its folder", |tar| tar.file(name, b"x"));
    }
    for name in ["/index.json", "//x", "/"] {
        refuse("an absolute name", |tar| tar.file(name, b"x"));
    }
    refuse("a file without a name", |tar| tar.file("", b"x"));
    refuse("a file without a name", |tar| tar.file(".", b"x"));
    refuse("a folder's name", |tar| tar.file("index.json/", b"x"));
    let long = |name: &'static [u8]| {
        move |tar: Tar| tar.member("././@LongLink", EntryType::GNULongName, name).file("short", b"x")
    };
    refuse("a zero byte", long(b"index.json\0x\0"));
    refuse("not UTF-8", long(b"blobs/sha256/\xff\0"));
    refuse("an absolute name", long(b"/etc/passwd\0"));
    refuse("two long names", |tar| long(b"b\0")(tar.extended(EntryType::XHeader, &[("path", "a")])));
}

#[test]
fn members_that_are_there_twice() {
    refuse("index.json: it is there twice", |tar| tar.file("./index.json", b"{}"));
    refuse("oci-layout: it is there twice", |tar| tar.file("oci-layout", b"{}"));
    let name = format!("blobs//sha256/./{}", digest(b"in an archive").encoded());
    refuse("it is there twice", |tar| tar.file(&name, b"in an archive"));
}

#[test]
fn sizes_that_are_not_so() {
    refuse("big: the archive ends before it does", |tar| tar.header(&header("big", EntryType::Regular, 1 << 40)));
    refuse("size overflow", |tar| tar.header(&header("big", EntryType::Regular, u64::MAX)));
    let of_size = |size: &'static str| {
        move |tar: Tar| tar.extended(EntryType::XHeader, &[("size", size)]).file("blobs/x", b"four")
    };
    for size in ["3", "5", "0", "516", "1024"] {
        refuse(&format!("its header says 4 bytes, its extended header {size}"), of_size(size));
    }
    for size in ["-4", "4.0", "", "four", "18446744073709551616", "0x4"] {
        refuse("a size that is no number", of_size(size));
    }
    refuse("size overflow", of_size("18446744073709551615"));
    refuse("one thing twice", |tar| {
        tar.extended(EntryType::XHeader, &[("size", "4"), ("size", "512")]).file("x", b"four")
    });
    refuse("malformed pax", |tar| tar.member("x", EntryType::XHeader, b"99 size=4\n").file("x", b"four"));
    // Large files have their size in the extended header alone; small ones don't.
    refuse("its header says 0 bytes", |tar| {
        tar.extended(EntryType::XHeader, &[("size", "4")]).file("x", b"").body(b"four")
    });
    refuse("the archive ends before", |tar| {
        tar.extended(EntryType::XHeader, &[("size", "8589934592")]).file("x", b"").body(b"four")
    });
    refuse("changes the members behind it", |tar| {
        tar.extended(EntryType::XGlobalHeader, &[("size", "0")]).file("x", b"four")
    });
    for records in [&[("mtime", "1")][..], &[]] {
        refuse("between a member and what describes it", |tar| {
            tar.extended(EntryType::XHeader, &[("mtime", "1")]).extended(EntryType::XGlobalHeader, records)
        });
    }
    refuse("between a member and what describes it", |tar| {
        tar.member("././@LongLink", EntryType::GNULongName, b"x\0").extended(EntryType::XGlobalHeader, &[("a", "b")])
    });
    refuse("more than 64 bits", |tar| {
        let mut header = header("x", EntryType::Regular, 0);
        header.as_old_mut().size = [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
        header.set_cksum();
        tar.header(&header).body(b"four")
    });
    for map in [("GNU.sparse.major", "1"), ("GNU.sparse.size", "512")] {
        refuse("a sparse file", |tar| tar.extended(EntryType::XHeader, &[map]).file("x", b"four"));
    }
    refuse("a sparse file", |tar| {
        let mut header = header("x", EntryType::GNUSparse, 0);
        header.as_gnu_mut().unwrap().set_real_size(0);
        header.set_cksum();
        tar.header(&header)
    });
}

#[test]
fn archives_that_are_cut_off() {
    let bench = Bench::new("memory");
    let store = bench.open();
    let (images, _) = one();
    let path = Tar::of(&images, "").write(&bench);
    let whole = fs::read(&path).unwrap();
    let before = seen(&store);
    // Behind the last member, only the mark of the end is missing, which some writers leave away.
    let end = whole.len() - 1024;
    for cut in (0..end).step_by(128).chain([end - 1]) {
        fs::write(&path, &whole[..cut]).unwrap();
        failure(Archive::open(&path).and_then(|archive| import(&store, &archive, "v1")));
        assert_eq!(seen(&store), before, "{cut}");
    }
    fs::write(&path, &whole[..end]).unwrap();
    import(&store, &Archive::open(&path).unwrap(), "v1").unwrap();
}

#[test]
fn what_is_no_archive_of_a_layout() {
    let bench = Bench::new("memory");
    let path = bench.beside("image.tar");
    let opened = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Archive::open(&path)
    };
    for (first, name) in [
        (&[0x1f, 0x8b, 8, 0][..], "as a stream"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0][..], "as a stream"),
        (b"BZh9", "`bzip2 -dc PATH | oci-store import -`"),
        (b"\xfd7zXZ\0", "`xz -dc PATH | oci-store import -`"),
        (&[0x04, 0x22, 0x4d, 0x18], "`lz4 -dc PATH | oci-store import -`"),
        (b"", "it is empty"),
    ] {
        let line = failure(opened(first)).1.replace(path.to_str().unwrap(), "PATH");
        assert!(line.contains(name), "{line}");
    }
    let (_, line) = failure(opened(b"text"));
    assert!(line.contains("not a tar archive"), "{line}");
    for bytes in [&b""[..], &[0; 1024], &[0; 10]] {
        assert!(matches!(opened(bytes), Err(Error::NotALayout { .. } | Error::Archive { .. })));
    }
    assert!(matches!(opened(&Tar::default().file("layout/index.json", b"{}").0), Err(Error::NotALayout { .. })));
    let (_, line) = failure(opened(
        &Tar::default().file("index.json", b"{}").file("oci-layout", br#"{"imageLayoutVersion":"2"}"#).0,
    ));
    assert!(line.contains("image.tar/oci-layout") && line.contains("not 1"), "{line}");
    let (_, line) = failure(opened(&Tar::default().file("index.json", b"{}").0).unwrap().entries());
    assert!(line.contains("image.tar/index.json"), "{line}");
}

#[test]
fn what_describes_a_member_is_not_read_without_end() {
    let bench = Bench::new("memory");
    let path = bench.beside("image.tar");
    for kind in [EntryType::GNULongName, EntryType::XHeader, EntryType::XGlobalHeader] {
        // A hole: nothing of it is on the disk, and nothing of it should come into memory.
        let mut file = File::create(&path).unwrap();
        file.write_all(header("x", kind, 64 << 30).as_bytes()).unwrap();
        file.seek(SeekFrom::Current(64 << 30)).unwrap();
        file.write_all(header("index.json", EntryType::Regular, 0).as_bytes()).unwrap();
        let (_, line) = failure(Archive::open(&path));
        assert!(line.contains("its headers are too long"), "{line}");
    }
    // A body of that size is passed over.
    let mut file = File::create(&path).unwrap();
    file.write_all(header("x", EntryType::Regular, 64 << 30).as_bytes()).unwrap();
    file.seek(SeekFrom::Current(64 << 30)).unwrap();
    file.write_all(header("index.json", EntryType::Regular, 0).as_bytes()).unwrap();
    Archive::open(&path).unwrap();
}

#[test]
fn limits_can_be_set_and_what_came_in_stays_readable() {
    for bench in benches() {
        let store = bench.open();
        let mut images = Images::default();
        let padding = "x".repeat(5 << 20);
        let inner = images.simple("inner");
        let image = images.document(
            oci_store_oci::media_type::INDEX,
            &serde_json::json!({ "manifests": [inner], "padding": padding }),
        );
        images.name("large", &image);
        let archive = Tar::of(&images, "").write(&bench);
        let folder = bench.beside("folder");
        images.write(&folder);
        let with = |path, manifest, index_json| {
            open(&Place::parse(path).unwrap(), Limits { manifest, index_json, ..Limits::default() }).unwrap()
        };
        for path in [&archive, &folder] {
            let (_, line) = failure(import(&store, &*with(path, 4 << 20, 32 << 20), "large"));
            assert!(line.contains("4 MiB at most"), "{line}");
            let (_, line) = failure(import(&store, &*with(path, image.size, 10), "large"));
            assert!(line.contains("index.json: it has more than 10 bytes"), "{line}");
            failure(import(&store, &*with(path, image.size - 1, 32 << 20), "large"));
        }
        import(&store, &*with(&archive, image.size, 32 << 20), "large").unwrap();
        // Named again as something that was not read yet, exported, found again by reindex.
        store.tag(&image.digest.to_string(), &"again".parse().unwrap(), oci_store_oci::Condition::Any).unwrap();
        crate::common::export(&store, "large", &bench.beside("out"), "large").unwrap();
        crate::common::sweep(&store);
        drop(store);
        let (store, report) = bench.options().reindex(bench.root()).unwrap();
        assert!(store.check(&[], true, &()).unwrap().problems.is_empty(), "{report:?}");
        assert_eq!(crate::common::refs(&store).len(), 2);
        let place = Place::parse(&folder).unwrap();
        import(&store, &*open(&place, Limits { manifest: image.size, ..Limits::default() }).unwrap(), "large").unwrap();
        assert_sound(&store);
    }
}

/// Each image by itself, or all that come with a stream. What several list counts once, nearly.
#[test]
fn an_image_of_too_many_descriptors_is_refused_and_the_others_come_in() {
    let mut images = Images::default();
    let large: Vec<_> = (0..40).map(|n| images.layer(&n.to_string())).collect();
    let large = images.manifest("large", &large);
    for n in 0..20 {
        let few: Vec<_> = (0..3).map(|n| images.layer(&n.to_string())).collect();
        let small = images.manifest(&format!("small {n}"), &few);
        images.name(&format!("a-{n}"), &small);
    }
    images.name("b-large", &large);
    for bench in benches() {
        let archive = Tar::of(&images, "").write(&bench);
        let folder = bench.beside("folder");
        images.write(&folder);
        let in_place = |descriptors, path| {
            let store = bench.options().open(bench.beside(&format!("place-{descriptors}"))).unwrap();
            let limits = Limits { descriptors, ..Limits::default() };
            let source = open(&Place::parse(path).unwrap(), limits).unwrap();
            (store.import(&*source, &Selection::All, &ImportOptions::default(), &()), store)
        };
        let streamed = |descriptors| {
            let store = bench.options().open(bench.beside(&format!("stream-{descriptors}"))).unwrap();
            let stream = Stream::new("stream", File::open(&archive).unwrap());
            let stream = stream.with_limits(Limits { descriptors, ..Limits::default() });
            (store.import_stream(stream, &Selection::All, &ImportOptions::default(), &()), store)
        };
        // It has 42 of its own, less what others brought into memory already; of the others each has one or two.
        for (enough, few) in [(in_place(47, &folder), in_place(20, &archive)), (streamed(100), streamed(70))] {
            assert_eq!(enough.0.unwrap().len(), 21);
            let Err(Error::Several { imported, failed, .. }) = few.0 else { panic!("{:?}", few.0) };
            assert_eq!((imported.len(), failed.len(), failed[0].0.as_str()), (20, 1, "b-large"));
            let Error::Source { error, .. } = &failed[0].1 else { panic!("{}", failed[0].1) };
            assert!(matches!(**error, Error::OverLimit { limit: Limit::Descriptors, .. }), "{error}");
            assert_sound(&enough.1);
            assert_sound(&few.1);
        }
    }
}
