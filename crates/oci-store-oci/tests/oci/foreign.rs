//! Other tools write into the store's folder: what they write is adopted, what they lose is put back.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use oci_store_oci::{Condition, Descriptor, REF_NAME, Store};
use serde_json::{Value, json};

use crate::common::{Bench, assert_sound, benches, files, import, index_json, listed, name, refs, sweep, unnamed};
use crate::images::{Images, digest};

/// As most tools write: under another name, then renamed.
fn write(root: &Path, index: &Value) {
    let temporary = root.join("index.json.tmp");
    fs::write(&temporary, index.to_string()).unwrap();
    fs::rename(temporary, root.join("index.json")).unwrap();
}

fn edit(root: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    let mut index = index_json(root);
    change(index["manifests"].as_array_mut().unwrap());
    write(root, &index);
}

fn named(text: &str, image: &Descriptor) -> Value {
    let mut entry = image.clone();
    entry.set_annotation(REF_NAME, Some(text));
    serde_json::to_value(entry).unwrap()
}

/// A store with the ref `ours`.
fn filled(bench: &Bench) -> (Store, Descriptor) {
    let store = bench.open();
    let mut images = Images::default();
    let image = images.simple("ours");
    images.name("ours", &image);
    import(&store, &images, "ours").unwrap();
    (store, image)
}

#[test]
fn what_others_write_is_adopted() {
    for bench in benches() {
        let (store, _) = filled(&bench);
        let mut theirs = Images::default();
        let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|text| theirs.simple(text));
        let about = theirs.about(&a, "about");
        theirs.write_blobs(store.root());
        edit(store.root(), |entries| {
            entries.push(named("theirs/a:1", &a));
            entries.push(json!(b));
            entries.push(json!(about));
            // Two of one name: the last stands for it. The other is kept without it, as is what has a name that is none.
            entries.extend([named("twice", &c), named("twice", &a)]);
            // And one that is there as it is again.
            entries.extend([named("same", &e), named("same", &e)]);
            entries.push(named("no name!", &d));
        });
        sweep(&store);
        assert_eq!(refs(&store)["theirs/a:1"], a.digest);
        assert_eq!(refs(&store)["twice"], a.digest);
        let pins: Vec<_> = store.pins().unwrap().into_iter().map(|pin| pin.digest).collect();
        assert!([&b, &c, &d].iter().all(|image| pins.contains(&image.digest)) && pins.len() == 3, "{pins:?}");
        assert_eq!(unnamed(store.root()), [&b, &c, &d, &about].map(|x| x.digest.clone()).into());
        assert_sound(&store);
        assert!(store.check(&[], true, &()).unwrap().problems.is_empty());
        store.remove_ref(&name("theirs/a:1")).unwrap();
        store.remove_ref(&name("twice")).unwrap();
        sweep(&store);
        assert!(!files(store.root()).contains(&about.digest));
    }
}

#[test]
fn bad_entries_are_left_out_and_harm_nobody() {
    for bench in benches() {
        let (store, _) = filled(&bench);
        let mut theirs = Images::default();
        let good = theirs.simple("good");
        let (cut, rotten, absent, shared) =
            (theirs.simple("cut"), theirs.simple("rotten"), theirs.simple("absent"), theirs.layer("good"));
        let mut wrong = shared.clone();
        wrong.size += 1;
        let liar = theirs.manifest("liar", &[wrong]);
        theirs.blobs.insert(digest(b"cut"), b"cu".to_vec());
        theirs.blobs.insert(digest(b"rotten"), b"ROTTEN".to_vec());
        theirs.blobs.remove(&digest(b"absent"));
        theirs.write_blobs(store.root());
        let nowhere = Images::default().simple("nowhere");
        let incomplete = |mut entry: Value| {
            entry["annotations"]["io.oci-store.incomplete"] = json!("true");
            entry
        };
        edit(store.root(), |entries| {
            entries.push(named("liar", &liar));
            entries.extend([named("cut", &cut), named("rotten", &rotten), named("absent", &absent)]);
            entries.extend([named("nowhere", &nowhere), incomplete(named("nowhere-2", &nowhere)), json!(nowhere)]);
            entries.push(named("good", &good));
        });
        store.refresh().unwrap();
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["good", "ours"]);
        assert_sound(&store);
        sweep(&store);
        assert_eq!(store.pins().unwrap(), []);
        assert_eq!(files(store.root()).len(), 6);
        assert_sound(&store);
    }
}

