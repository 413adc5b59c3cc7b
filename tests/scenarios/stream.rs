//! `import` of what can be read only once: stdin, pipes, compressed archives.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use tar::EntryType;

use crate::common::layout::{Builder, Tar, blob_path, digest_of, gzip, layers_of, on, pack, zstd};
use crate::common::tree::{assert_same, store_tree, tree};
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(
    a_stream_is_imported_as_its_folder_is,
    a_pipe_is_read_while_it_is_written,
    every_option_works_on_a_stream,
    a_stream_that_ends_early_leaves_nothing,
    what_no_archive_should_have_is_refused_in_a_stream,
    blobs_that_are_not_those_named_leave_nothing,
    what_is_passed_over_is_read_and_not_kept,
    a_repair_takes_blobs_from_a_stream,
    several_sources_come_in_side_by_side,
);

/// `oci-store WORDS`, with these bytes on stdin.
fn with_stdin(world: &World, words: &str, bytes: &[u8]) -> Ran {
    fs::write(world.path("stdin"), bytes).unwrap();
    Ran::of(world.oci_store().args(words.split_whitespace()).stdin(File::open(world.path("stdin")).unwrap()))
}

fn a_stream_is_imported_as_its_folder_is(world: &World) {
    world.ok(&format!("--store-path other --index {} import --all hello", world.index));
    let listed = world.ok("--store-path other import --all hello");
    let check = |store: &str| {
        let (from, to) = (world.path("other/blobs"), world.path(store).join("blobs"));
        assert_same(&tree(&from), &tree(&to), "from folder and stream");
        world.ok(&format!("--store-path {store} check --read-data"));
        assert_eq!(world.names(&format!("{store}/.oci-store/ingest")), [""; 0]);
    };
    for (n, blobs_first) in [true, false].into_iter().enumerate() {
        let plain = Tar::of(&world.path("hello"), blobs_first).bytes();
        for (kind, bytes) in [("tar", plain.clone()), ("gz", gzip(&plain)), ("zst", zstd(&plain))] {
            let (file, store) = (format!("{n}.{kind}"), format!("store-{n}-{kind}"));
            fs::write(world.path(&file), &bytes).unwrap();
            let words = format!("--store-path {store} --index {} import --all", world.index);
            assert_eq!(world.ok(&format!("{words} oci-archive:{file}")), listed);
            check(&store);
            let (store, words) = (store.clone() + "-stdin", words.replace(&store, &(store.clone() + "-stdin")));
            assert_eq!(with_stdin(world, &format!("{words} -"), &bytes).ok(), listed);
            check(&store);
        }
    }
    // Packed in several pieces, as `cat a.gz b.gz` is.
    let plain = Tar::of(&world.path("hello"), true).bytes();
    let (one, two) = plain.split_at(plain.len() / 2);
    fs::write(world.path("pieces.gz"), [gzip(one), gzip(two)].concat()).unwrap();
    fs::write(world.path("pieces.zst"), [zstd(one), zstd(two)].concat()).unwrap();
    assert_eq!(world.ok("import --all pieces.gz"), listed);
    let before = store_tree(&world.path("store"));
    // What is there already is not written again.
    assert_eq!(world.ok("import --all pieces.zst"), listed);
    assert_same(&before, &store_tree(&world.path("store")), "imported again");
}

fn a_pipe_is_read_while_it_is_written(world: &World) {
    assert!(std::process::Command::new("mkfifo").arg(world.path("fifo")).status().unwrap().success());
    let child = world.spawn("import --all fifo");
    let mut fifo = OpenOptions::new().write(true).open(world.path("fifo")).unwrap();
    let bytes = Tar::of(&world.path("hello"), true).bytes();
    let (one, two) = bytes.split_at(bytes.len() - 4096);
    fifo.write_all(one).unwrap();
    wait_until("what has come is staged", || !world.names("store/.oci-store/ingest").is_empty());
    assert!(world.refs().is_empty());
    // What is on its way survives any gc.
    world.ok("gc --full");
    fifo.write_all(two).unwrap();
    // A writer gets rid of all, though nobody needs what is behind the end.
    fifo.write_all(&[0; 100_000]).unwrap();
    drop(fifo);
    Ran::ended("import fifo", child).ok();
    assert_eq!(world.refs().len(), 2);
    world.ok("check --read-data");
    world.assert_no_leftovers();
}

