//! How blobs come out of a layout's folder: as copies, as links.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::layout::{Builder, blob_path, digest_of, layers_of, pack};
use crate::common::tree::{assert_same, blobs_of, store_tree, tree};
use crate::common::{World, over_each_index};

over_each_index!(
    a_hard_link_is_the_file_of_the_source_as_it_is,
    by_itself_nothing_is_a_hard_link,
    what_does_not_verify_is_not_linked_in,
    a_blob_that_the_store_has_is_not_linked,
    between_filesystems_there_are_no_links_and_the_error_says_what_to_do,
    a_reflink_is_made_or_the_filesystem_is_named,
    links_of_what_is_no_folder_are_refused,
);

/// A layout `from` of the image `app`, whose layers have these bytes.
fn layout(world: &World, layers: &[&[u8]]) -> Builder {
    let mut layout = Builder::new(world.path("from"));
    let image = layout.image(layers);
    layout.add(image, Some("app"));
    layout
}

/// What tells a file from another: its inode, mode and number of names, by digest.
pub(crate) fn files(layout: &Path) -> BTreeMap<String, (u64, u32, u64)> {
    let look = |digest: String| {
        let meta = fs::metadata(blob_path(layout, &digest)).unwrap();
        (digest, (meta.ino(), meta.mode() & 0o7777, meta.nlink()))
    };
    blobs_of(layout).into_iter().map(look).collect()
}

pub(crate) fn inodes(layout: &Path) -> BTreeMap<String, u64> {
    files(layout).into_iter().map(|(digest, (inode, ..))| (digest, inode)).collect()
}

fn a_hard_link_is_the_file_of_the_source_as_it_is(world: &World) {
    let layout = layout(world, &[b"small", &[7; 3 << 20]]);
    let (before, content) = (files(&layout.folder), tree(&layout.folder));
    world.ok("import --link hardlink from");
    let after = files(&world.path("store"));
    let linked = before.iter().map(|(digest, (inode, mode, names))| (digest.clone(), (*inode, *mode, names + 1)));
    assert_eq!(after, linked.collect());
    world.ok("check --read-data");
    world.assert_no_leftovers();

    world.ok("rm app");
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
    assert_eq!(files(&layout.folder), before);
    assert_same(&content, &tree(&layout.folder), "the source");
}

fn by_itself_nothing_is_a_hard_link(world: &World) {
    let layout = layout(world, &[b"small", &[7; 3 << 20]]);
    let before = files(&layout.folder);
    for words in ["import from", "import --link auto --dref a from", "import --link copy --dref b from"] {
        world.ok(words);
        assert_eq!(files(&layout.folder), before, "{words}");
        world.ok("prune --filter *");
    }
}

fn what_does_not_verify_is_not_linked_in(world: &World) {
    let layout = layout(world, &[b"good", b"to be spoiled"]);
    let spoiled = layers_of(&layout.folder, &digest_of(&crate::common::layout::entries(&layout.folder)[0])).remove(1);
    fs::write(blob_path(&layout.folder, &spoiled), b"is now spoilt").unwrap();
    let (before, content, store) = (files(&layout.folder), tree(&layout.folder), store_tree(&world.path("store")));
    let error = world.fails(1, "import --link hardlink from");
    assert!(error.contains(&spoiled), "{error}");
    assert_same(&store, &store_tree(&world.path("store")), "the store");
    assert_eq!(files(&layout.folder), before);
    assert_same(&content, &tree(&layout.folder), "the source");

    // A link to a file elsewhere is none in the source either.
    fs::rename(blob_path(&layout.folder, &spoiled), world.path("elsewhere")).unwrap();
    fs::write(world.path("elsewhere"), b"to be spoiled").unwrap();
    std::os::unix::fs::symlink(world.path("elsewhere"), blob_path(&layout.folder, &spoiled)).unwrap();
    let error = world.fails(1, "import --link hardlink from");
    assert!(error.contains("not a regular file"), "{error}");
    assert_eq!(world.blob_files(), [""; 0]);
}

fn a_blob_that_the_store_has_is_not_linked(world: &World) {
    let mut layout = layout(world, &[b"shared"]);
    world.ok("import from");
    let own = inodes(&world.path("store"));
    let image = layout.image(&[b"shared", b"new"]);
    layout.add(image, Some("next"));
    world.ok("import --link hardlink --sref next from");
    let (from, store) = (inodes(&layout.folder), inodes(&world.path("store")));
    assert!(own.iter().all(|(digest, inode)| store[digest] == *inode && from[digest] != *inode));
    let linked = store.iter().filter(|(digest, inode)| from[*digest] == **inode).count();
    assert_eq!(linked, 3, "the new manifest, config and layer");
    world.ok("check --read-data");
}

fn between_filesystems_there_are_no_links_and_the_error_says_what_to_do(world: &World) {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    if elsewhere.path().metadata().unwrap().dev() == world.root().metadata().unwrap().dev() {
        return;
    }
    let mut layout = Builder::new(elsewhere.path().join("from"));
    for name in ["one", "two"] {
        let image = layout.image(&[name.as_bytes()]);
        layout.add(image, Some(name));
    }
    let (from, store) = (layout.folder.display(), store_tree(&world.path("store")));
    for how in ["hardlink", "reflink"] {
        let error = world.fails(1, &format!("import --all --link {how} {from}"));
        assert!(error.contains("another filesystem") && error.contains("--link copy"), "{error}");
        assert_same(&store, &store_tree(&world.path("store")), how);
    }
    world.ok(&format!("import --all --link copy {from}"));
    world.ok("check --read-data");
}

fn a_reflink_is_made_or_the_filesystem_is_named(world: &World) {
    let layout = layout(world, &[b"small", &[7; 3 << 20]]);
    let (before, store) = (files(&layout.folder), store_tree(&world.path("store")));
    let ran = world.run("import --link reflink from");
    if ran.code() == Some(0) {
        world.ok("check --read-data");
        assert!(inodes(&world.path("store")).iter().all(|(digest, inode)| before[digest].0 != *inode));
    } else {
        let error = ran.fails(1);
        assert!(error.contains("no reflink") && error.contains("--link copy"), "{error}");
        assert_same(&store, &store_tree(&world.path("store")), "the store");
    }
    assert_eq!(files(&layout.folder), before);
}

fn links_of_what_is_no_folder_are_refused(world: &World) {
    let layout = layout(world, &[b"layer"]);
    pack(&layout.folder, &world.path("from.tar"));
    let archive = fs::read(world.path("from.tar")).unwrap();
    fs::write(world.path("from.tar.gz"), crate::common::layout::gzip(&archive)).unwrap();
    let store = store_tree(&world.path("store"));
    for how in ["hardlink", "reflink"] {
        for source in ["from.tar", "from.tar.gz"] {
            let error = world.fails(2, &format!("import --link {how} {source}"));
            assert!(error.contains(source) && error.contains("--link"), "{error}");
        }
        let error = world.run_with(&format!("import --link {how} -"), b"").fails(2);
        assert!(error.contains("--link"), "{error}");
    }
    assert_same(&store, &store_tree(&world.path("store")), "the store");
    world.ok("import --link copy from.tar");

    // In a shared store, a file that its group can't read is no blob.
    let path = blob_path(&layout.folder, &blobs_of(&layout.folder)[0]);
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    let error = world.fails(1, "--shared --store-path other import --link hardlink from");
    assert!(error.contains("shared") && error.contains("--link copy"), "{error}");
}
