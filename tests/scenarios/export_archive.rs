//! `export` into an archive: the same bytes from every store, whole or not at all.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::layout::{Builder, INDEX, blob_path, digest_of, entries, layers_of, on};
use crate::common::{Ran, World, over_each_index, wait_until};

over_each_index!(
    the_same_images_give_the_same_bytes,
    what_says_what_is_to_come_comes_first,
    there_and_back_nothing_changes,
    what_one_store_packs_another_unpacks,
    a_compressed_archive_is_the_archive_compressed,
    a_destination_is_told_by_its_name,
    an_archive_is_replaced_and_nothing_else_is,
    a_kill_leaves_nothing_under_the_name,
    what_is_damaged_does_not_go_out,
    several_images_go_out_together,
    of_an_index_one_platform_goes_out,
    docker_finds_its_manifest_json,
    what_docker_can_not_load_is_refused,
);

/// Two images of two platforms each, with what is about them, as `app` and `other`.
fn multi(world: &World) -> Builder {
    let mut layout = Builder::new(world.path("multi"));
    let (amd64, arm64) = (layout.image(&[b"base", b"for amd64"]), layout.image(&[b"base", b"for arm64"]));
    let signature = layout.referrer(&amd64, "application/x.signature", b"signature");
    let index = layout.index(&[on(amd64, "amd64"), on(arm64, "arm64")]);
    let sbom = layout.referrer(&index, "application/x.sbom", b"sbom");
    let other = layout.image(&[b"other"]);
    layout.add(index, Some("app")).add(other, Some("other")).add(signature, None).add(sbom, None);
    layout
}

struct Member {
    name: String,
    bytes: Vec<u8>,
    header: tar::Header,
}

fn members(archive: &Path) -> Vec<Member> {
    let mut archive = tar::Archive::new(File::open(archive).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, File>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        Member { name: entry.path().unwrap().display().to_string(), bytes, header: entry.header().clone() }
    };
    archive.entries().unwrap().map(read).collect()
}

fn json_in(archive: &Path, name: &str) -> Value {
    let member = members(archive).into_iter().find(|member| member.name == name);
    serde_json::from_slice(&member.unwrap_or_else(|| panic!("no {name}")).bytes).unwrap()
}

fn names_in(archive: &Path) -> Vec<String> {
    let listed = json_in(archive, "index.json")["manifests"].as_array().unwrap().clone();
    let name = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
    listed.iter().map(|entry| name(entry).unwrap_or_else(|| "-".to_owned())).collect()
}

fn the_same_images_give_the_same_bytes(world: &World) {
    multi(world);
    world.ok("import --all hello");
    world.ok("import --all multi");
    world.ok("export --all all.tar");
    // Another store, of the other kind where there is one, that has got it otherwise, and has more.
    let other = if world.index == "lmdb" && cfg!(feature = "sqlite") { "sqlite" } else { "lmdb" };
    let other = if cfg!(feature = "lmdb") { other } else { world.index };
    let elsewhere = |words: &str| world.ok(&format!("--store-path elsewhere --index {other} {words}"));
    let mut more = Builder::new(world.path("more"));
    let image = more.image(&[b"more", b"base"]);
    more.add(image, Some("more"));
    elsewhere("import more");
    elsewhere("import --sref other --dref x all.tar");
    elsewhere("import --all multi");
    elsewhere("import --sref latest hello");
    elsewhere("import --sref v1 hello");
    elsewhere("export other v1 latest app there.tar");
    assert_eq!(world.read("there.tar"), world.read("all.tar"));
    for words in ["export app v1 other latest oci-archive:again.tar", "export --sync --all again.tar"] {
        world.ok(words);
        assert_eq!(world.read("again.tar"), world.read("all.tar"), "{words}");
    }
    for words in ["export --all -", "export --all oci-archive:-"] {
        let ran = world.run(words);
        assert_eq!((ran.code(), ran.err().as_str()), (Some(0), ""));
        assert_eq!(ran.bytes(), world.read("all.tar"), "{words}");
    }
    world.assert_no_leftovers();
}

