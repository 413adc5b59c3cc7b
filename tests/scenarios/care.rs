//! `prune`, `maintain`, and what `check` reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::common::layout::{Builder, blob_path, layers_of};
use crate::common::{Clock, Ran, World, over_each_index};

over_each_index!(
    prune_keeps_the_newest_of_each_name_and_collects,
    prune_goes_by_age_and_by_pattern,
    an_import_again_makes_a_ref_young_again,
    prune_without_a_policy_is_a_usage_error,
    a_share_of_the_blobs_is_read_and_all_shares_are_all,
    what_a_check_with_a_budget_read_is_remembered,
    maintain_collects_and_tells_damage,
    care_of_what_is_no_store_makes_none,
    a_damaged_signature_is_found_and_fetched_again,
    a_layer_of_many_images_is_one_line,
);

fn names(world: &World) -> Vec<String> {
    world.refs().into_iter().map(|(name, _)| name).collect()
}

fn prune_keeps_the_newest_of_each_name_and_collects(world: &World) {
    world.ok("import --sref v1 --dref app:1 hello");
    world.ok("tag app:1 app:2");
    world.ok("import --sref latest --dref app:3 hello");
    world.ok("tag app:3 host:5000/app");
    let would = world.json("prune --keep-last 1 --dry-run");
    assert_eq!((&would["refs"][0]["ref"], &would["refs"][1]["ref"]), (&json!("app:1"), &json!("app:2")));
    assert_eq!((&would["blobs"], &would["dryRun"]), (&json!(2), &json!(true)));
    assert!(world.ok("prune --keep-last 1 --dry-run").ends_with("would remove 2 refs, 2 blobs, 1.1 KiB\n"));
    assert_eq!(names(world).len(), 4);
    let before = world.blob_files().len();
    let done = world.json("prune --keep-last 1");
    assert_eq!((&done["refs"], &done["dryRun"]), (&would["refs"], &json!(false)));
    assert_eq!((&done["blobs"], &done["bytes"]), (&would["blobs"], &would["bytes"]));
    assert_eq!(world.ok("prune --keep-last 1 --dry-run"), "would remove 0 refs, 0 blobs, 0 B\n");
    assert_eq!(names(world), ["app:3", "host:5000/app"]);
    assert_eq!(before - world.blob_files().len(), done["blobs"].as_u64().unwrap() as usize);
    assert_eq!(world.ok("prune --keep-last 1"), "removed 0 refs, 0 blobs, 0 B\n");
    assert_eq!(world.refs(), world.refs_in_index_json());
    world.ok("check --read-data");
}

fn prune_goes_by_age_and_by_pattern(world: &World) {
    world.ok("import --sref v1 --dref ci/a:1 hello");
    for to in ["ci/a:2", "ci/b:1", "app:1"] {
        world.ok(&format!("tag ci/a:1 {to}"));
    }
    // Long, as what comes before the last of these commands may take a while where much else runs.
    sleep(Duration::from_millis(6100));
    world.ok("tag ci/a:1 ci/b:1");
    assert_eq!(world.ok("prune --older-than 1h"), "removed 0 refs, 0 blobs, 0 B\n");
    // Set anew, it is new.
    assert_eq!(world.ok("prune -q --filter ci/* --older-than 6s --keep-last 1"), "ci/a:1\n");
    assert_eq!(world.ok("prune -q --filter ?pp:[0-9]"), "app:1\n");
    assert_eq!(names(world), ["ci/a:2", "ci/b:1"]);
    assert_eq!(world.ok("prune -q --older-than 0s"), "ci/a:2\nci/b:1\n");
    assert_eq!(world.blob_files(), [""; 0]);
}

/// Who imports the same image every night keeps it.
fn an_import_again_makes_a_ref_young_again(world: &World) {
    let Some(clock) = Clock::new() else { return };
    for by in ["-3d", "-2d"] {
        Ran::of(&mut clock.off_by(by, world, "import --sref v1 --dref nightly hello")).ok();
    }
    let log = world.json("log");
    assert_eq!(world.ok("prune --older-than 60h"), "removed 0 refs, 0 blobs, 0 B\n");
    world.ok("import --sref v1 --dref nightly hello");
    assert_eq!(world.ok("prune --older-than 2h"), "removed 0 refs, 0 blobs, 0 B\n");
    // It is no change, all the same.
    assert_eq!(world.json("log"), log);
    world.ok("check");
}

fn prune_without_a_policy_is_a_usage_error(world: &World) {
    world.ok("import --all hello");
    for words in ["prune", "prune --dry-run", "prune --keep-last 0", "prune --filter [", "prune --older-than soon"] {
        world.fails(2, words);
    }
    assert!(world.fails(2, "prune").contains("--keep-last"));
    assert_eq!(names(world).len(), 2);
}