fn every_option_works_on_a_stream(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let (a, b) = (layout.image(&[b"for amd64"]), layout.image(&[b"for arm64"]));
    let signature = layout.referrer(&a, "application/x.signature", b"signature");
    layout.add(on(a.clone(), "amd64"), Some("app")).add(on(b.clone(), "arm64"), Some("app")).add(signature, None);
    let partial = layout.image(&[b"here", b"gone"]);
    let gone = layers_of(&layout.folder, &digest_of(&partial)).remove(1);
    fs::remove_file(blob_path(&layout.folder, &gone)).unwrap();
    layout.add(partial, Some("partial"));
    fs::write(world.path("image.tar.gz"), gzip(&Tar::of(&layout.folder, true).bytes())).unwrap();

    let before = store_tree(&world.path("store"));
    let error = world.fails(1, "import image.tar.gz");
    assert!(error.contains("--sref") && error.contains("app, partial"), "{error}");
    assert!(world.fails(4, "import --sref v9 image.tar.gz").contains("v9"));
    assert_same(&before, &store_tree(&world.path("store")), "refused");
    world.ok("import --platform linux/amd64 --sref app --no-referrers image.tar.gz");
    // What is not of the image is not kept, though it came.
    assert_eq!((world.digest("app"), world.blob_files().len()), (digest_of(&a), 3));
    world.ok("import --platform linux/amd64 --dref signed oci-archive:image.tar.gz:app");
    assert_eq!(world.json("inspect signed")["referrers"].as_array().unwrap().len(), 1);
    world.ok(&format!("import --sref {} --dref by-digest image.tar.gz", digest_of(&b)));
    assert_eq!(world.digest("by-digest"), digest_of(&b));
    let error = world.fails(1, "import --sref partial image.tar.gz");
    assert!(error.contains(&gone) && error.contains("missing") && error.contains("image.tar.gz"), "{error}");
    assert_eq!(world.run("import --all image.tar.gz").code(), Some(1));
    assert_eq!(world.digest("app"), digest_of(&b));
    world.ok("import --sref partial --allow-incomplete image.tar.gz");
    assert_eq!(world.json("list partial")[0]["incomplete"], true);
    world.ok("check --read-data");
    let error = world.fails(1, "--store-path new import --sref app --max-manifest 10B image.tar.gz");
    assert!(error.contains("10 bytes at most"), "{error}");
    let error = world.fails(1, "import --sref app --max-index 10B image.tar.gz");
    assert!(error.contains("index.json: it has more than 10 bytes"), "{error}");
    world.assert_no_leftovers();
}

fn a_stream_that_ends_early_leaves_nothing(world: &World) {
    let before = store_tree(&world.path("store"));
    for blobs_first in [true, false] {
        let whole = Tar::of(&world.path("hello"), blobs_first).bytes();
        for (kind, bytes) in [("tar", whole.clone()), ("gz", gzip(&whole)), ("zst", zstd(&whole))] {
            // The last byte too: of an archive, its end; of what is compressed, what says that it is whole.
            let cuts =
                (0..6).map(|part| bytes.len() * part / 6).chain([bytes.len() - 1 - 1024 * usize::from(kind == "tar")]);
            for cut in cuts {
                let error = with_stdin(world, "import --all -", &bytes[..cut]).fails(1);
                assert!(error.contains("stdin"), "{error}");
                assert_same(&before, &store_tree(&world.path("store")), "refused");
                world.assert_no_leftovers();
            }
        }
    }
    // At the end of a member.
    let error = with_stdin(world, "import --all -", &Tar::of(&world.path("hello"), true).0).fails(1);
    assert!(error.contains("cut off"), "{error}");
    assert_same(&before, &store_tree(&world.path("store")), "refused");
}

fn what_no_archive_should_have_is_refused_in_a_stream(world: &World) {
    let before = store_tree(&world.path("store"));
    let good = Tar::of(&world.path("hello"), false);
    let long = "x".repeat(400 << 10);
    let cases: Vec<(Tar, &str)> = vec![
        (good.clone().file("index.json", b"{}"), "twice"),
        (good.clone().file("./index.json", b"{}"), "twice"),
        (good.clone().file("/etc/passwd", b""), "absolute"),
        (good.clone().file("../x", b""), "leads out"),
        (good.clone().file("blobs", b""), "in place of"),
        (good.clone().link("x", "index.json"), "neither a file"),
        (good.clone().link("a/layer.tar", "../b/layer.tar"), "neither a file"),
        (Tar::default().link("a/layer.tar", "../b/layer.tar").file("index.json", b"{}"), "neither a file"),
        (good.clone().member("x", EntryType::Fifo, "", 0, b""), "neither a file"),
        (good.clone().member("x", EntryType::Link, "index.json", 0, b""), "neither a file"),
        (good.clone().member("x", EntryType::GNULongName, "", long.len() as u64, long.as_bytes()), "too long"),
        (good.clone().member("x", EntryType::XHeader, "", 1 << 40, long.as_bytes()), "too long"),
        (good.clone().member("x", EntryType::Regular, "", 1 << 40, b"x"), "ends before"),
        (Tar::default().file("x", b"x"), "no index.json"),
        (Tar(b"a letter".repeat(100)), "not a tar archive"),
        (Tar(Vec::new()), "no index.json"),
    ];
    for (tar, why) in cases {
        for bytes in [tar.bytes(), gzip(&tar.bytes())] {
            let error = with_stdin(world, "import --all -", &bytes).fails(1);
            assert!(error.contains(why) && error.contains("stdin"), "{why}: {error}");
            assert_same(&before, &store_tree(&world.path("store")), "refused");
        }
    }
    for (bytes, why) in
        [(&b"\x1f\x8b\x08\0 and so on"[..], "stdin"), (b"BZh91AY&SY", "bzip2 -dc"), (b"", "it is empty")]
    {
        let error = with_stdin(world, "import -", bytes).fails(1);
        assert!(error.contains(why), "{why}: {error}");
    }
    assert_same(&before, &store_tree(&world.path("store")), "refused");
    world.assert_no_leftovers();
}