fn what_says_what_is_to_come_comes_first(world: &World) {
    let layout = multi(world);
    world.ok("import --all multi");
    world.ok("export app app.tar");
    let members = members(&world.path("app.tar"));
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names[..4], ["oci-layout", "index.json", "blobs/", "blobs/sha256/"]);
    let index = digest_of(&entries(&layout.folder)[0]).replacen(':', "/", 1);
    assert_eq!(names[4], format!("blobs/{index}"));
    let is_document = |member: &&Member| member.bytes.starts_with(b"{\"") && member.bytes.ends_with(b"}");
    let kind = |member: &Member| match &member.bytes {
        bytes if is_document(&member) && bytes.windows(13).any(|at| at == b"schemaVersion") => 1,
        bytes if is_document(&member) || bytes == b"{}" => 2,
        _ => 3,
    };
    let kinds: Vec<i32> = members[4..].iter().map(kind).collect();
    assert!(kinds.is_sorted() && kinds.contains(&1) && kinds.contains(&2) && kinds.contains(&3), "{kinds:?}");
    for member in &members {
        let header = &member.header;
        let mode = if member.name.ends_with('/') { 0o755 } else { 0o644 };
        let of = (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
        assert_eq!(of, (0, 0, 0, mode), "{}", member.name);
    }
    assert_eq!(names_in(&world.path("app.tar")), ["app", "-", "-"]);
    world.ok("export --no-referrers app bare.tar");
    assert_eq!(names_in(&world.path("bare.tar")), ["app"]);
}

fn there_and_back_nothing_changes(world: &World) {
    multi(world);
    world.ok("import --all hello");
    world.ok("import --all multi");
    world.ok("export --all all.tar");
    let (refs, blobs) = (world.refs(), world.blob_files());
    world.ok("rm app other v1 latest");
    world.ok("gc");
    assert!(world.blob_files().is_empty());
    world.ok("import --all all.tar");
    assert_eq!((world.refs(), world.blob_files()), (refs, blobs));
    world.ok("check --read-data");
    assert_eq!(world.json("inspect app")["referrers"].as_array().unwrap().len(), 1);
    world.ok("export other oci-archive:one.tar:named:1.0");
    assert_eq!(names_in(&world.path("one.tar")), ["named:1.0"]);
}

/// Every form that export has, import has too, also through a pipe.
fn what_one_store_packs_another_unpacks(world: &World) {
    world.ok("import --sref latest --dref hello:latest hello");
    let digest = world.digest("hello:latest");
    for (n, archive) in
        ["x.tar", "x.tar.gz", "x.tar.zst", "docker-archive:d.tar", "docker-archive:d.tgz"].iter().enumerate()
    {
        world.ok(&format!("export hello:latest {archive}"));
        let there = format!("--store-path there{n}");
        world.ok(&format!("{there} import {}", archive.trim_start_matches("docker-archive:")));
        world.ok(&format!("{there} check --read-data"));
        assert!(world.ok(&format!("{there} list")).contains(&digest), "{archive}");
    }
    for (n, how) in ["-", "--compress zstd -", "docker-archive:-"].iter().enumerate() {
        let archive = world.run(&format!("export hello:latest {how}"));
        let there = format!("--store-path piped{n}");
        world.run_with(&format!("{there} import -"), archive.bytes()).ok();
        assert!(world.ok(&format!("{there} list")).contains(&digest), "{how}");
    }
}

