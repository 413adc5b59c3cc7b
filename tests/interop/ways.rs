//! Both ways by commands: they read what we export, we import what they write.

use crate::common::tree::{assert_same, blobs_of, tree};
use crate::common::{World, over_each_index};
use crate::tools::Tools;

over_each_index!(
    both_tools_read_what_export_wrote,
    what_skopeo_wrote_is_imported_and_comes_out_the_same,
    an_export_into_a_layout_of_theirs_keeps_what_is_theirs,
    what_umoci_made_from_nothing_is_imported,
    an_archive_by_skopeo_is_imported,
    skopeo_reads_what_export_packed,
    skopeo_reads_what_export_packed_for_docker,
    an_archive_that_is_piped_is_read_by_skopeo,
    an_archive_for_docker_by_skopeo_is_imported,
);

fn both_tools_read_what_export_wrote(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    world.ok("export --sref latest --dref nginx:latest out");
    world.ok("export v1 out");
    assert_eq!(tools.names("out"), ["nginx:latest", "v1"]);
    assert_eq!(tools.digest("out:nginx:latest"), world.digest("latest"));
    tools.run("skopeo copy oci:out:v1 oci:again:v1");
    assert_eq!(tools.digest("again:v1"), world.digest("v1"));
    tools.run("umoci unpack --rootless --image out:v1 bundle");
    assert_eq!(world.read("bundle/rootfs/etc/greeting"), b"Hello from an OCI image.\n");
    assert!(world.path("bundle/rootfs/bin/hello").exists());
}

fn what_skopeo_wrote_is_imported_and_comes_out_the_same(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    tools.run("skopeo copy oci:hello:v1 oci:theirs:v1");
    tools.run("skopeo copy oci:hello:latest oci:theirs:app/web:1.0");
    world.ok("import --all theirs");
    assert_eq!(world.refs().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["app/web:1.0", "v1"]);
    assert_eq!(world.blob_files(), blobs_of(&world.path("theirs")));
    world.ok("export v1 out");
    world.ok("export app/web:1.0 out");
    assert_same(&tree(&world.path("theirs/blobs")), &tree(&world.path("out/blobs")), "out and back");
    tools.assert_agree("import");
}

fn an_export_into_a_layout_of_theirs_keeps_what_is_theirs(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    tools.run("skopeo copy oci:hello:v1 oci:theirs:v1");
    tools.run("umoci tag --image theirs:v1 other");
    world.ok("import --sref latest hello");
    world.ok("export --sref latest --dref v1 theirs");
    assert_eq!(tools.names("theirs"), ["other", "v1"]);
    assert_eq!(tools.digest("theirs:v1"), world.digest("latest"));
    assert_eq!(tools.digest("theirs:other"), tools.digest("hello:v1"));
}

fn what_umoci_made_from_nothing_is_imported(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    tools.run("umoci init --layout made");
    // umoci writes `"manifests": null`.
    assert!(world.fails(4, "import made").contains("made"));
    world.run("import --all made").ok_with_warnings();
    tools.run("umoci new --image made:blank");
    world.ok("import made");
    assert_eq!(world.digest("blank"), tools.digest("made:blank"));
    world.ok("check --read-data blank");
    tools.assert_agree("import");
}

fn an_archive_by_skopeo_is_imported(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    tools.run("skopeo copy oci:hello:latest oci-archive:theirs.tar:app:1.0");
    world.ok("import theirs.tar");
    assert_eq!(world.digest("app:1.0"), tools.digest("hello:latest"));
    tools.run("skopeo copy oci:hello:v1 oci-archive:unnamed.tar");
    world.ok("import --dref v1 unnamed.tar");
    world.ok("check --read-data");
    tools.assert_agree("import");
}

