//! A full disk: no bytes, or no inodes, are left. Each command says so in one line or works, nothing is lost, what
//! removes things works, and when there is room again all does. On small file systems of their own, which takes root.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::common::layout::{Builder, LAYER};
use crate::common::{World, over_each_index};

over_each_index!(
    on_a_full_disk_what_removes_works_and_the_rest_says_why,
    without_inodes_what_removes_works_and_the_rest_says_why,
    on_a_full_ext4_what_removes_works,
    an_import_of_several_ends_at_a_full_disk,
    a_large_collection_works_on_a_full_disk,
    a_reindex_that_finds_no_room_leaves_the_store_as_it_was,
    what_is_done_but_not_shown_is_said_so,
    a_full_destination_is_no_matter_of_the_store,
);

/// Whether this process may mount what it likes, unseen by others. The test `name` is run again, by another process that
/// may, if there can be one; else it is skipped.
fn has_own_mounts(world: &World, name: &str) -> bool {
    const INSIDE: &str = "OCI_STORE_TEST_HAS_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !world.shell("unshare -m mount -t tmpfs none /mnt") {
        eprintln!("skipped: {name}: no file system can be mounted here (it takes root)");
        return false;
    }
    let mut again = Command::new("unshare");
    let test = format!("space::{}::{name}", world.index);
    again.arg("-m").arg(std::env::current_exe().unwrap()).args(["--exact", &test]).env(INSIDE, "1");
    let output = again.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{out}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// `store` in this world, moved to a file system of its own.
struct Small<'w> {
    world: &'w World,
    mount: PathBuf,
}

impl<'w> Small<'w> {
    fn new(world: &'w World, mkfs: &str, mount: &str) -> Self {
        let folder = world.path("mount");
        fs::create_dir(&folder).unwrap();
        assert!(world.shell(mkfs), "{mkfs}");
        assert!(world.shell(&format!("mount {mount} mount")), "mount {mount}");
        let store = world.path("store");
        fs::remove_file(&store).or_else(|_| fs::remove_dir_all(&store)).unwrap();
        fs::create_dir(folder.join("store")).unwrap();
        std::os::unix::fs::symlink("mount/store", store).unwrap();
        world.ok(&format!("--index {} import --all hello", world.index));
        Self { world, mount: folder }
    }

    fn tmpfs(world: &'w World, options: &str) -> Self {
        Self::new(world, "true", &format!("-t tmpfs -o {options} none"))
    }

    /// Leaves not a byte.
    fn fill(&self) {
        for (name, piece) in [("fill", 1 << 16), ("fill", 1 << 10), ("rest", 1)] {
            let mut file = OpenOptions::new().append(true).create(true).open(self.mount.join(name)).unwrap();
            while file.write_all(&vec![b'x'; piece]).is_ok() {}
        }
    }

    /// Leaves not an inode.
    fn fill_inodes(&self) {
        fs::create_dir(self.mount.join("fill")).unwrap();
        (0..).find(|n| File::create(self.mount.join(format!("fill/{n}"))).is_err()).unwrap();
    }

    fn empty(&self) {
        let _ = fs::remove_file(self.mount.join("fill")).or_else(|_| fs::remove_dir_all(self.mount.join("fill")));
        let _ = fs::remove_file(self.mount.join("rest"));
    }

