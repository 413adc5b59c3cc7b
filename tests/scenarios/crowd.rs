//! Many at once: processes and threads that import, tag, remove, export and collect on one store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use oci_store::{Condition, Extent, ImportOptions, Layout, RefName, Selection, Store};

use crate::common::layout::Builder;
use crate::common::{Ran, World, over_each_index};

over_each_index!(
    processes_that_import_remove_and_collect_at_once_lose_nothing,
    many_that_make_one_store_at_once_make_one,
    exports_into_one_folder_at_once_all_arrive,
);

/// How many commands the crowd runs.
const RUNS: u32 = 100;

/// Layouts `l0`–`l3`, which share layers.
fn layouts(world: &World) {
    for n in 0..4_u8 {
        let mut layout = Builder::new(world.path(&format!("l{n}")));
        let own = vec![n; 30_000];
        let shared = vec![0xff; 50_000];
        let image = layout.image(&[&shared, &own, &[n, n / 2]]);
        let signature = layout.referrer(&image, "application/x.signature", &[n]);
        layout.add(image, Some("app")).add(signature, None);
    }
}

fn processes_that_import_remove_and_collect_at_once_lose_nothing(world: &World) {
    layouts(world);
    world.ok("import --dref kept l0");
    let runs = AtomicU32::new(0);
    let run = |words: &str, codes: &[i32]| {
        let ran = world.run(words);
        runs.fetch_add(1, Ordering::Relaxed);
        assert!(ran.code().is_some_and(|code| codes.contains(&code)), "{words}: {:?} {}", ran.code(), ran.err());
    };
    let on = || runs.load(Ordering::Relaxed) < RUNS;
    // Four processes at a time that change refs, two that collect and look, and two threads of this process.
    let store = Arc::new(oci_store::options().open(world.path("store")).unwrap());
    thread::scope(|scope| {
        for who in 0..4 {
            let run = &run;
            scope.spawn(move || change(who, run, &on));
        }
        for who in 0..2 {
            let (run, store) = (&run, Arc::clone(&store));
            scope.spawn(move || collect(who, run, &on));
            scope.spawn(move || change_in_process(who, &store, world, &on));
        }
    });
    world.ok("check --read-data");
    assert_eq!(world.refs(), world.refs_in_index_json());
    world.ok("gc --full");
    world.assert_no_leftovers();
    world.ok("check --read-data");
    let known: Vec<String> =
        world.json("blobs").as_array().unwrap().iter().map(crate::common::layout::digest_of).collect();
    assert_eq!(known, world.blob_files());
    let names: Vec<String> = world.refs().into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"kept".to_owned()) && names.contains(&"all".to_owned()), "{names:?}");
    for (name, _) in world.refs() {
        world.ok(&format!("rm {name}"));
    }
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
}

/// Imports, tags, renames and removes, with one process at a time.
fn change(who: usize, run: &dyn Fn(&str, &[i32]), on: &dyn Fn() -> bool) {
    for round in 0.. {
        let layout = (who + round) % 4;
        run(&format!("import --dref own{who} l{layout}"), &[0]);
        run(&format!("import --dref all l{layout}"), &[0]);
        run(&format!("tag own{who} tagged{who}"), &[0]);
        run(&format!("rm own{who}"), &[0]);
        if round % 3 == 2 {
            run(&format!("rename tagged{who} renamed{who}-{round}"), &[0]);
            run(&format!("rm renamed{who}-{round}"), &[0]);
        }
        if !on() {
            return;
        }
    }
}

fn collect(who: usize, run: &dyn Fn(&str, &[i32]), on: &dyn Fn() -> bool) {
    while on() {
        run(if who == 0 { "gc" } else { "gc --full" }, &[0]);
        run("check --read-data", &[0]);
        run(&format!("export kept out{who}"), &[0]);
        run("list", &[0]);
        // Somebody may be about to set it.
        run("inspect all", &[0, 4]);
    }
}

/// The same, by the library, in a store that another thread uses too.
fn change_in_process(who: usize, store: &Store, world: &World, on: &dyn Fn() -> bool) {
    let name: RefName = format!("thread{who}").parse().unwrap();
    for round in 0.. {
        let layout = Layout::open(world.path(&format!("l{}", (who + round) % 4))).unwrap();
        let selection = Selection::One { source: None, name: Some(&name) };
        store.import(&layout, &selection, &ImportOptions::default(), &()).unwrap();
        store.tag(name.as_str(), &"all".parse().unwrap(), Condition::Any).unwrap();
        store.gc(Extent::Changed, false).unwrap();
        assert!(store.check(std::slice::from_ref(&name), true, &()).unwrap().problems.is_empty());
        store.remove_ref(&name).unwrap();
        if !on() {
            return;
        }
    }
}

fn many_that_make_one_store_at_once_make_one(world: &World) {
    layouts(world);
    let words = |n: usize| format!("--store-path fresh --index {} import --dref ref{n} l{}", world.index, n % 4);
    let children: Vec<_> = (0..6).map(|n| world.spawn(&words(n))).collect();
    for child in children {
        Ran::ended("import", child).ok();
    }
    assert_eq!(world.ok("--store-path fresh list").lines().count(), 7);
    world.ok("--store-path fresh check --read-data");
}

fn exports_into_one_folder_at_once_all_arrive(world: &World) {
    layouts(world);
    for n in 0..4 {
        world.ok(&format!("import --dref ref{n} l{n}"));
    }
    let children: Vec<_> = (0..4).map(|n| world.spawn(&format!("export ref{n} out"))).collect();
    for child in children {
        Ran::ended("export", child).ok();
    }
    for n in 0..4 {
        world.ok(&format!("--store-path other --index {} import --sref ref{n} out", world.index));
    }
    assert_eq!(world.names("out"), ["blobs", "index.json", "oci-layout"]);
    world.ok("--store-path other check --read-data");
}
