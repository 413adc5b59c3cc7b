//! The store's folder, as the layout that it is.

use std::fs;

use crate::common::layout::{Builder, blob_path, entries, on};
use crate::common::tree::{assert_same, blobs_of, store_tree};
use crate::common::{World, over_each_index};
use crate::tools::Tools;

over_each_index!(
    after_each_command_of_any_sequence_both_tools_see_what_we_see,
    skopeo_copies_an_image_out_of_the_store_in_place,
    umoci_unpacks_an_image_of_the_store_in_place,
    an_index_of_two_platforms_with_referrers_is_read_in_place,
    looking_changes_nothing,
);

fn after_each_command_of_any_sequence_both_tools_see_what_we_see(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    tools.assert_agree("list");
    let digest = entries(&world.path("hello"))[0]["digest"].as_str().unwrap().to_owned();
    let mut steps = vec![
        "import --all hello".to_owned(),
        "import --sref v1 --dref localhost:5000/a/b:v1 hello".to_owned(),
        "tag v1 app".to_owned(),
        "tag latest app".to_owned(),
        "rm v1".to_owned(),
        "gc".to_owned(),
        "rename app app-2".to_owned(),
        format!("import --sref {digest} --dref by.digest hello"),
        "pin latest".to_owned(),
        "rm latest app-2".to_owned(),
        "gc --full".to_owned(),
        "export by.digest out".to_owned(),
        "import --dref x out".to_owned(),
        "unpin ".to_owned() + entries(&world.path("hello"))[1]["digest"].as_str().unwrap(),
        "gc".to_owned(),
        "reindex".to_owned(),
        "check --read-data".to_owned(),
    ];
    if cfg!(all(feature = "lmdb", feature = "sqlite")) {
        let other = if world.index == "lmdb" { "sqlite" } else { "lmdb" };
        steps.push(format!("index convert --to {other}"));
        steps.push("import --all hello".to_owned());
        steps.push("rm v1".to_owned());
        steps.push(format!("index convert --to {}", world.index));
    }
    steps.push("rm x by.digest localhost:5000/a/b:v1".to_owned());
    steps.push("gc".to_owned());
    for step in steps {
        world.ok(&step);
        tools.assert_agree(&step);
    }
}

fn skopeo_copies_an_image_out_of_the_store_in_place(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    tools.run("skopeo copy oci:store:latest oci:copied:mine");
    let digest = world.digest("latest");
    assert_eq!(tools.digest("copied:mine"), digest);
    for blob in blobs_of(&world.path("copied")) {
        let read = |layout: &str| fs::read(blob_path(&world.path(layout), &blob)).unwrap();
        assert_eq!(read("copied"), read("hello"), "{blob}");
    }
    // And back, into the store by a command.
    world.ok("import --dref back copied");
    assert_eq!(world.digest("back"), digest);
    tools.assert_agree("import");
}

fn umoci_unpacks_an_image_of_the_store_in_place(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    tools.run("umoci unpack --rootless --image store:latest bundle");
    assert_eq!(world.read("bundle/rootfs/etc/greeting"), b"Hello from the latest OCI image.\n");
    assert!(!world.path("bundle/rootfs/etc/hello.conf").exists(), "the whiteout");
    tools.assert_agree("umoci unpack");
}

/// An index of hello's two images, as if for two platforms, with a signature and one of the signature.
fn two_platforms(world: &World) -> Builder {
    let mut layout = Builder::copy_of(&world.path("hello"), world.path("multi"));
    let plain = |n: usize| {
        let mut entry = entries(&world.path("hello"))[n].clone();
        entry.as_object_mut().unwrap().remove("annotations");
        entry
    };
    let index = layout.index(&[on(plain(0), "amd64"), on(plain(1), "arm64")]);
    let signature = layout.referrer(&index, "application/x.signature", b"signature");
    let again = layout.referrer(&signature, "application/x.signature", b"of the signature");
    let sbom = layout.referrer(&plain(0), "application/x.sbom", b"sbom");
    layout.add(index, Some("multi")).add(signature, None).add(again, None).add(sbom, None);
    layout
}

fn an_index_of_two_platforms_with_referrers_is_read_in_place(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    let layout = two_platforms(world);
    world.ok("import --sref multi multi");
    assert_eq!(world.blob_files(), blobs_of(&layout.folder));
    assert_eq!(tools.names("store"), ["multi"]);
    let digest = |image: &str, of: &str| {
        let raw = tools.run(&format!("skopeo inspect --raw oci:{image}"));
        assert_eq!(raw.as_bytes(), world.run("inspect --raw multi").bytes(), "{of}");
    };
    digest("store:multi", "in place");
    for architecture in ["amd64", "arm64"] {
        let shown = tools.run(&format!("skopeo --override-arch {architecture} inspect oci:store:multi"));
        assert!(shown.contains(&world.digest("multi")), "{architecture}: {shown}");
    }
    tools.run("skopeo copy --all oci:store:multi oci:copied:multi");
    digest("copied:multi", "copied");
    world.ok("export multi out");
    assert_eq!(blobs_of(&world.path("out")), blobs_of(&layout.folder));
    digest("out:multi", "exported");
    tools.run("skopeo copy --all oci:out:multi oci:again:multi");
    digest("again:multi", "copied again");
    // Of a platform, too, and its own referrer with it.
    world.ok("rm multi");
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
}

fn looking_changes_nothing(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    let before = store_tree(&world.path("store"));
    tools.assert_agree("import");
    tools.run("skopeo copy oci:store:v1 oci:copied:mine");
    tools.run("umoci stat --image store:v1");
    world.ok("check --read-data");
    world.ok("gc");
    assert_same(&before, &store_tree(&world.path("store")), "looking");
}