fn spoil(world: &World, digest: &str) {
    let path = blob_path(&world.path("store"), digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
}

fn a_share_of_the_blobs_is_read_and_all_shares_are_all(world: &World) {
    world.ok("import --all hello");
    let all = world.json("check --read-data");
    let shares: Vec<u64> =
        (1..=3).map(|n| world.json(&format!("check --read-data-subset {n}/3"))["read"].as_u64().unwrap()).collect();
    assert_eq!(Some(shares.iter().sum::<u64>()), all["blobs"].as_u64());
    assert_eq!(all["read"], all["blobs"]);
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    assert_eq!(world.json("check")["read"], 0);
    // One share finds it, and which one it is does not change.
    let layer = layers_of(&world.path("hello"), &world.digest("v1")).remove(0);
    spoil(world, &layer);
    let found = (1..=3).position(|n| world.run(&format!("check --read-data-subset {n}/3")).code() == Some(3)).unwrap();
    world.ok("import --sref v1 hello");
    spoil(world, &layer);
    let ran = world.run(&format!("check --read-data-subset {}/3", found + 1));
    assert_eq!(ran.code(), Some(3));
    assert!(ran.err().contains(&layer) && ran.err().contains("damaged"), "{}", ran.err());
    for words in ["0/3", "4/3", "1/0", "x/3", "1", "1/3 --read-data", "1/3 --budget 1s"] {
        world.fails(2, &format!("check --read-data-subset {words}"));
    }
}

fn what_a_check_with_a_budget_read_is_remembered(world: &World) {
    world.ok("import --all hello");
    let verified = |world: &World| -> Vec<u64> {
        world.json("blobs").as_array().unwrap().iter().map(|blob| blob["verified"].as_u64().unwrap()).collect()
    };
    let before = verified(world);
    sleep(Duration::from_millis(1100));
    assert_eq!(world.json("check --budget 0s")["read"], 0);
    assert_eq!(verified(world), before);
    let checked = world.json("check --budget 10m");
    assert_eq!(checked["read"], checked["blobs"]);
    assert!(verified(world).iter().zip(&before).all(|(after, before)| after > before));
    world.fails(2, "check --budget 1s --read-data");
}

fn maintain_collects_and_tells_damage(world: &World) {
    world.ok("import --all hello");
    world.ok("rm latest");
    let said = world.json("maintain");
    assert!(said["collected"]["blobs"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(said["checked"]["read"], said["checked"]["blobs"]);
    let text = world.ok("maintain --budget 1s");
    assert!(text.starts_with("removed 0 blobs, 0 B\n1 image, "), "{text}");
    let layer = layers_of(&world.path("hello"), &world.digest("v1")).remove(0);
    spoil(world, &layer);
    world.ok("tag v1 v2");
    let ran = world.run("maintain");
    assert_eq!(ran.code(), Some(3), "{}", ran.err());
    // Each blob is counted once, also if two images lack it.
    assert!(ran.out().contains("2 images, 4 blobs read, ") && ran.out().contains(", 1 problem"), "{}", ran.out());
    assert!(ran.err().starts_with(&format!("error: v1, v2: {layer}: ")), "{}", ran.err());
}

fn care_of_what_is_no_store_makes_none(world: &World) {
    assert!(world.fails(1, "--store-path absent maintain").contains("absent"));
    assert!(!world.path("absent").exists());
}

fn a_layer_of_many_images_is_one_line(world: &World) {
    let mut layout = Builder::new(world.path("many"));
    for name in ["a", "b", "c", "d", "e"] {
        let image = layout.image(&[b"base layer", name.as_bytes()]);
        layout.add(image, Some(name));
    }
    world.ok("import --all many");
    let base = crate::common::layout::digest(b"base layer");
    let bad = [
        ("a, b, c and 2 more", base.clone(), "its bytes are damaged"),
        ("b", crate::common::layout::digest(b"b"), "layer missing, needed by"),
    ];
    spoil(world, &base);
    fs::remove_file(blob_path(&world.path("store"), &bad[1].1)).unwrap();
    let ran = world.run("check --read-data");
    assert_eq!(ran.code(), Some(3));
    let (said, lines) = (ran.err(), ran.err().lines().count());
    assert_eq!(lines, 2, "{said}");
    for (images, digest, what) in bad {
        assert!(said.contains(&format!("error: {images}: {digest}: {what}")), "{images}: {said}");
    }
    assert!(ran.out().contains("2 problems"), "{}", ran.out());
    // Programs are told of each.
    let json: serde_json::Value = serde_json::from_str(&world.run("--format json check --read-data").out()).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), 6);
}

/// What is about an image, and has no name.
fn a_damaged_signature_is_found_and_fetched_again(world: &World) {
    let mut layout = Builder::new(world.path("signed"));
    let image = layout.image(&[b"layer"]);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    layout.add(image, Some("app")).add(signature.clone(), None);
    world.ok("import --all signed");
    let checked = world.json("check --read-data");
    assert_eq!((&checked["images"], &checked["read"]), (&json!(1), &json!(world.blob_files().len())));
    let signature = signature["digest"].as_str().unwrap();
    let layer = layers_of(&world.path("signed"), signature).remove(0);
    spoil(world, &layer);
    let ran = world.run("check --read-data");
    assert_eq!(ran.code(), Some(3), "{}", ran.err());
    assert!(ran.err().contains(&format!("{signature}: {layer}: its bytes are damaged")), "{}", ran.err());
    world.ok("check --repair --from signed");
    world.ok("check --read-data");
    // Also if its file is gone.
    fs::remove_file(blob_path(&world.path("store"), &layer)).unwrap();
    assert_eq!(world.run("check").code(), Some(3));
    world.ok("check --repair --from signed");
    world.ok("check --read-data");
}
