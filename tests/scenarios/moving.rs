//! `import --move`: what is in the store goes from its source, and nothing else does.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::{Value, json};

use crate::common::layout::{Builder, REF_NAME, blob_path, digest_of, entries, layers_of, pack};
use crate::common::tree::{assert_same, blobs_of, store_tree, tree};
use crate::common::{World, over_each_index};
use crate::take::{files, inodes};

over_each_index!(
    all_that_is_taken_goes_and_its_files_become_the_stores,
    what_another_image_needs_stays_and_that_image_is_whole,
    what_is_about_an_image_goes_with_its_last_name,
    of_a_source_with_a_bad_image_nothing_goes,
    what_a_damaged_image_may_need_stays,
    between_filesystems_it_is_copied_and_goes,
    a_file_that_has_another_name_is_copied_and_that_one_is_as_it_was,
    what_is_in_the_store_already_goes_too,
    what_is_no_layout_of_its_own_is_refused,
    the_rest_of_index_json_stays,
    what_stays_is_the_layouts_alone,
    what_rotted_in_the_store_stays_in_the_source,
    an_image_of_an_unknown_kind_may_need_anything,
    a_source_that_becomes_a_store_meanwhile_keeps_its_blobs,
);

fn two_images(world: &World) -> Builder {
    let mut layout = Builder::new(world.path("from"));
    let (one, two) = (layout.image(&[b"shared", b"one"]), layout.image(&[b"shared", &[2; 3 << 20]]));
    layout.add(one, Some("one")).add(two, Some("two"));
    layout
}

fn names(layout: &Builder) -> Vec<String> {
    let name = |entry: &Value| entry["annotations"][REF_NAME].as_str().unwrap_or_default().to_owned();
    entries(&layout.folder).iter().map(name).collect()
}

fn all_that_is_taken_goes_and_its_files_become_the_stores(world: &World) {
    let mut layout = two_images(world);
    let image = entries(&layout.folder).remove(0);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    layout.add(signature, None);
    let before = inodes(&layout.folder);
    let out = world.ok("import --all --move from");
    assert_eq!(out.lines().count(), 2);
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec![], vec![]));
    assert_eq!(world.names("from"), ["blobs", "index.json", "oci-layout"]);
    let after = files(&world.path("store"));
    assert!(after.values().all(|(_, mode, names)| (*mode, *names) == (0o400, 1)), "{after:?}");
    assert_eq!(inodes(&world.path("store")), before);
    world.ok("check --read-data");
    world.assert_no_leftovers();
    // Once more, of what is empty now.
    assert_eq!(world.run("import --all --move from").ok_with_warnings(), "");
}

fn what_another_image_needs_stays_and_that_image_is_whole(world: &World) {
    let layout = two_images(world);
    world.ok("import --sref one --dref app --move from");
    assert_eq!(names(&layout), ["two"]);
    assert_eq!(blobs_of(&layout.folder).len(), 4, "of `two` and no more");
    world.ok("check --read-data");
    world.ok("--store-path other import from");
    world.ok("--store-path other check --read-data");
    world.ok("import --sref two --move from");
    assert_eq!(blobs_of(&layout.folder), [""; 0]);
    world.ok("check --read-data");
}

fn what_is_about_an_image_goes_with_its_last_name(world: &World) {
    let mut layout = Builder::new(world.path("from"));
    let image = layout.image(&[b"signed"]);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    let countersigned = layout.referrer(&signature, "application/x.signature", b"of the signature");
    layout.add(countersigned, None).add(signature, None);
    layout.add(image.clone(), Some("a")).add(image, Some("b"));
    let blobs = blobs_of(&layout.folder);
    world.ok("import --sref a --move from");
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec![String::new(), String::new(), "b".into()], blobs));
    world.ok("import --sref b --move --no-referrers from");
    // The signatures were not asked for, and what they are about stays with them.
    assert_eq!((names(&layout).len(), blobs_of(&layout.folder).len()), (2, 8));
    assert_eq!(world.json("referrers a").as_array().unwrap().len(), 1);
}