    /// The command works, or says that there is no room, and never that the index should be built anew.
    fn works_or_says(&self, words: &str) {
        let ran = self.world.run(words);
        if ran.code() != Some(0) {
            let error = ran.fails(1);
            assert!(error.contains("No space left on device"), "{words}: {error}");
            assert!(error.ends_with("; `rm` and `gc` make room"), "{words}: {error}");
            assert!(error.contains("store/") && !error.contains("reindex"), "{words}: {error}");
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        self.world.shell("umount mount && rmdir mount");
    }
}

/// A layout with `count` images, each with a layer of `size` bytes of its own, and `more` small ones.
fn images(world: &World, count: usize, size: usize, more: usize) -> Vec<String> {
    let mut layout = Builder::new(world.path("images"));
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let mut names = Vec::new();
    for image in 0..count {
        let mut layers = vec![layout.blob(LAYER, &vec![image as u8; size])];
        layers.extend((0..more).map(|n| layout.blob(LAYER, format!("{image} {n}").as_bytes())));
        let manifest = layout.manifest(&config, &layers);
        names.push(format!("i{image}"));
        layout.add(manifest, names.last().map(String::as_str));
    }
    names
}

const OTHERS: [&str; 8] = [
    "tag v1 t1",
    "pin v1",
    "data set a b c",
    "import --sref i2 images",
    "import --all images",
    "reindex",
    "check --read-data",
    "gc --dry-run --full",
];

/// What is asked of a store whose disk has become full by `fill`.
fn is_good_when_full(small: &Small<'_>, fill: fn(&Small<'_>)) {
    let world = small.world;
    images(world, 3, 600_000, 0);
    world.ok("import --sref i0 images");
    world.ok("import --sref i1 images");
    let before = world.refs();
    fill(small);
    assert_eq!(world.refs(), before);
    for words in ["inspect i0", "cat v1", "blobs", "check", "list"] {
        world.ok(words);
    }
    for words in ["rename latest other"].into_iter().chain(OTHERS) {
        small.works_or_says(words);
        fill_up(small, fill);
        world.ok("check");
    }
    let names = |world: &World| world.refs().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    for kept in ["i0", "i1", "v1"] {
        assert!(names(world).iter().any(|name| name == kept), "{kept}");
    }
    assert_eq!(world.refs(), world.refs_in_index_json());
    // Removing works, on a disk that is as full as ever.
    for name in ["i0", "i1"] {
        world.ok(&format!("rm {name}"));
        fill_up(small, fill);
    }
    assert_eq!(world.refs(), world.refs_in_index_json());
    let removed = world.json("gc");
    assert!(removed["bytes"].as_u64().unwrap() >= 1_200_000, "{removed}");
    assert!(!names(world).iter().any(|name| name == "i0" || name == "i1"));
    world.ok("gc --full");
    world.assert_no_leftovers();
    // And with room, all does.
    small.empty();
    for words in OTHERS {
        world.run(words).ok_with_warnings();
    }
    world.ok("check --read-data");
    assert_eq!(world.refs(), world.refs_in_index_json());
}

fn fill_up(small: &Small<'_>, fill: fn(&Small<'_>)) {
    small.empty();
    fill(small);
}

fn on_a_full_disk_what_removes_works_and_the_rest_says_why(world: &World) {
    if !has_own_mounts(world, "on_a_full_disk_what_removes_works_and_the_rest_says_why") {
        return;
    }
    is_good_when_full(&Small::tmpfs(world, "size=16m"), |small| small.fill());
}

fn without_inodes_what_removes_works_and_the_rest_says_why(world: &World) {
    if !has_own_mounts(world, "without_inodes_what_removes_works_and_the_rest_says_why") {
        return;
    }
    is_good_when_full(&Small::tmpfs(world, "size=64m,nr_inodes=160"), |small| small.fill_inodes());
}

fn on_a_full_ext4_what_removes_works(world: &World) {
    if !has_own_mounts(world, "on_a_full_ext4_what_removes_works") {
        return;
    }
    let mkfs = "truncate -s 40M image && mkfs.ext4 -q -m 0 image";
    is_good_when_full(&Small::new(world, mkfs, "-o loop image"), |small| small.fill());
}

fn an_import_of_several_ends_at_a_full_disk(world: &World) {
    if !has_own_mounts(world, "an_import_of_several_ends_at_a_full_disk") {
        return;
    }
    let _small = Small::tmpfs(world, "size=16m");
    images(world, 10, 2 << 20, 0);
    let before = (world.refs(), world.blob_files());
    let error = world.fails(1, "import --all images");
    assert!(error.contains("No space left on device") && error.contains("0 of 10 images"), "{error}");
    assert_eq!((world.refs(), world.blob_files()), before);
    world.assert_no_leftovers();
    world.ok("import --sref i3 images");
}