fn a_compressed_archive_is_the_archive_compressed(world: &World) {
    world.ok("import --all hello");
    world.ok("export latest x.tar");
    for (name, magic) in [("x.tar.gz", &[0x1f, 0x8b, 8, 0][..]), ("x.tgz", &[0x1f, 0x8b]), ("x.tar.zst", &[0x28, 0xb5])]
    {
        world.ok(&format!("export latest {name}"));
        let bytes = world.read(name);
        assert!(bytes.starts_with(magic), "{name}");
        world.ok(&format!("export latest {name}"));
        assert_eq!(world.read(name), bytes, "{name}");
    }
    assert!(world.shell("gzip -dc x.tgz | cmp - x.tar"));
    assert_eq!(world.read("x.tgz"), world.read("x.tar.gz"));
    assert_eq!(world.run("export latest --compress gzip -").bytes(), world.read("x.tgz"));
    // What is said counts more than a name.
    world.ok("export latest --compress none x.tgz");
    assert_eq!(world.read("x.tgz"), world.read("x.tar"));
    assert!(world.fails(2, "export latest --compress gzip folder").contains("--compress"));
    assert!(!world.path("folder").exists());
}

fn a_destination_is_told_by_its_name(world: &World) {
    world.ok("import --all hello");
    world.ok("export latest oci:folder.tar:a/b:1");
    assert_eq!(world.names("folder.tar"), ["blobs", "index.json", "oci-layout"]);
    // A folder is one, however it is called.
    world.ok("export v1 folder.tar");
    assert_eq!(entries(&world.path("folder.tar")).len(), 2);
    world.ok("export v1 oci-archive:file");
    assert!(world.path("file").is_file());
    world.ok("export v1 file");
    assert!(world.path("file").is_file());
    for (words, why) in [
        ("export v1 --dref x oci-archive:x.tar:y", "twice"),
        ("export v1 latest oci-archive:x.tar:y", "several"),
        ("export v1 latest --dref y x.tar", "several"),
        ("export --all oci-archive:x.tar:y", "--all"),
        ("export --all v1 x.tar", "--all"),
        ("export v1 oci-archive:x.tar:/", "no ref name"),
        ("export v1 oci-archive:", "no path"),
    ] {
        assert!(world.fails(2, words).contains(why), "{words}");
    }
    assert!(world.fails(1, "export v1 oci-archive:folder.tar").contains("is a folder"));
    // A folder is made, as for a layout; not in the place of a file.
    world.ok("export v1 oci-archive:absent/as-well/x.tar");
    assert!(world.path("absent/as-well/x.tar").exists());
    assert!(world.fails(1, "export v1 oci-archive:absent/as-well/x.tar/y.tar").contains("x.tar"));
    assert!(world.fails(4, "export v9 x.tar").contains("v9"));
    assert!(!world.path("x.tar").exists());
}

fn an_archive_is_replaced_and_nothing_else_is(world: &World) {
    world.ok("import --all hello");
    world.ok("export v1 x.tar");
    std::os::unix::fs::symlink("x.tar", world.path("link.tar")).unwrap();
    world.ok("export latest link.tar");
    assert!(fs::symlink_metadata(world.path("link.tar")).unwrap().is_symlink());
    // Nothing is added to what is there.
    assert_eq!(names_in(&world.path("x.tar")), ["latest"]);
    fs::write(world.path("empty.tar"), "").unwrap();
    world.ok("export latest empty.tar");
    fs::write(world.path("letter.tar"), "dear").unwrap();
    assert!(world.fails(1, "export latest letter.tar").contains("no archive"));
    assert_eq!(world.read("letter.tar"), b"dear");
    assert!(world.fails(1, "export latest oci-archive:/dev/null").contains("not a regular file"));
    world.ok("export latest oci-archive:store/x.tar");
    world.ok("gc --full");
    world.ok("check --read-data");
}

