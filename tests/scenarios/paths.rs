//! Ways to a store: links, relative paths, spaces, bytes that are no text; and what time it is.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{Clock, Ran, World, over_each_index};

over_each_index!(
    a_store_is_the_same_by_every_path,
    a_link_that_leads_elsewhere_between_two_commands,
    any_path_may_lead_to_a_store,
    one_process_opens_a_store_by_several_paths,
    a_clock_that_goes_back_a_day_changes_nothing,
);

fn by(world: &World, folder: &str, path: &Path, words: &str) -> Ran {
    let mut command = world.oci_store();
    command.current_dir(world.path(folder)).arg("--store-path").arg(path).args(words.split(' '));
    Ran::of(&mut command)
}

fn a_store_is_the_same_by_every_path(world: &World) {
    symlink("store", world.path("link")).unwrap();
    symlink(world.path("link"), world.path("link to a link")).unwrap();
    fs::create_dir(world.path("below")).unwrap();
    let absolute = world.path("store");
    let ways: [(&str, &Path); 6] = [
        ("", Path::new("store")),
        ("", Path::new("link")),
        ("", Path::new("link to a link/")),
        ("below", Path::new("../store/../link/.")),
        ("store", Path::new(".")),
        ("below", &absolute),
    ];
    for (n, (folder, path)) in ways.iter().enumerate() {
        by(world, folder, path, &format!("import --sref v1 --dref r{n} {}", world.path("hello").display())).ok();
        for (folder, path) in ways {
            assert_eq!(by(world, folder, path, "list").ok().lines().count(), n + 2);
        }
    }
    by(world, "", Path::new("link"), "gc --full").ok();
    by(world, "", Path::new("link"), "reindex").ok();
    assert!(fs::symlink_metadata(world.path("link")).unwrap().is_symlink());
    assert_eq!(world.refs().len(), ways.len());
    world.ok("check --read-data");
    // One that leads nowhere is told, and nothing is made where it leads.
    symlink("nowhere/at-all", world.path("dangling")).unwrap();
    for words in ["check", "gc", "import --all hello"] {
        assert!(by(world, "", Path::new("dangling"), words).fails(1).contains("dangling"));
    }
}

fn a_link_that_leads_elsewhere_between_two_commands(world: &World) {
    world.ok("import --sref v1 --dref in-store hello");
    world.ok(&format!("--store-path other --index {} import --sref latest --dref in-other hello", world.index));
    let lead = |to: &str| {
        let _ = fs::remove_file(world.path("link"));
        symlink(to, world.path("link")).unwrap();
    };
    lead("store");
    let handle = oci_store::options().open(world.path("link")).unwrap();
    assert!(world.ok("--store-path link list").contains("in-store"));
    lead("other");
    let list = world.ok("--store-path link list");
    assert!(list.contains("in-other") && !list.contains("in-store"), "{list}");
    world.ok("--store-path link gc --full");
    for store in ["store", "other"] {
        world.ok(&format!("--store-path {store} check --read-data"));
    }
    // One that was open goes on in the one that the path leads to now: the config there says so.
    let names: Vec<String> =
        handle.refs("", None, 9).unwrap().into_iter().map(|found| found.name.to_string()).collect();
    assert_eq!(names, ["in-other"]);
    handle.gc(oci_store::Extent::Full, false).unwrap();
    for store in ["store", "other"] {
        world.ok(&format!("--store-path {store} check --read-data"));
        assert_eq!(world.ok(&format!("--store-path {store} list")).lines().count(), 2);
    }
}

