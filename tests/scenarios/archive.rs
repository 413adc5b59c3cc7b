//! `import` from a tar archive of a layout: as from the folder.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};

use crate::common::layout::{Builder, Tar, blob_path, digest_of, layers_of, on, pack};
use crate::common::tree::{assert_same, store_tree};
use crate::common::{World, over_each_index};

over_each_index!(
    an_archive_is_imported_as_its_folder_is,
    every_option_works_on_an_archive,
    a_place_says_what_lies_there_and_which_image,
    what_is_no_archive_of_a_layout_is_refused_and_told,
    an_archive_that_is_cut_off_is_refused,
    a_large_hole_is_passed_over,
    limits_are_set_by_flags,
);

fn an_archive_is_imported_as_its_folder_is(world: &World) {
    let copy = Builder::copy_of(&world.path("hello"), world.path("copy"));
    // What is no blob, for want of an algorithm, is nothing to an import.
    fs::create_dir_all(copy.folder.join("blobs/md5/x")).unwrap();
    fs::write(copy.folder.join("blobs/README"), "dear").unwrap();
    pack(&copy.folder, &world.path("hello.tar"));
    world.ok(&format!("--store-path other --index {} import --all hello", world.index));
    assert_eq!(world.ok("import --all hello.tar"), world.ok("--store-path other import --all hello"));
    assert_eq!(world.refs_in_index_json(), world.refs());
    assert_same(
        &crate::common::tree::tree(&world.path("other/blobs")),
        &crate::common::tree::tree(&world.path("store/blobs")),
        "from folder and archive",
    );
    world.ok("check --read-data");
    world.assert_no_leftovers();
    // By a link, too.
    std::os::unix::fs::symlink("hello.tar", world.path("link.tar")).unwrap();
    world.ok("import --sref v1 --dref linked link.tar");
    assert_eq!(world.digest("linked"), world.digest("v1"));
    // What is there is not read again.
    let before = store_tree(&world.path("store"));
    world.ok("import --all hello.tar");
    assert_same(&before, &store_tree(&world.path("store")), "imported again");
}

fn every_option_works_on_an_archive(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let (a, b) = (layout.image(&[b"for amd64"]), layout.image(&[b"for arm64"]));
    let signature = layout.referrer(&a, "application/x.signature", b"signature");
    layout.add(on(a.clone(), "amd64"), Some("app")).add(on(b.clone(), "arm64"), Some("app")).add(signature, None);
    let partial = layout.image(&[b"here", b"gone"]);
    let gone = layers_of(&layout.folder, &digest_of(&partial)).remove(1);
    fs::remove_file(blob_path(&layout.folder, &gone)).unwrap();
    layout.add(partial, Some("partial"));
    pack(&layout.folder, &world.path("image.tar"));

    let error = world.fails(1, "import image.tar");
    assert!(error.contains("--sref") && error.contains("app, partial"), "{error}");
    world.ok("import --platform linux/amd64 --sref app --no-referrers image.tar");
    assert_eq!((world.digest("app"), world.blob_files().len()), (digest_of(&a), 3));
    world.ok("import --platform linux/amd64 --sref app --dref signed image.tar");
    assert_eq!(world.json("inspect signed")["referrers"].as_array().unwrap().len(), 1);
    world.ok("import --sref app image.tar");
    assert_eq!(world.digest("app"), digest_of(&b));
    world.ok(&format!("import --sref {} --dref by-digest image.tar", digest_of(&b)));
    assert_eq!(world.digest("by-digest"), digest_of(&b));
    assert!(world.fails(4, "import --sref v9 image.tar").contains("v9"));
    let error = world.fails(1, "import --sref partial image.tar");
    assert!(error.contains(&gone) && error.contains("missing") && error.contains("image.tar"), "{error}");
    world.ok("import --sref partial --allow-incomplete image.tar");
    assert_eq!(world.json("list partial")[0]["incomplete"], true);
    world.ok("check --read-data");
}

fn what_is_no_archive_of_a_layout_is_refused_and_told(world: &World) {
    let before = store_tree(&world.path("store"));
    fs::write(world.path("x.txz"), b"\xfd7zXZ\0 and so on").unwrap();
    fs::write(world.path("x.txt"), "a letter").unwrap();
    fs::write(world.path("x.tar"), [0; 10240]).unwrap();
    fs::write(world.path("secret"), "root:x:0:0:root:/root:/bin/bash\n".repeat(100)).unwrap();
    fs::write(world.path("empty.tar"), "").unwrap();
    for (name, why) in [
        ("./x.txz", "it is compressed with xz: `xz -dc ./x.txz | oci-store import -` takes it"),
        ("x.txt", "not a tar archive: failed to read entire block"),
        ("secret", "not a tar archive"),
        ("empty.tar", "it is empty"),
        ("x.tar", "not an image layout: it has no index.json at its top"),
    ] {
        assert_eq!(world.fails(1, &format!("import {name}")), format!("error: {name}: {why}"));
    }
    for (file, why) in [
        ("x.txz", "it is compressed with xz: `xz -dc | oci-store import -` takes it"),
        ("secret", "not a tar archive"),
        ("empty.tar", "it is empty"),
    ] {
        assert_eq!(world.run_with("import -", &world.read(file)).fails(1), format!("error: stdin: {why}"));
    }
    let good = Tar::of(&world.path("hello"), false);
    fs::write(world.path("y.tar"), [&good.0[..], &world.read("secret")].concat()).unwrap();
    let error = world.fails(1, "import --all y.tar");
    assert!(error.contains(": member ") && !error.contains("root"), "{error}");
    assert!(world.fails(1, "import /dev/null").contains("not a regular file"));
    assert_same(&before, &store_tree(&world.path("store")), "refused");
}