fn a_kill_leaves_nothing_under_the_name(world: &World) {
    let mut layout = Builder::new(world.path("large"));
    let image = layout.image(&[&vec![7; 64 << 20]]);
    layout.add(image, Some("large"));
    world.ok("import large");
    fs::create_dir(world.path("to")).unwrap();
    let part = |name: &String| fs::metadata(world.path("to").join(name).join("archive")).map_or(0, |meta| meta.len());
    let mut killed = false;
    for _ in 0..20 {
        let mut export = world.spawn("export large to/x.tar");
        wait_until("something is written", || world.names("to").iter().any(|name| part(name) > 0 || name == "x.tar"));
        export.kill().unwrap();
        let _ = Ran::ended("export", export);
        killed = !world.path("to/x.tar").exists();
        if killed {
            break;
        }
        fs::remove_file(world.path("to/x.tar")).unwrap();
    }
    assert!(killed, "all exports were faster than their kills");
    let left = world.names("to");
    assert!(left.len() == 1 && left[0].starts_with(".oci-store-export-"), "{left:?}");
    // The next one takes away what the dead has left, if that is not quite young.
    let old = SystemTime::now() - Duration::from_secs(120);
    File::open(world.path("to").join(&left[0])).unwrap().set_modified(old).unwrap();
    world.ok("export large to/x.tar");
    assert_eq!(world.names("to"), ["x.tar"]);
    world.ok("gc");
    world.assert_no_leftovers();
}

fn what_is_damaged_does_not_go_out(world: &World) {
    world.ok("import --all hello");
    world.ok("export v1 x.tar");
    let before = world.read("x.tar");
    let layer = layers_of(&world.path("store"), &world.digest("latest")).remove(0);
    let path = blob_path(&world.path("store"), &layer);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let error = world.fails(1, "export latest x.tar");
    assert!(error.contains(&layer) && error.contains("damaged"), "{error}");
    assert_eq!(world.read("x.tar"), before);
    assert!(!world.names(".").iter().any(|name| name.starts_with(".oci-store-export-")));
    // What has gone to a stream by then lacks its end.
    let ran = world.run("export latest -");
    assert_eq!(ran.code(), Some(1));
    assert!(!ran.bytes().ends_with(&[0; 1024]));
    fs::remove_file(&path).unwrap();
    assert!(world.fails(1, "export latest x.tar").contains(&layer));
    assert_eq!(world.read("x.tar"), before);
}

fn several_images_go_out_together(world: &World) {
    multi(world);
    world.ok("import --all hello");
    world.ok("import --all multi");
    let shown = world.json("export other latest out");
    assert_eq!(shown["images"].as_array().unwrap().len(), 2);
    assert_eq!(shown["images"][0]["ref"], "latest");
    assert_eq!(shown["images"][1]["digest"], world.digest("other"));
    let named = |layout: &str| entries(&world.path(layout)).len();
    assert_eq!(named("out"), 2);
    let text = world.ok("export --all out");
    assert_eq!(text.lines().count(), 4);
    // Four refs, and what is about them.
    assert_eq!(named("out"), 6);
    assert_eq!(crate::common::tree::blobs_of(&world.path("out")), world.blob_files());
    let again = fs::read(world.path("out/index.json")).unwrap();
    world.ok("export --all out");
    assert_eq!(world.read("out/index.json"), again);
    world.ok("--store-path other gc");
    world.ok("export --all other");
    assert_eq!(world.ok("--store-path other list").lines().count(), 5);
    world.ok("export v1 v1 twice.tar");
    assert_eq!(names_in(&world.path("twice.tar")), ["v1"]);
    // One that can't go keeps all here.
    assert!(world.fails(4, "export v1 v9 none").contains("v9"));
    assert!(!world.path("none").exists());
}

