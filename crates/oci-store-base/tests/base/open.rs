//! Opening and making stores.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use oci_store_base::{Error, FORMAT, OpenOptions};
use oci_store_cas::Access;
use oci_store_index::{Backend, Index};
use serde_json::json;

use crate::child::{Here, Process, say, wait};
use crate::common::{
    Bench, assert_blobs, benches, config, digest, disk_benches, failure, index_folder, names, put, read, set_config,
    tree,
};

#[test]
fn everybody_makes_the_store_at_once() {
    for bench in disk_benches() {
        let mut children: Vec<Process> = (0..4).map(|_| Process::start(&bench, "create")).collect();
        for child in &mut children {
            child.expect("ready");
        }
        for child in &mut children {
            child.go_on();
        }
        for mut child in children {
            child.expect("done");
            child.join();
        }
        let store = bench.open();
        assert_eq!(config(&bench.own())["epoch"], 1, "{}", bench.name);
        for thread in 0..8 {
            assert!(!store.view(|view| view.blobs(&Default::default(), None, 99)).unwrap().is_empty(), "{thread}");
        }
        assert_blobs(&store, &[&digest(b"same")]);
    }
}

pub(crate) fn child_create(here: Here) {
    let start = Barrier::new(9);
    thread::scope(|scope| {
        for _ in 0..8 {
            let (options, root, start) = (here.options.clone(), &here.root, &start);
            scope.spawn(move || {
                start.wait();
                let store = options.open(root).unwrap();
                put(&store, "r", b"same");
            });
        }
        say("ready");
        wait();
        start.wait();
    });
    say("done");
}

#[test]
fn mismatches_are_typed_and_change_nothing() {
    for bench in disk_benches() {
        let absent = bench.options().create(false).open(bench.root());
        assert!(matches!(failure(absent), Error::NoStore(_)));
        assert!(!bench.root().exists());
        let unknown = bench.options().index(Some("redis")).open(bench.root());
        assert!(matches!(failure(unknown), Error::NoBackend { name, .. } if name == "redis"));
        assert!(!bench.root().exists());
        assert!(matches!(failure(OpenOptions::new("test", Vec::new()).open(bench.root())), Error::NoBackend { .. }));

        put(&bench.open(), "r", b"blob");
        let before = tree(&bench.root());
        let kind = failure(OpenOptions::new("other", bench.backends()).open(bench.root()));
        assert!(matches!(kind, Error::Kind { expected, found, .. } if expected == "other" && found == "test"));
        let other = if bench.name == "lmdb" { "sqlite" } else { "lmdb" };
        let mismatch = failure(bench.options().index(Some(other)).open(bench.root()));
        assert!(matches!(mismatch, Error::IndexMismatch { asked, found, .. } if asked == other && found == bench.name));
        let none = failure(OpenOptions::new("test", bench.backends().split_off(1)).open(bench.root()));
        assert!(matches!(none, Error::NoBackend { name, .. } if name == bench.name));
        set_config(&bench.own(), "format", json!(FORMAT + 1));
        let newer = failure(bench.options().open(bench.root()));
        assert!(matches!(newer, Error::NewerFormat { found, known: FORMAT, .. } if found == FORMAT + 1));
        failure(bench.options().reindex(bench.root(), |_| Ok(())));
        set_config(&bench.own(), "format", json!(FORMAT));
        let mut after = tree(&bench.root());
        // Written anew by this test, with other white space.
        let path = bench.own().join("config.json");
        after.insert(path.clone(), before[&path].clone());
        assert_eq!(before, after, "{}", bench.name);
        assert_eq!(
            read(&bench.options().index(Some(bench.name)).open(bench.root()).unwrap(), &digest(b"blob")),
            b"blob"
        );
    }
}

#[test]
fn a_config_that_is_none() {
    for bench in benches() {
        bench.open();
        for text in ["", "{", "[]", "{\"format\":\"x\"}", "{\"format\":1}"] {
            fs::write(bench.own().join("config.json"), text).unwrap();
            assert!(matches!(failure(bench.options().open(bench.root())), Error::Config { .. }), "{text}");
        }
    }
}

