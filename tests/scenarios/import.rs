//! `import`: what it takes when it is told little, and what it refuses.

use std::fs;

use serde_json::json;

use crate::common::layout::{Builder, blob_path, digest_of, entries, layers_of, on};
use crate::common::tree::{assert_same, store_tree};
use crate::common::{World, over_each_index};

over_each_index!(
    the_only_ref_of_a_layout_keeps_its_name,
    of_several_refs_one_must_be_said_and_the_error_names_them,
    all_refs_come_in_each_under_its_own_name,
    a_digest_can_be_imported_under_a_name,
    a_digest_without_a_name_needs_dref,
    a_ref_that_is_not_there_is_told_with_those_that_are,
    a_layout_of_2016_can_be_imported,
    referrers_come_along_unless_told_otherwise,
    referrers_of_a_fallback_tag_come_along,
    an_incomplete_image_is_let_in_only_on_demand,
    of_several_entries_with_one_name_the_platform_or_the_last_is_taken,
    the_same_again_changes_nothing,
    an_image_replaces_what_the_ref_named_before,
    an_image_of_an_empty_manifest_list_and_nested_indexes_comes_in_whole,
    a_source_blob_that_the_store_has_is_not_read_again,
);

fn the_only_ref_of_a_layout_keeps_its_name(world: &World) {
    let mut layout = Builder::new(world.path("one"));
    let image = layout.image(&[b"a layer"]);
    layout.add(image.clone(), Some("only:1"));
    assert_eq!(world.ok("import one"), format!("only:1 {}\n", digest_of(&image)));
    assert_eq!(world.refs(), [("only:1".to_owned(), digest_of(&image))]);
    world.ok("import --dref other one");
    assert_eq!(world.refs().len(), 2);
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&layout.folder));
    world.assert_no_leftovers();
}

fn of_several_refs_one_must_be_said_and_the_error_names_them(world: &World) {
    let error = world.run("import hello");
    let error = error.fails(error.code().unwrap());
    assert!(error.contains("latest") && error.contains("v1"), "{error}");
    assert!(error.contains("--sref") && error.contains("--all"), "{error}");
    assert_eq!(world.blob_files(), [""; 0]);
}

fn all_refs_come_in_each_under_its_own_name(world: &World) {
    let out = world.ok("import --all hello");
    assert_eq!(out.lines().count(), 2);
    let mut wanted: Vec<_> = entries(&world.path("hello"))
        .iter()
        .map(|entry| {
            (entry["annotations"][crate::common::layout::REF_NAME].as_str().unwrap().to_owned(), digest_of(entry))
        })
        .collect();
    wanted.sort();
    assert_eq!(world.refs(), wanted);
    assert_eq!(world.refs_in_index_json(), wanted);
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&world.path("hello")));
}

fn a_digest_can_be_imported_under_a_name(world: &World) {
    let digest = digest_of(&entries(&world.path("hello"))[0]);
    world.ok(&format!("import --sref {digest} --dref by-digest hello"));
    assert_eq!(world.refs(), [("by-digest".to_owned(), digest)]);

    // Listed nowhere, but an index of the layout reaches it.
    let mut layout = Builder::new(world.path("multi"));
    let (a, b) = (layout.image(&[b"a"]), layout.image(&[b"b"]));
    let index = layout.index(&[on(a, "amd64"), on(b.clone(), "arm64")]);
    layout.add(index, Some("multi"));
    world.ok(&format!("import --sref {} --dref arm multi", digest_of(&b)));
    assert_eq!(world.digest("arm"), digest_of(&b));
}

fn a_digest_without_a_name_needs_dref(world: &World) {
    let mut layout = Builder::new(world.path("unnamed"));
    let image = layout.image(&[b"a"]);
    layout.add(image.clone(), None);
    let error = world.run("import unnamed");
    assert!(error.fails(error.code().unwrap()).contains("--dref"), "{}", error.err());
    world.ok("import --dref named unnamed");
    assert_eq!(world.digest("named"), digest_of(&image));
}