fn blobs_that_are_not_those_named_leave_nothing(world: &World) {
    let before = store_tree(&world.path("store"));
    let hello = Tar::of(&world.path("hello"), true).bytes();
    let at = hello.windows(8).position(|bytes| bytes == b"\"layers\"").unwrap();
    let mut other = hello.clone();
    other[at + 1] = b'L';
    let error = with_stdin(world, "import --all -", &gzip(&other)).fails(1);
    assert!(error.contains("stdin") && error.contains("sha256:"), "{error}");
    // Nor does one that no image needs get in.
    let name = format!("blobs/sha256/{}", "0".repeat(64));
    let error =
        with_stdin(world, "import --all -", &Tar::of(&world.path("hello"), true).file(&name, b"x").bytes()).fails(1);
    assert!(error.contains("sha256:0000"), "{error}");
    assert_same(&before, &store_tree(&world.path("store")), "refused");
    world.assert_no_leftovers();
}

fn what_is_passed_over_is_read_and_not_kept(world: &World) {
    let zeros = vec![0; 16 << 20];
    let tar = Tar::of(&world.path("hello"), false).file("readme", &zeros).file("docs/x", b"x");
    // A file before all that tells the form is kept while it may be a layer.
    let tar = Tar(Tar::default().file("first", &zeros).0.into_iter().chain(tar.0).collect());
    fs::write(world.path("image.tar.zst"), zstd(&tar.bytes())).unwrap();
    assert!(fs::metadata(world.path("image.tar.zst")).unwrap().len() < 1 << 20);
    world.ok("import --all image.tar.zst");
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&world.path("hello")));
    world.ok("check --read-data");
    world.assert_no_leftovers();
}

fn a_repair_takes_blobs_from_a_stream(world: &World) {
    world.ok("import --all hello");
    fs::write(world.path("hello.tar.gz"), gzip(&Tar::of(&world.path("hello"), true).bytes())).unwrap();
    let blobs = world.blob_files();
    fs::remove_file(blob_path(&world.path("store"), &blobs[0])).unwrap();
    let damaged = blob_path(&world.path("store"), &blobs[1]);
    let good = fs::read(&damaged).unwrap();
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, vec![b'?'; good.len()]).unwrap();
    let repaired = world.ok("check --repair --from hello.tar.gz");
    assert!(repaired.contains(&blobs[0]) && repaired.contains(&blobs[1]), "{repaired}");
    world.ok("check --read-data");
    fs::remove_file(&damaged).unwrap();
    assert!(with_stdin(world, "check --repair --from -", &world.read("hello.tar.gz")).ok().contains(&blobs[1]));
    assert_eq!(fs::read(&damaged).unwrap(), good);
    // One that can't be read to its end is told, and changes nothing that was good.
    fs::remove_file(&damaged).unwrap();
    let error = with_stdin(world, "check --repair --from -", b"no archive").fails(1);
    assert!(error.contains("stdin"), "{error}");
    world.ok("check --repair --from hello.tar.gz");
    world.assert_no_leftovers();
}

fn several_sources_come_in_side_by_side(world: &World) {
    pack(&world.path("hello"), &world.path("hello.tar"));
    let mut words = String::from("import");
    for n in 0..6 {
        let mut layout = Builder::new(world.path(&format!("layout-{n}")));
        let image = layout.image(&[format!("layer {n}").as_bytes(), b"shared"]);
        layout.add(image, Some(&format!("app:{n}")));
        words += &format!(" layout-{n}");
    }
    let printed = world.ok(&words);
    let names: Vec<&str> = printed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, (0..6).map(|n| format!("app:{n}")).collect::<Vec<_>>());
    world.ok("import oci-archive:hello.tar:v1 oci:hello:latest");
    assert_eq!(world.refs().len(), 8);
    world.ok("check --read-data");
    // One that fails is told by its name, and does not keep the others.
    world.ok("rm v1 latest");
    let ran = world.run("import absent oci:hello:v1 oci:hello:v9 layout-1");
    assert_eq!(ran.code(), Some(1));
    let (out, err) = (ran.out(), ran.err());
    assert!(out.starts_with("v1 sha256:") && out.contains("app:1 "), "{out}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("error: absent") && lines[1].contains("v9"), "{err}");
    for words in ["import --sref v1 hello layout-1", "import --dref v1 hello layout-1", "import - -", "import"] {
        world.run(words).fails(2);
    }
    let error = world.run("--store-path none import absent gone").err();
    assert!(error.contains("absent") && error.contains("gone") && !world.path("none").exists(), "{error}");
}