#[test]
fn other_folders_are_refused() {
    for bench in benches() {
        fs::create_dir(bench.root()).unwrap();
        fs::write(bench.root().join("file"), b"mine").unwrap();
        let before = tree(&bench.root());
        assert!(matches!(failure(bench.options().open(bench.root())), Error::NotAStore(_)));
        assert_eq!(tree(&bench.root()), before);
        fs::remove_file(bench.root().join("file")).unwrap();
        // An empty one is taken, and a new file system too.
        fs::create_dir(bench.root().join("lost+found")).unwrap();
        bench.open();
    }
}

#[test]
fn a_store_in_the_making_is_completed() {
    for bench in disk_benches() {
        // Killed before the config was written, by one who wanted another index.
        let other = if bench.name == "lmdb" { "sqlite" } else { "lmdb" };
        bench.options().index(Some(other)).open(bench.root()).unwrap();
        fs::remove_file(bench.own().join("config.json")).unwrap();
        let store = bench.open();
        assert_eq!(store.index_name().unwrap(), bench.name);
        put(&store, "r", b"blob");
        for folder in ["blobs", ".oci-store/leases", ".oci-store/ingest"] {
            fs::remove_dir_all(bench.root().join(folder)).unwrap();
        }
        fs::remove_file(bench.own().join("config.json")).unwrap();
        put(&bench.open(), "r", b"blob");
    }
}

#[test]
fn a_store_without_its_config_is_not_made_anew() {
    for bench in disk_benches() {
        put(&bench.open(), "r", b"blob");
        let config = bench.own().join("config.json");
        fs::rename(&config, bench.root().with_extension("json")).unwrap();
        let before = tree(&bench.root());
        assert!(matches!(failure(bench.options().open(bench.root())), Error::Config { .. }));
        assert_eq!(tree(&bench.root()), before, "{}", bench.name);
        fs::rename(bench.root().with_extension("json"), &config).unwrap();
        assert_eq!(read(&bench.open(), &digest(b"blob")), b"blob");
    }
}

#[test]
fn a_lost_index_is_said_and_stays_lost() {
    for bench in disk_benches() {
        let store = bench.open();
        put(&store, "r", b"blob");
        drop(store);
        let index = index_folder(&bench.own());
        let away = bench.root().with_extension("away");
        fs::rename(&index, &away).unwrap();
        let before = tree(&bench.root());
        for _ in 0..2 {
            assert!(matches!(failure(bench.options().open(bench.root())), Error::IndexLost { .. }));
            assert_eq!(tree(&bench.root()), before, "{}", bench.name);
        }
        // Emptied: whatever a backend makes of an empty folder, it is no index of this store.
        fs::create_dir(&index).unwrap();
        for _ in 0..2 {
            assert!(matches!(failure(bench.options().open(bench.root())), Error::IndexLost { .. }));
            let mut after = tree(&bench.root());
            after.retain(|path, _| !path.starts_with(&index));
            assert_eq!(after, before);
        }
        // Another one in its place.
        let stranger = Bench::new(bench.name);
        stranger.open().convert(if bench.name == "lmdb" { "sqlite" } else { "lmdb" }).unwrap();
        stranger.open().convert(bench.name).unwrap();
        fs::remove_dir_all(&index).unwrap();
        fs::rename(index_folder(&stranger.own()), &index).unwrap();
        assert!(
            matches!(failure(bench.options().open(bench.root())), Error::IndexLost { why, .. } if why.contains('3'))
        );
        // Garbage.
        fs::remove_dir_all(&index).unwrap();
        fs::create_dir(&index).unwrap();
        for name in names(&away) {
            fs::write(index.join(name), b"garbage".repeat(2000)).unwrap();
        }
        assert!(matches!(failure(bench.options().open(bench.root())), Error::IndexLost { .. }));
        // Back.
        fs::remove_dir_all(&index).unwrap();
        fs::rename(&away, &index).unwrap();
        assert_eq!(read(&bench.open(), &digest(b"blob")), b"blob");
    }
}