fn an_archive_that_is_cut_off_is_refused(world: &World) {
    pack(&world.path("hello"), &world.path("hello.tar"));
    let before = store_tree(&world.path("store"));
    let whole = world.read("hello.tar");
    for part in 1..8 {
        fs::write(world.path("hello.tar"), &whole[..whole.len() * part / 8]).unwrap();
        assert!(world.fails(1, "import --all hello.tar").contains("hello.tar"));
        assert_same(&before, &store_tree(&world.path("store")), "refused");
    }
}

fn a_large_hole_is_passed_over(world: &World) {
    pack(&world.path("hello"), &world.path("hello.tar"));
    let mut header = tar::Header::new_gnu();
    header.set_path("hole").unwrap();
    header.set_size(1 << 40);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut file = File::create(world.path("large.tar")).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.seek(SeekFrom::Current(1 << 40)).unwrap();
    std::io::copy(&mut File::open(world.path("hello.tar")).unwrap(), &mut file).unwrap();
    world.ok("import --all large.tar");
    world.ok("check --read-data");
    assert_eq!(world.refs().len(), 2);
}

fn limits_are_set_by_flags(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = layout.blob(crate::common::layout::LAYER, b"a layer");
    let padding = " ".repeat(5 << 20);
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer], "padding": padding });
    let image = layout.document(crate::common::layout::MANIFEST, &manifest);
    layout.add(image.clone(), Some("large"));
    let nested = serde_json::json!({ "schemaVersion": 2, "manifests": [image.clone()] });
    let nested = layout.document(crate::common::layout::INDEX, &nested);
    layout.add(nested, Some("nested"));
    pack(&layout.folder, &world.path("image.tar"));
    for source in ["layout", "image.tar"] {
        let lets_in_more = "4 MiB at most; `import --max-manifest` lets in more";
        for name in ["large", "nested"] {
            let error = world.fails(1, &format!("import --sref {name} {source}"));
            assert!(error.contains(lets_in_more), "{error}");
        }
        let error = world.run(&format!("import --all {source}")).err();
        assert_eq!(error.lines().filter(|line| line.contains(lets_in_more)).count(), 2, "{error}");
        let error = world.fails(1, &format!("import --max-manifest 6MiB --max-index 100B {source}"));
        assert!(error.contains("index.json: it has more than 100 bytes; `import --max-index` lets in more"), "{error}");
        assert!(world.fails(2, &format!("import --max-manifest 65MiB {source}")).contains("more than 64"));
        assert!(world.fails(2, &format!("import --max-index 2GiB {source}")).contains("more than 1"));
    }
    world.ok("import --max-manifest 6MiB --sref large image.tar");
    // The store reads what it has let in.
    assert_eq!(world.json("inspect large")["layers"].as_array().unwrap().len(), 1);
    world.ok(&format!("tag {} again", digest_of(&image)));
    world.ok("gc --full");
    world.ok("export large out");
    world.ok("reindex");
    assert_eq!(world.refs().len(), 2);
    world.ok("check --read-data");
    world.ok("import --max-manifest 6MiB --sref large --dref third layout");
}

fn a_place_says_what_lies_there_and_which_image(world: &World) {
    pack(&world.path("hello"), &world.path("hello.tar"));
    for (n, source) in ["oci:hello:v1", "oci-archive:hello.tar:v1"].iter().enumerate() {
        world.ok(&format!("import --dref from-{n} {source}"));
        world.ok(&format!("import {source}"));
        assert_eq!(world.digest(&format!("from-{n}")), world.digest("v1"));
    }
    assert!(world.fails(4, "import oci:hello:v9").contains("v9"));
    // It is what it is said to be, or nothing.
    assert!(world.fails(1, "import oci:hello.tar:v1").contains("hello.tar"));
    assert!(world.fails(1, "import oci-archive:hello:v1").contains("hello"));
    for words in ["import --sref v1 oci:hello:v1", "import --all oci:hello:v1", "import oci:", "import oci:hello:"] {
        world.fails(2, words);
    }
    assert!(world.fails(2, "check --repair --from oci:hello:v1").contains("leave its ref away"));
    world.ok("check --repair --from oci:hello --from oci-archive:hello.tar");
    // A file is found by its name, however that begins.
    fs::rename(world.path("hello.tar"), world.path("oci:hello:v1")).unwrap();
    world.ok("import --all oci:hello:v1");
    assert_eq!(world.refs().len(), 4);
}