fn of_a_source_with_a_bad_image_nothing_goes(world: &World) {
    let layout = two_images(world);
    let spoiled = layers_of(&layout.folder, &digest_of(&entries(&layout.folder)[1])).remove(1);
    fs::write(blob_path(&layout.folder, &spoiled), b"spoilt").unwrap();
    let before = tree(&layout.folder);
    assert_eq!(world.run("import --all --move from").code(), Some(1));
    assert_same(&before, &tree(&layout.folder), "the source");
    assert_eq!(world.refs().len(), 1, "the good one is in");
    world.fails(1, "import --sref two --move from");
    world.fails(4, "import --sref three --move from");
    assert_same(&before, &tree(&layout.folder), "the source");
}

fn what_a_damaged_image_may_need_stays(world: &World) {
    let layout = two_images(world);
    let blobs = blobs_of(&layout.folder);
    let damaged = blob_path(&layout.folder, &digest_of(&entries(&layout.folder)[1]));
    fs::write(&damaged, vec![b' '; fs::metadata(&damaged).unwrap().len().try_into().unwrap()]).unwrap();
    let ran = world.run("import --sref one --move from");
    ran.ok_with_warnings();
    assert!(ran.err().contains("stay"), "{}", ran.err());
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec!["two".to_owned()], blobs));
    world.ok("check --read-data");
}

fn between_filesystems_it_is_copied_and_goes(world: &World) {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut layout = Builder::new(elsewhere.path().join("from"));
    let image = layout.image(&[b"small", &[7; 3 << 20]]);
    layout.add(image, Some("app"));
    world.ok(&format!("import --move {}", layout.folder.display()));
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec![], vec![]));
    world.ok("check --read-data");
}

fn a_file_that_has_another_name_is_copied_and_that_one_is_as_it_was(world: &World) {
    let layout = two_images(world);
    let digest = layers_of(&layout.folder, &digest_of(&entries(&layout.folder)[0])).remove(0);
    fs::hard_link(blob_path(&layout.folder, &digest), world.path("other-name")).unwrap();
    let before = fs::metadata(world.path("other-name")).unwrap();
    world.ok("import --all --move from");
    let after = fs::metadata(world.path("other-name")).unwrap();
    assert_eq!((after.mode(), after.nlink()), (before.mode(), 1));
    assert_ne!(inodes(&world.path("store"))[&digest], before.ino());
    assert_eq!(blobs_of(&layout.folder), [""; 0]);
}

fn what_is_in_the_store_already_goes_too(world: &World) {
    let layout = two_images(world);
    world.ok("import --sref two from");
    world.ok("import --sref one --link hardlink from");
    let before = inodes(&world.path("store"));
    world.ok("import --all --move from");
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec![], vec![]));
    assert_eq!(inodes(&world.path("store")), before);
    let modes = files(&world.path("store"));
    assert!(modes.values().all(|(_, mode, names)| (*mode, *names) == (0o400, 1)), "{modes:?}");
    world.ok("check --read-data");
}

fn what_is_no_layout_of_its_own_is_refused(world: &World) {
    let layout = two_images(world);
    let refused = |words: &str, why: &str| {
        let error = world.fails(2, words);
        assert!(error.contains(why), "{words}: {error}");
    };
    pack(&layout.folder, &world.path("from.tar"));
    refused("import --all --move from.tar", "folder");
    refused("import --all --move -", "folder");
    assert!(world.path("from.tar").exists());

    world.ok("import --all from");
    let before = store_tree(&world.path("store"));
    refused("import --all --move store", "store");
    refused("--store-path other import --all --move store", "store");
    assert_same(&before, &store_tree(&world.path("store")), "the store");

    fs::rename(world.path("from/blobs"), world.path("blobs")).unwrap();
    symlink(world.path("blobs"), world.path("from/blobs")).unwrap();
    refused("import --all --move from", "symlink");
    assert_eq!(names(&layout), ["one", "two"]);

    fs::create_dir_all(world.path("old/refs")).unwrap();
    fs::create_dir_all(world.path("old/blobs")).unwrap();
    refused("import --move old", "2016");
    let error = world.run("import --move --link copy from");
    assert_eq!(error.code(), Some(2), "{}", error.err());
}

