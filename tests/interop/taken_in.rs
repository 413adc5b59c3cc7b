//! What other tools write into the store's folder is taken in, and nothing of it or of ours is lost.

use std::fs;

use crate::common::layout::{blob_path, entries};
use crate::common::{World, over_each_index};
use crate::tools::Tools;

over_each_index!(
    a_tag_by_umoci_becomes_a_ref,
    a_ref_that_umoci_removes_is_put_back,
    a_new_ref_by_skopeo_is_taken_in_and_outlives_a_gc,
    a_ref_that_skopeo_overwrites_is_what_it_wrote,
    an_image_that_umoci_makes_is_taken_in,
    a_ref_that_we_removed_does_not_come_back_with_another_tool_s_write,
    any_command_of_ours_may_come_first_after_another_tool_s_write,
    what_another_tool_s_gc_leaves_is_whole,
    nothing_is_lost_while_we_and_another_tool_write_at_once,
);

fn well(world: &World, tools: &Tools<'_>, after: &str) {
    world.ok("gc --full");
    world.ok("check --read-data");
    tools.assert_agree(after);
    assert_eq!(world.refs(), world.refs_in_index_json());
}

fn a_tag_by_umoci_becomes_a_ref(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    tools.run("umoci tag --image store:v1 by-umoci");
    world.ok("tag latest by-us");
    world.ok("gc");
    let names: Vec<String> = world.refs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["by-umoci", "by-us", "latest", "v1"]);
    assert_eq!(world.digest("by-umoci"), world.digest("v1"));
    well(world, &tools, "umoci tag");
    // Ours to remove, like any other.
    world.ok("rm by-umoci v1");
    well(world, &tools, "rm");
    assert_eq!(world.refs().len(), 2);
}

fn a_ref_that_umoci_removes_is_put_back(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    let before = world.refs();
    tools.run("umoci rm --image store:v1");
    assert_eq!(tools.names("store"), ["latest"]);
    world.ok("gc");
    assert_eq!(world.refs(), before);
    well(world, &tools, "umoci rm");
    assert_eq!(tools.names("store"), ["latest", "v1"]);
    // Without a last one, umoci writes `"manifests": null`.
    tools.run("umoci rm --image store:v1");
    tools.run("umoci rm --image store:latest");
    assert_eq!(world.refs(), before);
    well(world, &tools, "umoci rm of all");
}

fn a_new_ref_by_skopeo_is_taken_in_and_outlives_a_gc(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --sref v1 hello");
    tools.run("skopeo copy oci:hello:latest oci:store:by-skopeo");
    world.ok("gc --full");
    let digest = tools.digest("hello:latest");
    assert_eq!(world.digest("by-skopeo"), digest);
    well(world, &tools, "skopeo copy");
    world.ok("rm by-skopeo");
    world.ok("gc");
    assert!(!world.blob_files().contains(&digest));
    well(world, &tools, "rm");
}

fn a_ref_that_skopeo_overwrites_is_what_it_wrote(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --sref v1 --dref app hello");
    let old = world.digest("app");
    tools.run("skopeo copy oci:hello:latest oci:store:app");
    assert_eq!(world.digest("app"), tools.digest("hello:latest"));
    well(world, &tools, "skopeo copy over a ref");
    // skopeo leaves the old image in index.json without a name, and what has none is a pin: it goes when it is
    // told to.
    assert!(world.ok("pin").contains(&old));
    world.ok(&format!("unpin {old}"));
    well(world, &tools, "unpin");
    assert!(!world.blob_files().contains(&old));
    world.ok("check --read-data");
}

fn an_image_that_umoci_makes_is_taken_in(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    tools.run("umoci config --image store:v1 --tag derived --author somebody");
    tools.run("umoci new --image store:blank");
    well(world, &tools, "umoci config");
    assert_eq!(world.refs().len(), 4);
    tools.run("umoci unpack --rootless --image store:v1 bundle");
    fs::write(world.path("bundle/rootfs/etc/new"), "new").unwrap();
    tools.run("umoci repack --image store:repacked bundle");
    well(world, &tools, "umoci repack");
    assert_eq!(world.json("inspect repacked")["layers"].as_array().unwrap().len(), 3);
    world.ok("export repacked out");
    tools.run("umoci unpack --rootless --image out:repacked again");
    assert_eq!(world.read("again/rootfs/etc/new"), b"new");
}

fn a_ref_that_we_removed_does_not_come_back_with_another_tool_s_write(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    // What a slow tool had read before.
    let old = world.read("store/index.json");
    world.ok("rm v1");
    let text = String::from_utf8(old).unwrap();
    let entry = &entries(&world.path("hello")).into_iter().find(|e| e["digest"] == *world.digest("latest")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut theirs = entry.clone();
    theirs["annotations"]["org.opencontainers.image.ref.name"] = "theirs".into();
    index["manifests"].as_array_mut().unwrap().push(theirs);
    fs::write(world.path("store/index.json"), index.to_string()).unwrap();
    let names: Vec<String> = world.refs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["latest", "theirs"]);
    well(world, &tools, "a slow tool's write");
}

fn any_command_of_ours_may_come_first_after_another_tool_s_write(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    let mut commands =
        ["list", "gc", "gc --full", "reindex", "check", "blobs", "tag v1 x", "rm x", "data list"].to_vec();
    let converts = [format!("index convert --to {}", if world.index == "lmdb" { "sqlite" } else { "lmdb" })];
    if cfg!(all(feature = "lmdb", feature = "sqlite")) {
        commands.extend(converts.iter().map(String::as_str));
    }
    for (n, words) in commands.into_iter().enumerate() {
        tools.run(&format!("umoci tag --image store:v1 t{n}"));
        world.ok(words);
        assert_eq!(world.digest(&format!("t{n}")), world.digest("v1"), "{words}");
        tools.assert_agree(words);
    }
}

fn what_another_tool_s_gc_leaves_is_whole(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    let mut layout = crate::common::layout::Builder::new(world.path("signed"));
    let image = layout.image(&[b"signed"]);
    let signature = layout.referrer(&image, "application/x.signature", b"signature");
    layout.add(image, Some("signed")).add(signature.clone(), None);
    world.ok("import signed");
    world.ok("pin latest");
    world.ok("rm latest");
    let before = world.blob_files();
    tools.run("umoci gc --layout store");
    assert_eq!(world.blob_files(), before, "umoci gc keeps pins and referrers: they are in index.json");
    assert!(blob_path(&world.path("store"), signature["digest"].as_str().unwrap()).exists());
    world.ok("check --read-data");
    world.ok("import --all hello");
}

fn nothing_is_lost_while_we_and_another_tool_write_at_once(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    let rounds = 12;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..rounds).for_each(|n| drop(tools.run(&format!("umoci tag --image store:v1 theirs{n}")))));
        scope.spawn(|| (0..2 * rounds).for_each(|n| drop(world.ok(&format!("tag latest ours{n}")))));
        scope.spawn(|| (0..rounds).for_each(|_| drop(world.ok("gc"))));
    });
    let names: Vec<String> = world.refs().into_iter().map(|(name, _)| name).collect();
    for n in 0..rounds {
        assert!(names.contains(&format!("theirs{n}")) && names.contains(&format!("ours{n}")), "{n}: {names:?}");
    }
    assert_eq!(names.len(), 2 + 3 * rounds);
    well(world, &tools, "all at once");
}
