//! `data` and `blob-data`.

use serde_json::json;

use crate::common::layout::{Builder, digest_of};
use crate::common::{World, over_each_index};

over_each_index!(
    a_value_is_set_read_listed_and_removed,
    a_value_has_a_version_and_a_set_may_depend_on_it,
    values_may_be_bytes_and_come_from_stdin,
    two_types_may_use_one_key_and_keys_may_be_long,
    a_value_goes_with_the_blob_that_it_references_and_does_not_keep_it,
    data_of_a_blob_is_set_read_listed_removed_and_goes_with_it,
    bad_types_and_keys_are_a_usage_error,
);

fn a_value_is_set_read_listed_and_removed(world: &World) {
    assert_eq!(world.ok("data list"), "");
    world.ok("data set colour sky blue");
    world.ok("data set colour sea green");
    world.ok("data set shape sun round");
    assert_eq!(world.ok("data get colour sky"), "blue");
    assert_eq!(world.ok("data list"), "colour\nshape\n");
    assert_eq!(world.ok("data list colour").lines().count(), 3);
    let page = world.json("data list colour sk");
    assert_eq!((page.as_array().unwrap().len(), &page[0]["key"], &page[0]["size"]), (1, &json!("sky"), &json!(4)));
    world.ok("data rm colour sky");
    for words in ["data get colour sky", "data rm colour sky", "data get nothing x"] {
        let error = world.fails(4, words);
        assert!(error.contains(words.rsplit(' ').next().unwrap()), "{error}");
    }
    assert_eq!(world.json("data list"), json!(["colour", "shape"]));
}

fn a_value_has_a_version_and_a_set_may_depend_on_it(world: &World) {
    let first: u64 = world.ok("data set --if-version 0 lock a x").trim().parse().unwrap();
    let error = world.fails(1, "data set --if-version 0 lock a y");
    assert!(error.contains("lock") && error.contains("\"a\"") && error.contains("found"), "{error}");
    let second = world.json(&format!("data set --if-version {first} lock a y"))["version"].as_u64().unwrap();
    assert!(second > first);
    world.fails(1, &format!("data set --if-version {first} lock a z"));
    world.fails(1, &format!("data rm --if-version {first} lock a"));
    assert_eq!(world.ok("data get lock a"), "y");
    world.ok(&format!("data rm --if-version {second} lock a"));
    world.fails(1, &format!("data set --if-version {second} lock a z"));
    // A version never comes again, so that nobody takes a new value for the old one.
    let third = world.json("data set lock a z")["version"].as_u64().unwrap();
    assert!(third > second, "{third} after {second}");
}

fn values_may_be_bytes_and_come_from_stdin(world: &World) {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    world.run_with("data set bin all -", &bytes).ok();
    assert_eq!(world.run("data get bin all").bytes(), bytes);
    world.run_with("data set bin none -", b"").ok();
    assert_eq!(world.run("data get bin none").bytes(), b"");
    assert_eq!(world.json("data list bin")[0]["size"], 100_000);
    world.ok("import --sref v1 hello");
    world.run_with("blob-data set v1 bin -", &bytes).ok();
    assert_eq!(world.run("blob-data get v1 bin").bytes(), bytes);
}

fn two_types_may_use_one_key_and_keys_may_be_long(world: &World) {
    let long = "k/".repeat(2048);
    for (kind, key) in [("a", "x"), ("b", "x"), ("a", long.as_str()), ("a", "sp ace\tand ü")] {
        world.run_args(["data", "set", kind, key, &format!("{kind} {}", key.len())]).ok();
    }
    assert_eq!(world.ok("data get a x"), "a 1");
    assert_eq!(world.ok("data get b x"), "b 1");
    assert_eq!(world.ok(&format!("data get a {long}")), "a 4096");
    assert_eq!(world.json("data list a k/k/")[0]["key"], long.as_str());
    assert_eq!(world.run_args(["data", "get", "a", "sp ace\tand ü"]).ok(), format!("a {}", "sp ace\tand ü".len()));
    assert_eq!(world.json("data list a").as_array().unwrap().len(), 3);
}

fn a_value_goes_with_the_blob_that_it_references_and_does_not_keep_it(world: &World) {
    let mut layout = Builder::new(world.path("one"));
    let image = layout.image(&[b"a layer"]);
    layout.add(image.clone(), Some("one"));
    world.ok("import one");
    let digest = digest_of(&image);
    world.ok(&format!("data set --blob {} cache http://x etag", &digest[..20]));
    world.ok("data set cache http://y kept");
    assert_eq!(world.json("data list cache http://x")[0]["blob"], digest.as_str());
    assert!(world.ok("data list cache").contains(&digest));
    world.fails(4, "data set --blob sha256:ffffffffff cache http://z v");
    world.ok("rm one");
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
    world.fails(4, "data get cache http://x");
    assert_eq!(world.ok("data get cache http://y"), "kept");
}

fn data_of_a_blob_is_set_read_listed_removed_and_goes_with_it(world: &World) {
    world.ok("import --sref v1 --dref one hello");
    let digest = world.digest("one");
    assert_eq!(world.json("blob-data list one"), json!([]));
    world.ok("blob-data set one note first");
    world.ok(&format!("blob-data set {digest} scan clean"));
    assert_eq!(world.ok(&format!("blob-data get {} note", &digest[7..15])), "first");
    assert_eq!(world.json("blob-data list one"), json!([{ "type": "note", "size": 5 }, { "type": "scan", "size": 5 }]));
    assert_eq!(world.ok("blob-data list one").lines().count(), 3);
    world.ok("blob-data set one note second!");
    assert_eq!(world.ok("blob-data get one note"), "second!");
    world.ok("blob-data rm one scan");
    world.fails(4, "blob-data rm one scan");
    assert!(world.fails(4, "blob-data get one scan").contains("scan"));
    world.fails(4, "blob-data set nothing note x");
    world.fails(4, "blob-data list sha256:ffffffffff");

    world.ok("rm one");
    world.ok("gc");
    world.fails(4, &format!("blob-data get {digest} note"));
    world.ok("import --sref v1 --dref one hello");
    assert_eq!(world.json("blob-data list one"), json!([]));
}

fn bad_types_and_keys_are_a_usage_error(world: &World) {
    world.run_args(["data", "set", "", "key", "value"]).fails(2);
    world.run_args(["data", "set", "type", "", "value"]).fails(2);
    world.fails(2, "data set type");
    world.fails(2, "data set --if-version x type key value");
    assert_eq!(world.ok("data list"), "");
}