fn a_ref_that_is_not_there_is_told_with_those_that_are(world: &World) {
    let error = world.fails(4, "import --sref v9 hello");
    assert!(error.contains("v9") && error.contains("hello") && error.contains("v1"), "{error}");
    assert_eq!(world.fails(4, "--store-path new import --sref v9 hello"), error);
    assert!(!world.path("new").exists(), "a mistake makes no store");
    // Of several, those that are there come in.
    let ran = world.run("--store-path new import oci:hello:v9 oci:hello:v1");
    assert!(ran.code() == Some(4) && ran.err().contains("v9: no such ref in hello"), "{}", ran.err());
    assert_eq!(world.ok("--store-path new list -q").lines().count(), 1);
}

fn a_layout_of_2016_can_be_imported(world: &World) {
    let layout = Builder::new(world.path("new"));
    let image = layout.image(&[b"one", b"two"]);
    fs::create_dir_all(world.path("old/refs")).unwrap();
    fs::create_dir_all(world.path("old/blobs")).unwrap();
    for digest in crate::common::tree::blobs_of(&layout.folder) {
        let to = world.path("old/blobs").join(digest.replace(':', "-"));
        fs::copy(blob_path(&layout.folder, &digest), to).unwrap();
    }
    fs::write(world.path("old/refs/v1.0"), image.to_string()).unwrap();
    fs::write(world.path("old/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    world.ok("import --sref v1.0 --dref old:v1.0 old");
    world.ok("import old");
    assert_eq!(world.refs().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["old:v1.0", "v1.0"]);
    world.ok("check --read-data");
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&layout.folder));
}

fn referrers_come_along_unless_told_otherwise(world: &World) {
    let mut layout = Builder::new(world.path("signed"));
    let image = layout.image(&[b"signed layer"]);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    let countersigned = layout.referrer(&signature, "application/x.signature", b"of the signature");
    layout.add(image.clone(), Some("signed")).add(signature.clone(), None).add(countersigned.clone(), None);

    world.ok("import --no-referrers signed");
    assert_eq!(world.blob_files().len(), 3, "manifest, config, layer");
    assert!(world.json("inspect signed").get("referrers").is_none());

    world.ok("import signed");
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&layout.folder));
    let shown = world.json("inspect signed");
    assert_eq!(shown["referrers"][0]["digest"], signature["digest"]);
    assert_eq!(world.json(&format!("inspect {}", digest_of(&signature)))["subject"]["digest"], image["digest"]);

    // They are kept as long as what they are about, and no longer.
    world.ok("gc --full");
    assert_eq!(world.blob_files().len(), crate::common::tree::blobs_of(&layout.folder).len());
    world.ok("rm signed");
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
    assert_eq!(entries(&world.path("store")), [json!(null); 0]);
}

fn referrers_of_a_fallback_tag_come_along(world: &World) {
    let mut layout = Builder::new(world.path("signed"));
    let image = layout.image(&[b"signed layer"]);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    let fallback = layout.index(std::slice::from_ref(&signature));
    layout.add(image.clone(), Some("signed"));
    layout.add(fallback, Some(&digest_of(&image).replace(':', "-")));
    world.ok("import --sref signed signed");
    assert_eq!(world.json("inspect signed")["referrers"][0]["digest"], signature["digest"]);
}