/// All the rest is as the store wrote it, the checksum too.
#[test]
fn an_entry_that_is_no_descriptor_does_not_stay() {
    for bench in benches() {
        let (store, _) = filled(&bench);
        edit(store.root(), |entries| entries.push(json!({ "digest": "sha256:../x", "size": -1 })));
        store.refresh().unwrap();
        assert_eq!(index_json(store.root())["manifests"].as_array().unwrap().len(), 1);
        assert_sound(&store);
    }
}

/// It truncates the file, and has to wait for the processor before it writes.
#[test]
fn a_tool_that_writes_in_place_and_slowly_is_waited_for() {
    for bench in benches() {
        let (store, image) = filled(&bench);
        let mut index = index_json(store.root());
        index["manifests"].as_array_mut().unwrap().push(named("theirs", &image));
        let path = store.root().join("index.json");
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(500));
                file.write_all(index.to_string().as_bytes()).unwrap();
            });
            store.tag("ours", &name("mine"), Condition::Any).unwrap();
        });
        store.refresh().unwrap();
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["mine", "ours", "theirs"]);
        assert_sound(&store);
    }
}

#[test]
fn what_others_lose_is_put_back_and_what_was_removed_stays_so() {
    for bench in benches() {
        let (store, ours) = filled(&bench);
        store.tag("ours", &name("other"), Condition::Any).unwrap();
        store.pin("ours").unwrap();
        let before = index_json(store.root());
        write(store.root(), &json!({ "schemaVersion": 2, "manifests": [] }));
        store.refresh().unwrap();
        assert_eq!((refs(&store).len(), store.pins().unwrap().len()), (2, 1));
        assert_sound(&store);
        // Read by a tool, then changed here, then written by the tool, with one more.
        store.remove_ref(&name("other")).unwrap();
        store.unpin("ours").unwrap();
        let mut stale = before;
        stale["manifests"].as_array_mut().unwrap().push(named("new", &ours));
        write(store.root(), &stale);
        store.refresh().unwrap();
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["new", "ours"]);
        assert_eq!(store.pins().unwrap(), []);
        assert_sound(&store);
        // Made anew, with what is removed here: that is no mistake.
        edit(store.root(), |entries| entries.push(named("other", &ours)));
        store.refresh().unwrap();
        assert!(refs(&store).contains_key("other"));
    }
}

#[test]
fn a_stale_file_does_not_bring_back_what_a_ref_meant_before_it_was_set_and_removed() {
    for bench in benches() {
        let (store, _) = filled(&bench);
        let mut images = Images::default();
        let (older, newer) = (images.simple("older"), images.simple("newer"));
        images.name("ref", &older);
        images.name("newer", &newer);
        import(&store, &images, "ref").unwrap();
        import(&store, &images, "newer").unwrap();
        store.tag(&older.digest.to_string(), &name("keeps"), Condition::Any).unwrap();
        // Read by a tool, then set and removed here, then written by the tool, with one more.
        let mut stale = index_json(store.root());
        store.tag("newer", &name("ref"), Condition::Any).unwrap();
        store.remove_ref(&name("ref")).unwrap();
        stale["manifests"].as_array_mut().unwrap().push(named("new", &older));
        write(store.root(), &stale);
        store.refresh().unwrap();
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), ["keeps", "new", "newer", "ours"]);
        // A tool that has seen the removal, and one that does not say what it has seen, make it anew.
        edit(store.root(), |entries| entries.push(named("ref", &older)));
        store.refresh().unwrap();
        assert_eq!(refs(&store)["ref"], older.digest);
        store.remove_ref(&name("ref")).unwrap();
        write(store.root(), &json!({ "schemaVersion": 2, "manifests": [named("ref", &newer)] }));
        store.refresh().unwrap();
        assert_eq!(refs(&store)["ref"], newer.digest);
        assert_sound(&store);
    }
}