#[test]
fn an_open_store_whose_folder_goes() {
    for bench in disk_benches() {
        let store = bench.open();
        fs::rename(bench.root(), bench.root().with_extension("away")).unwrap();
        assert!(matches!(failure(store.update(|txn| txn.count("n"))), Error::NoStore(_) | Error::Io { .. }));
        assert!(matches!(failure(store.view(|view| view.number("n"))), Error::NoStore(_)));
    }
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    // The umask is the process's, so it is set in a process of its own, by a shell.
    if std::env::var_os("OCI_STORE_TEST_UMASK").is_none() {
        for umask in ["000", "022", "077"] {
            let line = format!("umask {umask}; exec \"$0\" open::modes_do_not_depend_on_the_umask --exact");
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &line]).arg(std::env::current_exe().unwrap()).env("OCI_STORE_TEST_UMASK", umask);
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        return;
    }
    for access in [Access::Private, Access::Group] {
        for bench in benches() {
            let store = bench.options().access(access).open(bench.root()).unwrap();
            assert_eq!(store.access(), access);
            put(&store, "r", b"blob");
            let lease = store.lease("test").unwrap();
            lease.name(&[digest(b"blob")]).unwrap();
            let mut staged = &b"staged"[..];
            lease.stage(&digest(b"staged"), 6, &mut staged, &mut |_| Ok(())).unwrap();
            store.convert(if bench.name == "sqlite" { "lmdb" } else { "sqlite" }).unwrap();
            let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode(&bench.root()), access.folder_mode());
            for (path, content) in tree(&bench.root()) {
                let wanted = match content {
                    None => access.folder_mode(),
                    Some(_) if path.starts_with(bench.root().join("blobs")) => access.blob_mode(),
                    Some(_) if path.starts_with(bench.own().join("ingest")) => access.blob_mode(),
                    Some(_) => access.file_mode(),
                };
                assert_eq!(mode(&path), wanted, "{:o} {}", mode(&path), path.display());
            }
            // Who opens it later does as the store is.
            let again = bench.open();
            assert_eq!(again.access(), access);
        }
    }
}

/// Its maker was killed before it set them, or another tool made what is there.
#[test]
fn a_shared_store_gives_its_group_the_rights_that_it_lacks() {
    for access in [Access::Private, Access::Group] {
        let bench = Bench::new("sqlite");
        put(&bench.options().access(access).open(bench.root()).unwrap(), "r", b"blob");
        let own = bench.own();
        let elsewhere = bench.root().with_extension("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, own.join("locks/link")).unwrap();
        fs::create_dir(own.join("ingest/dead")).unwrap();
        let folders = [bench.root(), bench.root().join("blobs"), bench.root().join("blobs/sha256"), own.clone()]
            .into_iter()
            .chain(["locks", "leases", "ingest", "ingest/dead", "index"].map(|name| own.join(name)));
        let lacking = |path: std::path::PathBuf, mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            (path, mode)
        };
        let folders: Vec<_> = folders.map(|path| lacking(path, 0o755)).collect();
        let files =
            [own.join("locks/writer"), own.join("locks/store"), elsewhere.clone()].map(|path| lacking(path, 0o600));
        bench.open();
        for (path, was) in folders.into_iter().chain(files) {
            let needed = if access == Access::Private || path == elsewhere {
                0
            } else if path.is_dir() {
                access.folder_mode()
            } else {
                access.file_mode()
            };
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, was | needed, "{mode:o} {}", path.display());
        }
    }
}

/// Somebody of the group exchanges what lies in the store, so that whoever opens it next might open their own files to all.
#[test]
fn a_shared_store_gives_nothing_that_was_put_there() {
    for name in ["blobs", ".oci-store", ".oci-store/ingest", ".oci-store/locks", ".oci-store/index"] {
        let bench = Bench::new("sqlite");
        put(&bench.options().access(Access::Group).open(bench.root()).unwrap(), "r", b"blob");
        let elsewhere = bench.root().with_extension("elsewhere");
        let private = [
            (elsewhere.clone(), 0o700),
            (elsewhere.join("folder"), 0o700),
            (elsewhere.join("empty"), 0o600),
            (bench.root().join("moved"), 0o600),
            (bench.root().join("linked"), 0o600),
        ];
        fs::create_dir_all(elsewhere.join("folder")).unwrap();
        fs::write(elsewhere.join("empty"), "").unwrap();
        fs::write(bench.root().join("moved"), "secret").unwrap();
        fs::write(bench.root().join("linked"), "").unwrap();
        for (path, mode) in &private {
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let locks = bench.own().join("locks");
        fs::hard_link(bench.root().join("moved"), locks.join("moved")).unwrap();
        fs::hard_link(bench.root().join("linked"), locks.join("linked")).unwrap();
        let (place, kept) = (bench.root().join(name), bench.root().with_extension("kept"));
        fs::rename(&place, &kept).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        // Whether it can be opened so is another matter.
        let _ = bench.options().open(bench.root());
        for (path, mode) in &private {
            let found = fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, *mode, "{name}: {found:o} {}", path.display());
        }
    }
}