fn an_incomplete_image_is_let_in_only_on_demand(world: &World) {
    let mut layout = Builder::new(world.path("partial"));
    let image = layout.image(&[b"here", b"gone"]);
    let gone = layers_of(&layout.folder, &digest_of(&image)).remove(1);
    fs::remove_file(blob_path(&layout.folder, &gone)).unwrap();
    layout.add(image, Some("partial"));

    let before = store_tree(&world.path("store"));
    let error = world.fails(1, "import partial");
    assert!(error.contains(&gone) && error.contains("missing"), "{error}");
    assert_same(&before, &store_tree(&world.path("store")), "refused");

    world.ok("import --allow-incomplete partial");
    let list = world.json("list");
    assert_eq!(list[0]["incomplete"], json!(true));
    assert!(world.ok("list").contains("incomplete"));
    world.ok("check");
    // A tag passes it on; a digest does not know of it.
    world.ok("tag partial other");
    assert_eq!(world.json("list other")[0]["incomplete"], json!(true));
    world.fails(1, &format!("tag {} third", world.digest("partial")));
    // What goes out is no more whole: that is told.
    world.ok(&format!("--store-path other --index {} gc", world.index));
    for to in ["out", "out.tar", "other"] {
        let ran = world.run(&format!("export partial {to}"));
        let (printed, said) = (ran.ok_with_warnings(), ran.err());
        assert!(printed.starts_with("partial sha256:"), "{to}: {printed}");
        assert!(
            said.lines().count() == 1 && said.contains("partial: incomplete") && said.contains(&gone),
            "{to}: {said}"
        );
    }
    let exported = world.run("--format json export --all out");
    assert_eq!(exported.ok_with_warnings().matches("\"incomplete\": true").count(), 2);
    assert_eq!(exported.err().lines().count(), 2);
    world.ok("gc --full");
    assert_eq!(world.blob_files().len(), 3);
    // A repair completes it, from who has the rest.
    let whole = Builder::new(world.path("whole"));
    let rest = whole.image(&[b"gone"]);
    assert_eq!(layers_of(&whole.folder, &digest_of(&rest)), [gone.as_str()]);
    let repaired = world.ok("check --repair --from whole");
    assert!(repaired.starts_with(&format!("{gone}: repaired\n")) && !repaired.contains("incomplete"), "{repaired}");
    for found in world.json("list").as_array().unwrap() {
        assert_eq!(found["incomplete"], json!(false), "{found}");
    }
    assert!(!String::from_utf8(world.read("store/index.json")).unwrap().contains("incomplete"));
    world.ok("export partial out");
    assert!(!world.ok("check --read-data --repair --from whole").contains("repaired"));
}

fn of_several_entries_with_one_name_the_platform_or_the_last_is_taken(world: &World) {
    let mut layout = Builder::new(world.path("platforms"));
    let (a, b) = (layout.image(&[b"for amd64"]), layout.image(&[b"for arm64"]));
    layout.add(on(a.clone(), "amd64"), Some("app")).add(on(b.clone(), "arm64"), Some("app"));
    world.ok("import platforms");
    assert_eq!(world.digest("app"), digest_of(&b));
    world.ok("import --platform linux/amd64 platforms");
    assert_eq!(world.digest("app"), digest_of(&a));
    world.ok("import --platform linux/arm64 --sref app --dref arm platforms");
    assert_eq!(world.digest("arm"), digest_of(&b));
    let error = world.fails(4, "import --platform linux/s390x platforms");
    assert!(error.contains("app"), "{error}");
    assert_eq!(world.fails(2, "import --platform linux platforms").matches("linux").count(), 2);
}

fn the_same_again_changes_nothing(world: &World) {
    let first = world.ok("import --all hello");
    let before = store_tree(&world.path("store"));
    let inode = |path: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(world.path(path)).unwrap());
    let file = inode("store/index.json");
    assert_eq!(world.ok("import --all hello"), first);
    assert_same(&before, &store_tree(&world.path("store")), "imported again");
    assert_eq!(inode("store/index.json"), file, "index.json was written again");
}

fn an_image_replaces_what_the_ref_named_before(world: &World) {
    world.ok("import --sref v1 --dref app hello");
    let old = world.digest("app");
    world.ok("import --sref latest --dref app hello");
    assert_ne!(world.digest("app"), old);
    assert!(world.ok("gc").contains("removed 2 blobs"));
    assert!(!world.blob_files().contains(&old));
    world.ok("check --read-data");
}

fn an_image_of_an_empty_manifest_list_and_nested_indexes_comes_in_whole(world: &World) {
    let mut layout = Builder::new(world.path("nested"));
    let (a, b) = (layout.image(&[b"a", b"shared"]), layout.image(&[b"b", b"shared"]));
    let inner = layout.index(&[on(a, "amd64"), on(b, "arm64")]);
    let empty = layout.index(&[]);
    let outer = layout.index(&[inner, empty]);
    layout.add(outer, Some("nested"));
    world.ok("import nested");
    assert_eq!(world.blob_files(), crate::common::tree::blobs_of(&layout.folder));
    world.ok("check --read-data nested");
    world.ok("rm nested");
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
}

fn a_source_blob_that_the_store_has_is_not_read_again(world: &World) {
    world.ok("import --all hello");
    let copy = Builder::copy_of(&world.path("hello"), world.path("copy"));
    for digest in crate::common::tree::blobs_of(&copy.folder) {
        fs::remove_file(blob_path(&copy.folder, &digest)).unwrap();
    }
    world.ok("import --sref v1 --dref again copy");
    assert_eq!(world.digest("again"), world.digest("v1"));
}