fn any_path_may_lead_to_a_store(world: &World) {
    let paths: [&[u8]; 5] = [b"with spaces", b"\xff\xfe not text", b"-leading", b"line\nfeed", b"a?b=c#d%41"];
    for path in paths {
        let path = Path::new(OsStr::from_bytes(path));
        let words = format!("--index {} import --all hello", world.index);
        let run = |words: &str, locale: &str| {
            let mut command = world.oci_store();
            let option = [OsStr::new("--store-path="), path.as_os_str()].join(OsStr::new(""));
            command.env("LC_ALL", locale).arg(option).args(words.split(' '));
            Ran::of(&mut command)
        };
        run(&words, "C").ok();
        assert_eq!(run("cat v1", "C.UTF-8").ok(), run("cat v1", "C").ok());
        run("tag v1 v2", "C").ok();
        run("gc --full", "C").ok();
        run("reindex", "C").ok();
        run("check --read-data", "C").ok();
        let found: Vec<_> = fs::read_dir(world.path("").join(path)).unwrap().collect();
        assert_eq!(found.len(), 4, "{path:?}");
        // What is wrong is one line, whatever the name.
        run("rm v9", "C").fails(4);
        fs::remove_dir_all(world.root().join(path).join(".oci-store/index")).unwrap();
        run("list", "C").fails(1);
    }
    // So do sources and destinations. A name of a ref is text.
    let odd = OsStr::from_bytes(b"\xff\xfe");
    world.ok("import --all hello");
    Ran::of(world.oci_store().args(["export", "v1"]).arg(odd)).ok();
    Ran::of(world.oci_store().args(["import", "--sref", "v1", "--dref", "v2"]).arg(odd)).ok();
    Ran::of(world.oci_store().arg("export").arg(odd).arg("out")).fails(2);
    for words in [&["tag", "v1"][..], &["inspect"]] {
        let mut command = world.oci_store();
        command.args(words).arg(odd);
        Ran::of(&mut command).fails(2);
    }
}

fn one_process_opens_a_store_by_several_paths(world: &World) {
    world.ok("import --all hello");
    symlink("store", world.path("link")).unwrap();
    fs::create_dir(world.path("below")).unwrap();
    let ways = [world.path("store"), world.path("link"), world.path("below/../store"), world.path("link/../store/.")];
    let stores: Vec<_> = ways.iter().map(|path| oci_store::options().open(path).unwrap()).collect();
    std::thread::scope(|scope| {
        for (n, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..20 {
                    let name = format!("t{n}-{round}").parse().unwrap();
                    store.tag("v1", &name, oci_store::Condition::Any).unwrap();
                    store.gc(oci_store::Extent::Changed, false).unwrap();
                    assert!(store.get_ref(&name).unwrap().is_some());
                }
            });
        }
    });
    // Closing one leaves the locks of the others alone: another process still has to wait for them.
    let mut stores = stores.into_iter();
    let first = stores.next().unwrap();
    drop(stores);
    let held = first
        .base()
        .update(|_| -> oci_store::base::Result<_> { Ok(world.fails(1, "--lock-timeout 100ms tag v1 other")) });
    assert!(held.unwrap().contains("locked"));
    assert_eq!(first.refs("", None, 1000).unwrap().len(), 82);
    drop(first);
    world.ok("check --read-data");
}

/// No time decides what is kept.
fn a_clock_that_goes_back_a_day_changes_nothing(world: &World) {
    let Some(clock) = Clock::new() else { return };
    let faked = |by: &str, words: &str| clock.off_by(by, world, words);
    let run = |by: &str, words: &str| Ran::of(&mut faked(by, words)).ok();
    world.ok("import --all hello");
    assert!(run("+400d", "list").contains(" 400 days ago"), "no faked time: {}", run("+400d", "list"));
    // Back, forth, and back to before the beginning of all time.
    for (n, by) in ["-1d", "+400d", "-30000d"].into_iter().enumerate() {
        run(by, &format!("import --sref v1 --dref r{n} hello"));
        run(by, "rm latest");
        run(by, "gc --full");
        run("-1d", "check --read-data");
        world.ok("import --sref latest hello");
        world.ok("gc");
    }
    assert_eq!(world.refs().len(), 5);
    assert_eq!(world.refs(), world.refs_in_index_json());
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&world.path("hello")));
    // In the middle of an import, beside a gc that is in another time.
    super::end::large(world);
    let mut import = faked("-1d", "import large").spawn().unwrap();
    crate::common::wait_until("it has begun", || !world.names("store/.oci-store/ingest").is_empty());
    for by in ["+1d", "-2d"] {
        run(by, "gc --full");
        assert_eq!(world.names("store/.oci-store/leases").len(), 1);
    }
    import.kill().unwrap();
    import.wait().unwrap();
    run("-3d", "gc");
    world.assert_no_leftovers();
    world.ok("check --read-data");
}