#[test]
fn access_is_that_of_the_store_also_for_one_who_comes_second() {
    // Made by somebody else between the look and the making: the locks' folder is all there is so far.
    let bench = Bench::new("sqlite");
    let barrier = Barrier::new(2);
    for _ in 0..5 {
        let _ = fs::remove_dir_all(bench.root());
        thread::scope(|scope| {
            for access in [Access::Private, Access::Group] {
                let (bench, barrier) = (&bench, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let store = bench.options().access(access).open(bench.root()).unwrap();
                    let shared = config(&bench.own())["shared"] == json!(true);
                    assert_eq!(store.access() == Access::Group, shared);
                    let blob = put(&store, &format!("{access:?}"), format!("{access:?}").as_bytes());
                    let path = store.root().join("blobs/sha256").join(blob.encoded());
                    let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
                    assert_eq!(mode, store.access().blob_mode());
                });
            }
        });
    }
}

#[test]
fn the_index_of_another_store_is_not_taken_for_its_own() {
    for bench in disk_benches() {
        let stranger = Bench::new(bench.name);
        for bench in [&bench, &stranger] {
            put(&bench.open(), "r", bench.root().to_str().unwrap().as_bytes());
        }
        let index = index_folder(&bench.own());
        fs::rename(&index, bench.root().with_extension("away")).unwrap();
        fs::rename(index_folder(&stranger.own()), &index).unwrap();
        let lost = failure(bench.options().open(bench.root()));
        assert!(matches!(lost, Error::IndexLost { why, .. } if why.contains("another store")));
        // Nothing of it comes in by a reindex, either.
        let (store, found, ()) = bench.options().reindex(bench.root(), |_| Ok(())).unwrap();
        assert!(found.lost.unwrap().contains("another store"));
        assert_blobs(&store, &[&digest(bench.root().to_str().unwrap().as_bytes())]);
        drop(store);
        // A copy of a whole store is one.
        let copy = Bench::new(bench.name);
        let copied = std::process::Command::new("cp").arg("-a").args([bench.root(), copy.root()]).status().unwrap();
        assert!(copied.success());
        put(&copy.open(), "s", b"more");
        copy.open().convert(if bench.name == "lmdb" { "sqlite" } else { "lmdb" }).unwrap();
        put(&copy.open(), "t", b"and more");
    }
}

/// One who is slow: before it opens its first index, others put so many in its place that it is gone.
#[derive(Debug)]
struct Overtaken {
    inner: Arc<dyn Backend>,
    others: OpenOptions,
    is_first: AtomicBool,
}

impl Backend for Overtaken {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn open(&self, dir: &Path) -> oci_store_index::Result<Arc<dyn Index>> {
        if self.is_first.swap(false, Ordering::Relaxed) {
            let root = dir.ancestors().nth(3).unwrap();
            for _ in 0..7 {
                self.others.clone().reindex(root, |_| Ok(())).unwrap();
            }
            assert!(!dir.exists());
        }
        self.inner.open(dir)
    }
}

#[test]
fn who_is_overtaken_while_it_opens_goes_on_with_the_newer_index() {
    for bench in benches() {
        put(&bench.open(), "ref", b"kept");
        let slow = Overtaken { inner: bench.backend(), others: bench.options(), is_first: AtomicBool::new(true) };
        let store = OpenOptions::new("test", vec![Arc::new(slow)]).open(bench.root()).unwrap();
        assert_blobs(&store, &[&digest(b"kept")]);
    }
}