/// More rows than the reserve has room for at once.
fn a_large_collection_works_on_a_full_disk(world: &World) {
    if !has_own_mounts(world, "a_large_collection_works_on_a_full_disk") {
        return;
    }
    for words in ["gc", "gc --full"] {
        let small = Small::tmpfs(world, "size=96m");
        let names = images(world, 30, 1000, 100);
        world.ok("import --all images");
        world.ok("gc --full");
        world.ok(&format!("rm {}", names.join(" ")));
        small.fill();
        assert_eq!(world.json(words)["blobs"], json!(30 * 102 + 1));
        world.ok("check --read-data");
        drop(small);
        fs::remove_dir_all(world.path("images")).unwrap();
    }
}

fn a_reindex_that_finds_no_room_leaves_the_store_as_it_was(world: &World) {
    if !has_own_mounts(world, "a_reindex_that_finds_no_room_leaves_the_store_as_it_was") {
        return;
    }
    let small = Small::tmpfs(world, "size=16m");
    world.ok("data set a b c");
    small.fill();
    let used = || blocks(&world.path("store/.oci-store/index"));
    let before = used();
    let error = world.fails(1, "reindex");
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(world.names("store/.oci-store/index"), ["1"]);
    assert_eq!(used(), before);
    small.empty();
    world.ok("reindex");
    assert_eq!(world.ok("data get a b"), "c");
}

/// The index has room to commit, and there is no inode for a new `index.json`.
fn what_is_done_but_not_shown_is_said_so(world: &World) {
    if !has_own_mounts(world, "what_is_done_but_not_shown_is_said_so") {
        return;
    }
    let small = Small::tmpfs(world, "size=64m,nr_inodes=160");
    world.ok("tag v1 old");
    for (words, done, names) in [
        ("tag v1 new", "the ref new is set", "latest new old v1"),
        ("rm old", "the ref old is removed", "latest new v1"),
        ("rename latest l", "the ref latest is now l", "l new v1"),
        ("pin v1", "is pinned", "l new v1"),
    ] {
        fs::remove_dir_all(world.path("store/.oci-store/reserve")).unwrap();
        small.fill_inodes();
        let shown = world.refs_in_index_json();
        let error = world.fails(1, words);
        assert!(error.contains(done) && error.contains("index.json could not be brought up to date"), "{error}");
        assert!(error.contains("No space left on device"), "{error}");
        assert_eq!(world.refs_in_index_json(), shown);
        // Another change would need it; a look does not.
        let error = world.run("tag v1 more");
        assert_eq!(error.code(), Some(1));
        let list = world.run("list");
        assert!(list.err().contains("index.json can't be brought up to date"), "{}", list.err());
        let listed = list.ok_with_warnings();
        let listed: Vec<_> = listed.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(listed.join(" "), names);
        small.empty();
        // The next command does it.
        world.ok("list");
        let shown: Vec<_> = world.refs_in_index_json().into_iter().map(|(name, _)| name).collect();
        assert_eq!(shown.join(" "), names);
    }
}

fn a_full_destination_is_no_matter_of_the_store(world: &World) {
    if !has_own_mounts(world, "a_full_destination_is_no_matter_of_the_store") {
        return;
    }
    let small = Small::tmpfs(world, "size=16m");
    let large = format!("--store-path large --index {}", world.index);
    images(world, 1, 2 << 20, 0);
    world.ok(&format!("{large} import --all images"));
    small.fill();
    for to in ["mount/i.tar", "mount/layout", "store"] {
        let error = world.fails(1, &format!("{large} export i0 {to}"));
        assert!(error.contains(&to[..5]) && error.ends_with("No space left on device (os error 28)"), "{error}");
    }
}

fn blocks(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| if e.path().is_dir() { blocks(&e.path()) } else { e.metadata().unwrap().blocks() }).sum()
}