fn the_rest_of_index_json_stays(world: &World) {
    let layout = two_images(world);
    fs::write(layout.folder.join("blobs/unknown"), b"of somebody").unwrap();
    let unlisted = digest_of(&layout.blob("text/plain", b"listed nowhere"));
    let path = layout.folder.join("index.json");
    let mut index: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    index["annotations"] = json!({ "a": "b" });
    index["x-other"] = json!([1, { "deep": null }]);
    fs::write(&path, index.to_string()).unwrap();
    world.ok("import --sref one --move from");
    let gone = index["manifests"].as_array_mut().unwrap().remove(0);
    assert_eq!(gone["annotations"][REF_NAME], "one");
    assert_eq!(serde_json::from_reader::<_, Value>(File::open(&path).unwrap()).unwrap(), index);
    assert!(blob_path(&layout.folder, &unlisted).exists() && layout.folder.join("blobs/unknown").exists());
}

/// Whoever writes into the source afterwards does not write into the store.
fn what_stays_is_the_layouts_alone(world: &World) {
    let layout = two_images(world);
    let separate = |world: &World| {
        let store = inodes(&world.path("store"));
        let from = inodes(&layout.folder);
        assert!(from.values().all(|inode| !store.values().any(|other| other == inode)), "{from:?} {store:?}");
        assert!(files(&world.path("store")).values().all(|(_, mode, names)| (*mode, *names) == (0o400, 1)));
    };
    let before = tree(&layout.folder);
    // Of two images, one of which is bad, nothing goes; of the other it was taken by links until then.
    let spoiled = layers_of(&layout.folder, &digest_of(&entries(&layout.folder)[1])).remove(1);
    let bytes = fs::read(blob_path(&layout.folder, &spoiled)).unwrap();
    fs::write(blob_path(&layout.folder, &spoiled), b"spoilt").unwrap();
    assert_eq!(world.run("import --all --move from").code(), Some(1));
    separate(world);
    fs::write(blob_path(&layout.folder, &spoiled), bytes).unwrap();
    assert_same(&before, &tree(&layout.folder), "the source");
    world.ok("rm one");
    world.ok("gc");
    // What both images need stays for the second.
    world.ok("import --sref one --move from");
    assert_eq!(blobs_of(&layout.folder).len(), 4);
    separate(world);
    world.ok("import --sref two --move from");
    separate(world);
    world.ok("check --read-data");
}

fn what_rotted_in_the_store_stays_in_the_source(world: &World) {
    let layout = two_images(world);
    world.ok("import --all from");
    let layer = layers_of(&layout.folder, &digest_of(&entries(&layout.folder)[1])).remove(1);
    let path = blob_path(&world.path("store"), &layer);
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let before = tree(&layout.folder);
    let ran = world.run("import --all --move from");
    assert_eq!(ran.code(), Some(1));
    assert!(ran.err().contains(&layer) && ran.err().contains("import the image again"), "{}", ran.err());
    assert_same(&before, &tree(&layout.folder), "the source");
    world.ok("import --all --move from");
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec![], vec![]));
    world.ok("check --read-data");
}

fn an_image_of_an_unknown_kind_may_need_anything(world: &World) {
    let mut layout = two_images(world);
    let old = layout.blob("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{\"fsLayers\":[]}");
    layout.add(old, Some("old"));
    let blobs = blobs_of(&layout.folder);
    let ran = world.run("import --sref one --move from");
    ran.ok_with_warnings();
    assert!(ran.err().contains("unknown type"), "{}", ran.err());
    assert_eq!((names(&layout), blobs_of(&layout.folder)), (vec!["two".to_owned(), "old".to_owned()], blobs));
}

/// It is looked again when there is something to be removed.
fn a_source_that_becomes_a_store_meanwhile_keeps_its_blobs(world: &World) {
    let layout = two_images(world);
    world.ok("data set a b c");
    let lock = File::open(world.path("store/.oci-store/locks/writer")).unwrap();
    lock.lock().unwrap();
    let child = world.spawn("import --all --move from");
    crate::common::wait_until("it is hard at work", || {
        fs::metadata(blob_path(&layout.folder, &layers_of(&layout.folder, &digest_of(&entries(&layout.folder)[0]))[0]))
            .is_ok_and(|meta| meta.nlink() > 1)
    });
    world.ok(&format!("--store-path from --index {} adopt from", world.index));
    lock.unlock().unwrap();
    let ran = crate::common::Ran::ended("import", child);
    assert_eq!(ran.code(), Some(1), "{}", ran.err());
    assert!(ran.err().contains("is a store"), "{}", ran.err());
    world.ok("--store-path from check --read-data");
    world.ok("check --read-data");
}