#[test]
fn the_newer_of_two_changes_wins() {
    for bench in benches() {
        let (store, ours) = filled(&bench);
        let mut theirs = Images::default();
        let (a, b) = (theirs.simple("a"), theirs.simple("b"));
        theirs.write_blobs(store.root());
        store.tag("ours", &name("quiet"), Condition::Any).unwrap();
        edit(store.root(), |entries| entries.retain(|e| e["annotations"][REF_NAME] != "ours"));
        edit(store.root(), |entries| entries.push(named("ours", &a)));
        store.refresh().unwrap();
        assert_eq!(refs(&store)["ours"], a.digest, "nobody changed it here meanwhile");
        // Changed on both sides.
        let mut stale = index_json(store.root());
        store.tag("quiet", &name("ours"), Condition::Any).unwrap();
        for entry in stale["manifests"].as_array_mut().unwrap() {
            if entry["annotations"][REF_NAME] == "ours" || entry["annotations"][REF_NAME] == "quiet" {
                *entry = named(entry["annotations"][REF_NAME].as_str().unwrap(), &b);
            }
        }
        write(store.root(), &stale);
        store.refresh().unwrap();
        assert_eq!((&refs(&store)["ours"], &refs(&store)["quiet"]), (&ours.digest, &b.digest));
        assert_sound(&store);
    }
}

/// A tool that reads, adds a name and writes, again and again, while others use the store.
#[test]
fn a_tool_that_writes_all_the_time_loses_nothing() {
    for bench in benches() {
        let (store, ours) = filled(&bench);
        let stop = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            for n in 0..2 {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let mut round = 0;
                    while !stop.load(Ordering::SeqCst) {
                        store.tag("ours", &name(&format!("here{n}-{round}")), Condition::Any).unwrap();
                        round += 1;
                        if round % 8 == 0 {
                            store.gc(oci_store_oci::Extent::Changed, false).unwrap();
                        }
                    }
                });
            }
            let mut written = 0;
            while written < 40 {
                // They know only what is in the file: what the store swaps in meanwhile is overwritten.
                edit(store.root(), |entries| entries.push(named(&format!("there{written}"), &ours)));
                written += 1;
                std::thread::sleep(std::time::Duration::from_millis(written % 7));
            }
            stop.store(true, Ordering::SeqCst);
            written
        });
        store.refresh().unwrap();
        assert_sound(&store);
        let names = refs(&store);
        for n in 0..written {
            assert!(names.contains_key(&format!("there{n}")), "there{n} was lost ({})", bench.backend);
        }
        assert_eq!(listed(store.root()).len(), names.len());
    }
}

/// Two stores come to the same generation: their files are of different stores nevertheless.
#[test]
fn the_file_of_another_store_is_merged_and_replaced() {
    for (bench, other) in benches().into_iter().zip(benches()) {
        let (store, image) = filled(&bench);
        let theirs = other.open();
        let mut images = Images::default();
        let [there, here] = ["there", "here"].map(|text| {
            let image = images.simple(text);
            images.name(text, &image)
        });
        for text in ["there", "here"] {
            import(&theirs, &images, text).unwrap();
        }
        store.tag("ours", &name("ours:2"), Condition::Any).unwrap();
        let generation = |root: &Path| index_json(root)["annotations"]["io.oci-store.generation"].clone();
        assert_eq!(generation(store.root()), generation(theirs.root()), "{}", bench.backend);
        // What it has of theirs it takes; what it has not, it can't.
        let mut half = Images::default();
        half.simple("here");
        half.write_blobs(store.root());
        fs::copy(other.index_json(), bench.index_json()).unwrap();
        bench.open();
        let wanted = ["here", "ours", "ours:2"];
        assert_eq!(refs(&store).into_keys().collect::<Vec<_>>(), wanted, "{}", bench.backend);
        assert_eq!((&refs(&store)["ours"], &refs(&store)["here"]), (&image.digest, &here.digest));
        assert!(!refs(&store).values().any(|target| *target == there.digest));
        assert_sound(&store);
        // Nor is it ours to an index that is built anew.
        theirs.remove_ref(&name("here")).unwrap();
        fs::copy(other.index_json(), bench.index_json()).unwrap();
        fs::remove_file(crate::common::path_of(&bench.root(), &there.digest)).unwrap_or_default();
        let (store, report) = crate::reindex::lost(&bench).reindex(bench.root()).unwrap();
        assert_eq!((report.refs, report.skipped.len()), (0, 1), "{}", bench.backend);
        assert_eq!(refs(&store).len(), 0);
    }
}