fn skopeo_reads_what_export_packed(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    for archive in ["x.tar", "x.tar.gz", "x.tar.zst"] {
        world.ok(&format!("export latest v1 {archive}"));
        for name in ["latest", "v1"] {
            tools.run(&format!("skopeo copy oci-archive:{archive}:{name} oci:{archive}.out:{name}"));
            assert_eq!(tools.digest(&format!("{archive}.out:{name}")), world.digest(name), "{archive}");
        }
        assert_eq!(blobs_of(&world.path(&format!("{archive}.out"))), world.blob_files(), "{archive}");
    }
    assert!(world.shell("mkdir unpacked && tar -C unpacked -xf x.tar"));
    assert_eq!(tools.names("unpacked"), ["latest", "v1"]);
    tools.run("umoci unpack --rootless --image unpacked:v1 bundle");
    assert_eq!(world.read("bundle/rootfs/etc/greeting"), b"Hello from an OCI image.\n");
}

/// skopeo takes layers out of such an archive as Docker has them, uncompressed: what it keeps are the config and the
/// layers' diff IDs in it. The same file is an OCI archive, from which it takes them as they are.
fn skopeo_reads_what_export_packed_for_docker(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --sref latest --dref hello:latest hello");
    world.ok("import --sref v1 --dref localhost:5000/a/hello:1 hello");
    world.ok("export --all docker-archive:d.tar");
    for name in ["hello:latest", "localhost:5000/a/hello:1"] {
        tools.run(&format!("skopeo copy docker-archive:d.tar:{name} dir:taken"));
        let taken: serde_json::Value = serde_json::from_slice(&world.read("taken/manifest.json")).unwrap();
        let shown = world.json(&format!("inspect {name}"));
        let manifest: serde_json::Value = serde_json::from_slice(world.run(&format!("cat {name}")).bytes()).unwrap();
        assert_eq!(taken["config"]["digest"], manifest["config"]["digest"], "{shown}");
        let config = world.run(&format!("cat {}", manifest["config"]["digest"].as_str().unwrap()));
        let config: serde_json::Value = serde_json::from_slice(config.bytes()).unwrap();
        let layers: Vec<_> = taken["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone()).collect();
        assert_eq!(serde_json::Value::from(layers), config["rootfs"]["diff_ids"]);
        tools.run(&format!("skopeo copy oci-archive:d.tar:{name} oci:kept:{name}"));
        assert_eq!(tools.digest(&format!("kept:{name}")), world.digest(name));
    }
    tools.run("skopeo copy docker-archive:d.tar:hello:latest oci:back:hello");
    world.ok("import --dref back back");
    world.ok("check --read-data back");
}

fn an_archive_that_is_piped_is_read_by_skopeo(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    world.ok("import --all hello");
    std::fs::write(world.path("piped.tar"), world.run("export v1 -").bytes()).unwrap();
    tools.run("skopeo copy oci-archive:piped.tar oci:out:v1");
    assert_eq!(tools.digest("out:v1"), world.digest("v1"));
}

fn an_archive_for_docker_by_skopeo_is_imported(world: &World) {
    let Some(tools) = Tools::find(world) else { return };
    tools.run("skopeo copy oci:hello:latest docker-archive:theirs.tar:app:1.0");
    world.ok("import theirs.tar");
    world.ok("import --sref app:1.0 --dref of-stdin docker-archive:theirs.tar");
    // What they make of it is the image that it was: one config, and the same files.
    tools.run("skopeo copy oci:store:app:1.0 docker-archive:again.tar:app:1.0");
    assert_eq!(world.read("theirs.tar"), world.read("again.tar"));
    tools.run("umoci unpack --rootless --image store:app:1.0 bundle");
    assert_eq!(world.read("bundle/rootfs/etc/greeting"), b"Hello from the latest OCI image.\n");
    // Compressed, it is the same.
    let digest = world.digest("app:1.0");
    for (name, archive) in [("of-gzip", "theirs.tar"), ("of-layout", "layout.tar")] {
        if archive == "layout.tar" {
            tools.run("skopeo copy oci:hello:latest oci-archive:layout.tar:app:1.0");
        }
        tools.run(&format!("gzip {archive}"));
        world.ok(&format!("import --dref {name} {archive}.gz"));
    }
    assert_eq!(world.digest("of-gzip"), digest);
    assert_eq!(world.digest("of-layout"), tools.digest("hello:latest"));
    world.ok("check --read-data");
    tools.assert_agree("import");
}