fn of_an_index_one_platform_goes_out(world: &World) {
    let layout = multi(world);
    world.ok("import --all multi");
    let index = entries(&layout.folder)[0].clone();
    let index: Value =
        serde_json::from_slice(&fs::read(blob_path(&layout.folder, &digest_of(&index))).unwrap()).unwrap();
    assert_eq!(index["mediaType"], INDEX);
    let amd64 = digest_of(&index["manifests"][0]);
    let shown = world.json("export --platform linux/amd64 app out");
    assert_eq!(shown["images"][0]["digest"], amd64.as_str());
    // The manifest, its config and two layers, and its signature of three blobs; not what is about the index.
    assert_eq!(shown["blobs"], 7);
    assert_eq!(entries(&world.path("out")).len(), 2);
    world.ok("export --platform linux/arm64 --no-referrers app arm64.tar");
    assert_eq!(members(&world.path("arm64.tar")).len(), 4 + 4);
    world.ok("import --dref arm64 arm64.tar");
    assert_eq!(world.digest("arm64"), digest_of(&index["manifests"][1]));
    let error = world.fails(4, "export --platform linux/riscv64 app none");
    assert!(
        error.contains("app") && error.contains("linux/riscv64") && error.contains("linux/amd64, linux/arm64"),
        "{error}"
    );
    // What is no index is of a platform, too.
    world.ok("export --platform linux/amd64 other none");
    assert!(world.fails(4, "export --platform linux/arm64 other no").contains("linux/amd64"));
    world.ok("--store-path other gc");
    world.ok("export --platform linux/amd64 app other");
    assert!(world.ok("--store-path other list").contains(&amd64));
    assert!(!world.path("no").exists());
}

fn docker_finds_its_manifest_json(world: &World) {
    multi(world);
    world.ok("import --sref latest --dref hello:latest hello");
    world.ok("import --sref v1 --dref localhost:5000/a/hello hello");
    world.ok("import --all multi");
    world.ok("tag hello:latest other.io/again:2");
    world.ok("export hello:latest other.io/again:2 localhost:5000/a/hello docker-archive:d.tar");
    let items = json_in(&world.path("d.tar"), "manifest.json");
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["RepoTags"], serde_json::json!(["hello:latest", "other.io/again:2"]));
    assert_eq!(items[1]["RepoTags"], serde_json::json!(["localhost:5000/a/hello:latest"]));
    let names: Vec<String> = members(&world.path("d.tar")).into_iter().map(|member| member.name).collect();
    assert_eq!(names[..3], ["oci-layout", "index.json", "manifest.json"]);
    for item in items {
        for path in item["Layers"].as_array().unwrap().iter().chain([&item["Config"]]) {
            assert!(names.iter().any(|name| path == name), "{path}");
        }
    }
    let listed = &json_in(&world.path("d.tar"), "index.json")["manifests"];
    assert_eq!(listed[0]["annotations"]["io.containerd.image.name"], "docker.io/library/hello:latest");
    world.ok("export --platform linux/arm64 app docker-archive:app.tar");
    assert_eq!(json_in(&world.path("app.tar"), "manifest.json")[0]["RepoTags"][0], "app:latest");
    // It is a layout, too.
    let digest = world.digest("hello:latest");
    world.ok("import --sref hello:latest --dref back d.tar");
    assert_eq!(world.digest("back"), digest);
    let piped = world.run("export --platform linux/arm64 app docker-archive:-");
    assert_eq!(piped.bytes(), world.read("app.tar"));
}

fn what_docker_can_not_load_is_refused(world: &World) {
    let mut layout = multi(world);
    let artifact = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let artifact = layout.manifest(&artifact, &[]);
    layout.add(artifact, Some("artifact"));
    world.ok("import --all multi");
    world.ok("tag other Other");
    let partial = layout.image(&[b"gone"]);
    let gone = layers_of(&layout.folder, &digest_of(&partial)).remove(0);
    fs::remove_file(blob_path(&layout.folder, &gone)).unwrap();
    layout.add(partial, Some("partial"));
    world.ok("import --sref partial --allow-incomplete multi");
    for (image, why) in
        [("app", "--platform"), ("artifact", "no image config"), ("Other", "NAME:TAG"), ("partial", gone.as_str())]
    {
        let error = world.fails(1, &format!("export {image} docker-archive:d.tar"));
        assert!(error.contains(image) && error.contains(why), "{error}");
    }
    assert!(!world.path("d.tar").exists());
    world.ok("export Other docker-archive:d.tar:other:1");
    assert_eq!(json_in(&world.path("d.tar"), "manifest.json")[0]["RepoTags"][0], "other:1");
}
