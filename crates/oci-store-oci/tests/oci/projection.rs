//! `index.json` as the store writes it: whatever happens to the file, it shows the refs again.

use std::fs;
use std::os::unix::fs::symlink;

use oci_store_oci::{Condition, Policy, Store};
use serde_json::{Value, json};

use crate::common::{Bench, assert_sound, benches, failure, import, index_json, listed_names, name, refs};
use crate::images::Images;

fn filled(bench: &Bench) -> Store {
    let store = bench.open();
    let mut images = Images::default();
    let image = images.simple("a");
    images.name("a", &image);
    import(&store, &images, "a").unwrap();
    store.tag("a", &name("b"), Condition::Any).unwrap();
    store
}

#[test]
fn an_index_json_that_is_no_use_is_written_anew() {
    for bench in benches() {
        let store = filled(&bench);
        let wanted = refs(&store);
        let path = bench.index_json();
        let good = fs::read_to_string(&path).unwrap();
        let twice = good.replacen('{', r#"{"schemaVersion":2,"#, 1);
        let no_name = good.replace("org.opencontainers.image.ref.name", "nothing");
        let cut = good[..good.len() / 2].to_owned();
        for bad in ["", "{}", "[]", "\0\0\0\0", r#"{"schemaVersion":2,"manifests":null}"#, &cut, &twice, &no_name] {
            fs::write(&path, bad).unwrap();
            bench.open();
            assert_eq!(listed_names(store.root()), wanted, "{bad}");
            assert_eq!(refs(&store), wanted, "{bad}");
        }
        // That last one listed an image without a name.
        assert_eq!(store.pins().unwrap().len(), 1);
        fs::remove_file(&path).unwrap();
        store.refresh().unwrap();
        assert_eq!(listed_names(store.root()), wanted);
        fs::remove_file(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
        store.refresh().unwrap();
        assert_sound(&store);
    }
}

/// Something else in its place is for people to look at: nothing is followed, nobody waits, nothing is changed.
#[test]
fn another_thing_in_place_of_index_json_is_an_error() {
    let bench = Bench::new("memory");
    let store = filled(&bench);
    let (path, elsewhere) = (bench.index_json(), bench.beside("elsewhere"));
    fs::rename(&path, &elsewhere).unwrap();
    let text = fs::read(&elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let error = store.tag("a", &name("c"), Condition::Any).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(store.tag("a", &name("c"), Condition::Any).is_err());
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(store.tag("a", &name("c"), Condition::Any).is_err());
    fs::remove_file(&path).unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), text);
    store.tag("a", &name("c"), Condition::Any).unwrap();
    assert_sound(&store);
}

#[test]
fn a_file_of_before_a_crash_is_brought_up_to_date() {
    for bench in benches() {
        let store = filled(&bench);
        let before = fs::read(bench.index_json()).unwrap();
        store.remove_ref(&name("b")).unwrap();
        store.tag("a", &name("c"), Condition::Any).unwrap();
        // The refs were committed; the file was not written.
        fs::write(bench.index_json(), &before).unwrap();
        let store = bench.open();
        assert_sound(&store);
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["a", "c"]);
    }
}

#[test]
fn formatting_is_no_change() {
    for bench in benches() {
        let store = filled(&bench);
        let before = fs::read(bench.index_json()).unwrap();
        store.remove_ref(&name("b")).unwrap();
        // An old file of ours, only set more nicely: what was removed does not come back.
        let value: Value = serde_json::from_slice(&before).unwrap();
        fs::write(bench.index_json(), serde_json::to_string_pretty(&value).unwrap()).unwrap();
        store.refresh().unwrap();
        assert!(!refs(&store).contains_key("b"));
        assert_sound(&store);
    }
}

#[test]
fn a_file_from_the_future_is_taken_in() {
    for bench in benches() {
        let store = filled(&bench);
        let other = Bench::new(bench.backend);
        let there = filled(&other);
        for n in 0..5 {
            there.tag("a", &name(&format!("new{n}")), Condition::Any).unwrap();
        }
        // Another store's file, or this one's, after an older index was put back.
        fs::copy(other.index_json(), bench.index_json()).unwrap();
        store.refresh().unwrap();
        assert_eq!(refs(&store), refs(&there));
        assert_sound(&store);
        store.remove_ref(&name("new0")).unwrap();
        assert_sound(&store);
    }
}

