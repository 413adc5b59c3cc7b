//! `import --resume`: what an import that died has staged of a blob is not copied again.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::common::layout::{Builder, LAYER, blob_path, digest, gzip, pack};
use crate::common::tree::{assert_same, store_tree};
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(
    only_the_rest_is_read_from_the_source,
    what_was_whole_is_not_read_at_all,
    without_the_flag_all_is_read_and_what_is_left_stays_for_gc,
    what_a_live_import_has_is_not_taken,
    what_is_not_the_beginning_is_read_anew,
    of_an_archive_only_the_rest_is_read,
    what_has_no_middle_is_refused,
    a_resumable_import_that_is_interrupted_leaves_what_it_has,
);

const SIZE: usize = 3 << 20;
const HALF: usize = SIZE / 2;

fn layer() -> Vec<u8> {
    (0..SIZE as u32 / 4).flat_map(|n| (n / 3).to_le_bytes()).collect()
}

/// A layout `from` of the image `app` with one layer.
fn layout(world: &World) -> Builder {
    let mut layout = Builder::new(world.path("from"));
    let image = layout.image(&[&layer()]);
    layout.add(image, Some("app"));
    layout
}

/// Spoils the beginning of the layer in the source: who reads it can't get the right bytes any more.
fn spoil(layout: &Builder, length: usize) {
    let path = blob_path(&layout.folder, &digest(&layer()));
    let mut bytes = fs::read(&path).unwrap();
    bytes[..length].fill(0xff);
    fs::write(path, bytes).unwrap();
}

/// The file that a dead import has left of the layer, as its process would have, with or without its lease.
fn left(world: &World, bytes: &[u8], lease: bool) -> PathBuf {
    let own = world.path("store/.oci-store");
    fs::create_dir_all(own.join("ingest/dead-1-0")).unwrap();
    if lease {
        fs::write(own.join("leases/dead-1-0"), format!("pid=1 import\n{}\n", digest(&layer()))).unwrap();
    }
    let path = own.join("ingest/dead-1-0").join(format!("{}-1-0.tmp", digest(&layer()).replace(':', "-")));
    fs::write(&path, bytes).unwrap();
    path
}

fn is_in(world: &World) {
    world.ok("check --read-data");
    world.ok("gc");
    world.assert_no_leftovers();
    assert_eq!(world.run(&format!("cat {}", digest(&layer()))).bytes(), layer());
}

fn only_the_rest_is_read_from_the_source(world: &World) {
    let layout = layout(world);
    spoil(&layout, HALF);
    for lease in [true, false] {
        left(world, &layer()[..HALF], lease);
        world.ok("import --resume from");
        is_in(world);
        world.ok("rm app");
        world.ok("gc");
    }
    left(world, &layer()[..HALF - 1], true);
    let error = world.fails(1, "import --resume from");
    assert!(error.contains(&digest(&layer())), "one byte of what is spoilt was needed: {error}");
}

fn what_was_whole_is_not_read_at_all(world: &World) {
    let layout = layout(world);
    spoil(&layout, SIZE);
    let path = left(world, &layer(), true);
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    world.ok("import --resume from");
    is_in(world);
}

fn without_the_flag_all_is_read_and_what_is_left_stays_for_gc(world: &World) {
    let layout = layout(world);
    let path = left(world, &layer()[..HALF], true);
    world.ok("import from");
    assert_eq!(fs::metadata(&path).unwrap().size(), HALF as u64);
    is_in(world);
    world.ok("rm app");
    world.ok("gc");
    spoil(&layout, HALF);
    left(world, &layer()[..HALF], true);
    world.fails(1, "import from");
}

fn what_a_live_import_has_is_not_taken(world: &World) {
    let layout = layout(world);
    spoil(&layout, HALF);
    let path = left(world, &layer()[..HALF], true);
    let lease = File::open(world.path("store/.oci-store/leases/dead-1-0")).unwrap();
    lease.lock().unwrap();
    world.fails(1, "import --resume from");
    assert_eq!(fs::read(&path).unwrap(), &layer()[..HALF]);
    drop(lease);
    world.ok("import --resume from");
    is_in(world);
}

fn what_is_not_the_beginning_is_read_anew(world: &World) {
    layout(world);
    let mut longer = layer();
    longer.push(0);
    for bytes in [vec![7; HALF], vec![7; SIZE], longer, Vec::new()] {
        left(world, &bytes, true);
        world.ok("import --resume from");
        is_in(world);
        world.ok("rm app");
        world.ok("gc");
    }
}

fn of_an_archive_only_the_rest_is_read(world: &World) {
    let layout = layout(world);
    spoil(&layout, HALF);
    pack(&layout.folder, &world.path("from.tar"));
    left(world, &layer()[..HALF], true);
    world.ok("import --resume from.tar");
    is_in(world);
}

fn what_has_no_middle_is_refused(world: &World) {
    let layout = layout(world);
    pack(&layout.folder, &world.path("from.tar"));
    fs::write(world.path("from.tar.gz"), gzip(&world.read("from.tar"))).unwrap();
    let path = left(world, &layer()[..HALF], true);
    let store = store_tree(&world.path("store"));
    for words in ["import --resume from.tar.gz", "import --resume -", "import --resume --link hardlink from"] {
        let error = world.fails(2, words);
        assert!(error.contains("--resume"), "{error}");
    }
    assert_same(&store, &store_tree(&world.path("store")), "the store");
    assert!(path.exists());
}

/// Ctrl-C: without the flag it cleans up after itself, which is tested elsewhere.
fn a_resumable_import_that_is_interrupted_leaves_what_it_has(world: &World) {
    let mut layout = Builder::new(world.path("endless"));
    // Longer than anybody waits, and without blocks; nobody comes to its end.
    let size: u64 = 1 << 40;
    let endless = digest(b"some name");
    File::create(blob_path(&layout.folder, &endless)).unwrap().set_len(size).unwrap();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = json!({ "mediaType": LAYER, "digest": endless, "size": size });
    let image = layout.manifest(&config, &[layer]);
    layout.add(image, Some("endless"));

    let staged = || {
        let batches = world.names("store/.oci-store/ingest");
        let files = batches.iter().flat_map(|batch| {
            let batch = format!("store/.oci-store/ingest/{batch}");
            world.names(&batch).into_iter().map(move |name| format!("{batch}/{name}"))
        });
        let is_it = |name: &String| name.contains(&endless.replace(':', "-"));
        files.filter(is_it).map(|name| fs::metadata(world.path(&name)).map_or(0, |meta| meta.len())).max()
    };
    let import = world.spawn("import --resume endless");
    wait_until("some of it is staged", || staged() > Some(1 << 20));
    assert!(Command::new("kill").args(["-s", "INT", &import.id().to_string()]).status().unwrap().success());
    assert_eq!(Ran::ended("import --resume", import).code(), Some(130));
    assert!(staged() > Some(1 << 20));
    world.ok("gc");
    world.assert_no_leftovers();
}