/// What changes the file in the very moment after it was written, without its size, is seen.
#[test]
fn a_change_in_the_same_tick_is_seen() {
    for bench in benches() {
        let store = filled(&bench);
        for n in 10..40 {
            store.tag("a", &name(&format!("v{n}")), Condition::Any).unwrap();
            let text = fs::read_to_string(bench.index_json()).unwrap();
            let edited = text.replace(&format!("\"v{n}\""), &format!("\"w{n}\""));
            assert_eq!(text.len(), edited.len());
            fs::write(bench.index_json(), edited).unwrap();
            store.refresh().unwrap();
            assert!(refs(&store).contains_key(&format!("w{n}")));
        }
        assert_sound(&store);
    }
}

#[test]
fn what_was_swapped_out_before_a_crash_is_looked_at() {
    for bench in benches() {
        let store = filled(&bench);
        let mut theirs = index_json(store.root());
        let entry = theirs["manifests"][0].to_string().replace(r#""a""#, r#""theirs""#);
        theirs["manifests"].as_array_mut().unwrap().push(serde_json::from_str(&entry).unwrap());
        let swapped = store.base().own_folder().join("index.json.new");
        for (what, gone) in [(theirs.to_string(), false), ("{".to_owned(), false), (theirs.to_string(), true)] {
            fs::write(&swapped, what).unwrap();
            if gone {
                store.remove_ref(&name("theirs")).unwrap();
                fs::remove_file(bench.index_json()).unwrap();
                fs::write(&swapped, theirs.to_string().replace("theirs", "others")).unwrap();
            }
            store.tag("a", &name("c"), Condition::Any).unwrap();
            assert!(!swapped.exists());
            assert!(refs(&store).contains_key(if gone { "others" } else { "theirs" }));
            assert_sound(&store);
        }
    }
}

/// A look at the file, and no lock, is all that it takes if nothing has changed.
#[test]
fn nothing_is_written_for_nothing() {
    use std::os::unix::fs::MetadataExt;
    for bench in benches() {
        let store = filled(&bench);
        let inode = || fs::metadata(bench.index_json()).unwrap().ino();
        let before = inode();
        for _ in 0..3 {
            store.refresh().unwrap();
            bench.open();
            store.gc(oci_store_oci::Extent::Changed, false).unwrap();
        }
        assert_eq!(inode(), before);
    }
}

/// The counter goes on from what a file shows, and never comes to its end by that.
#[test]
fn a_generation_that_nobody_has_counted_to_is_none() {
    for generation in [u64::MAX, u64::MAX - 1, 1 << 48, (1 << 48) - 1] {
        for bench in benches() {
            let mut images = Images::default();
            let image = images.simple("image");
            images.name("app:1", &image);
            images.write(&bench.root());
            let mut index = index_json(&bench.root());
            index["annotations"] = json!({ "io.oci-store.generation": generation.to_string() });
            fs::write(bench.index_json(), index.to_string()).unwrap();
            let store = bench.options().adopt(bench.root(), false, &()).unwrap().store;
            for later in ["app:2", "app:3"] {
                store.tag("app:1", &name(later), Condition::Any).unwrap();
            }
            store.prune(&Policy { keep_last: Some(1), ..Policy::default() }, false).unwrap();
            assert_eq!(listed_names(store.root()).into_keys().collect::<Vec<_>>(), ["app:3"], "{generation}");
            store.remove_ref(&name("app:3")).unwrap();
            bench.open();
            assert_eq!(
                (refs(&store).len(), listed_names(store.root()).len()),
                (0, 0),
                "{} {generation}",
                bench.backend
            );
        }
    }
}

/// An index of before, or one that is damaged, may have such a number: it is told, and a reindex counts anew.
#[test]
fn a_counter_at_its_end_is_counted_anew() {
    for bench in benches() {
        let store = filled(&bench);
        store.base().update(|txn| txn.set_number("refs", u64::MAX)).unwrap();
        let (_, error) = failure(store.tag("a", &name("c"), Condition::Any));
        assert!(error.contains("reindex"), "{}: {error}", bench.backend);
        let (store, _) = bench.options().reindex(bench.root()).unwrap();
        store.tag("a", &name("c"), Condition::Any).unwrap();
        assert_eq!(listed_names(store.root()).into_keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_sound(&store);
    }
}
