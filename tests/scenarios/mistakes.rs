//! What is said to whoever gets a name, a place or an option wrong, and to whoever asks for too little.

use std::fs;

use serde_json::json;

use crate::common::layout::{Builder, Tar, digest_of, on};
use crate::common::{Ran, World, over_each_index};

over_each_index!(
    a_digest_that_is_not_there_is_no_ref,
    names_are_told_as_docker_completes_them,
    without_a_command_there_is_help_wherever_the_store_is,
    a_picture_goes_to_stdout,
    a_damaged_config_names_what_mends_it,
    archives_that_are_not_written_are_refused,
    a_platform_that_an_image_is_not_for_is_refused,
    archives_of_docker_come_by_stdin,
    quiet_names_what_a_command_is_about,
    the_log_knows_which_refs_it_does_not_know,
    a_source_without_a_name_says_what_it_has,
    places_of_other_tools_are_told_how_to_come_in,
);

fn a_digest_that_is_not_there_is_no_ref(world: &World) {
    world.ok("import --all hello");
    let whole = format!("sha256:{}", "0".repeat(64));
    for digest in [whole.as_str(), "sha256:00000", "sha256-00000", "000000000000"] {
        for command in ["cat", "inspect", "tree", "why", "pin"] {
            let error = world.fails(4, &format!("{command} {digest}"));
            let wanted = format!("error: {digest}: no such blob in the store; `blobs` lists those that are");
            assert_eq!(error, wanted, "{command}");
        }
    }
    for name in ["0000", "sha256-tree", "nothing:1"] {
        assert!(world.fails(4, &format!("cat {name}")).contains("no such ref"), "{name}");
    }
}

fn names_are_told_as_docker_completes_them(world: &World) {
    world.ok("import --sref v1 --dref nginx:latest hello");
    for name in ["docker.io/library/nginx:latest", "docker.io/nginx", "library/nginx"] {
        let error = world.fails(4, &format!("inspect {name}"));
        assert!(error.contains("did you mean nginx:latest?"), "{error}");
    }
    world.ok("tag nginx:latest docker.io/library/redis:latest");
    assert!(world.fails(4, "rm redis").contains("did you mean docker.io/library/redis:latest?"));
    // And in a source.
    let mut layout = Builder::new(world.path("layout"));
    let image = layout.image(&[b"x"]);
    layout.add(image.clone(), Some("docker.io/library/app:latest")).add(image, Some("other"));
    let error = world.fails(4, "import --sref app layout");
    assert!(error.ends_with("; did you mean docker.io/library/app:latest?"), "{error}");
    assert!(!world.fails(4, "import --sref nothing-like-it layout").contains("did you mean"));
}

fn without_a_command_there_is_help_wherever_the_store_is(world: &World) {
    for words in ["", "data", "index", "lease", "blob-data"] {
        let with = world.run(words);
        let without = Ran::of(world.oci_store().args(words.split_whitespace()).env_remove("OCI_STORE_PATH"));
        assert_eq!((with.code(), without.code()), (Some(2), Some(2)), "{words}");
        assert!(with.err().contains("Usage: oci-store") && with.err().lines().count() > 5, "{words}: {}", with.err());
    }
    assert!(world.fails(2, "--store-path store").contains("subcommand"));
}

fn a_picture_goes_to_stdout(world: &World) {
    world.ok("import --all hello");
    world.ok("du --svg file.svg");
    assert_eq!(world.ok("du --svg -").as_bytes(), world.read("file.svg"));
    assert!(world.ok("du --html - v1").starts_with("<!DOCTYPE html>"));
    assert!(!world.path("-").exists());
    assert!(world.fails(2, "du --html - --svg -").contains("stdout"));
}

fn a_damaged_config_names_what_mends_it(world: &World) {
    world.ok("import --all hello");
    let (refs, config) = (world.refs(), world.path("store/.oci-store/config.json"));
    fs::write(&config, "{").unwrap();
    let error = world.fails(1, "check");
    assert!(error.contains("config.json") && error.ends_with("; move it away, and `reindex` makes it anew"), "{error}");
    fs::rename(&config, world.path("config.json")).unwrap();
    world.run(&format!("--index {} reindex", world.index)).ok_with_warnings();
    assert_eq!(world.refs(), refs);
    world.ok("check --read-data");
}

fn archives_that_are_not_written_are_refused(world: &World) {
    world.ok("import --all hello");
    for to in ["x.tar.xz", "x.tar.bz2", "x.txz", "x.zip", "oci-archive:x.tar.lz4", "docker-archive:x.tar.xz:app:1"] {
        let error = world.fails(2, &format!("export v1 {to}"));
        assert!(error.contains(".tar, .tar.gz or .tar.zst"), "{to}: {error}");
    }
    assert!(!world.path("x.tar.xz").exists());
    world.ok("export v1 oci:x.tar.xz");
    world.ok("export latest x.tar.xz");
    assert!(world.path("x.tar.xz/index.json").exists());
}

fn a_platform_that_an_image_is_not_for_is_refused(world: &World) {
    let mut layout = Builder::new(world.path("multi"));
    let (a, b) = (on(layout.image(&[b"for amd64"]), "amd64"), on(layout.image(&[b"for arm64"]), "arm64"));
    let again = on(layout.image(&[b"for amd64, too"]), "amd64");
    let index = layout.index(&[a.clone(), b.clone(), again]);
    layout.add(index.clone(), Some("app")).add(a.clone(), Some("one"));
    for words in ["--sref app multi", "--sref one multi", "--all multi"] {
        let ran = world.run(&format!("import --platform linux/nope {words}"));
        let error = ran.err();
        assert!(error.contains("not for linux/nope (it has: linux/amd64"), "{words}: {error}");
        assert!(!error.contains("app: app") && error.lines().all(|line| line.matches("amd64").count() == 1), "{error}");
        assert_ne!(ran.code(), Some(0));
    }
    assert_eq!(world.refs(), []);
    // Of an index, one platform comes in.
    world.ok("import --platform linux/arm64 --sref app multi");
    assert_eq!(world.digest("app"), digest_of(&b));
    assert!(!world.blob_files().contains(&digest_of(&index)) && !world.blob_files().contains(&digest_of(&a)));
    world.ok("import --platform linux/amd64 --all multi");
    assert_eq!((world.digest("app"), world.digest("one")), (digest_of(&a), digest_of(&a)));
    world.ok("import --sref app multi");
    assert_eq!(world.digest("app"), digest_of(&index));
    world.ok("check --read-data");
}

fn archives_of_docker_come_by_stdin(world: &World) {
    world.ok("import --sref v1 --dref app:1 hello");
    let docker = world.run("export app:1 docker-archive:-");
    for (n, from) in ["docker-archive:-", "-"].into_iter().enumerate() {
        let ran = world.run_with(&format!("import --dref in:{n} {from}"), docker.bytes());
        assert_eq!(ran.code(), Some(0), "{from}: {}", ran.err());
    }
    let oci = Tar::of(&world.path("hello"), true).bytes();
    world.run_with("import --dref in:oci oci-archive:-:v1", &oci).ok();
    assert_eq!(world.digest("in:oci"), world.digest("app:1"));
    assert!(world.run_with("import docker-archive:-", b"nothing of the kind").fails(1).contains("stdin"));
    assert!(world.fails(2, "import - docker-archive:-").contains("once"));
}

fn quiet_names_what_a_command_is_about(world: &World) {
    world.ok("import --all hello");
    assert_eq!(world.ok("du -q"), "latest\nv1\n");
    world.ok("export --all layout");
    for _ in 0..2 {
        assert_eq!(world.ok(&format!("-q --index {} adopt layout", world.index)), "latest\nv1\n");
    }
}

fn the_log_knows_which_refs_it_does_not_know(world: &World) {
    world.ok("import --all hello");
    let error = world.fails(4, "log v2");
    assert!(error.contains("v2: no such ref; did you mean v1?"), "{error}");
    world.ok("rm v1");
    assert_eq!(world.json("log v1")[0]["operation"], json!("rm"));
    // One that is there, and never changed as far as the log knows.
    world.ok("export latest layout");
    world.ok(&format!("--index {} adopt layout", world.index));
    world.ok("--store-path layout log latest");
}

fn a_source_without_a_name_says_what_it_has(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let forms = || {
        fs::write(world.path("layout.tar"), Tar::of(&world.path("layout"), true).bytes()).unwrap();
        ["layout", "layout.tar", "-"]
    };
    let run = |words: &str| {
        if words.contains("layout") { world.run(words) } else { world.run_with(words, &world.read("layout.tar")) }
    };
    let called = |form: &str| if form == "-" { "stdin" } else { form }.to_owned();
    for form in forms() {
        assert_eq!(run(&format!("import {form}")).fails(4), format!("error: {} has no image", called(form)));
        let all = run(&format!("import --all {form}"));
        assert_eq!(all.ok_with_warnings(), "");
        assert_eq!(all.err().trim(), format!("WARN {} has no image", called(form)));
    }
    let (one, two) = (layout.image(&[b"one"]), layout.image(&[b"two"]));
    layout.add(one.clone(), None);
    for form in forms() {
        let wanted = format!("error: the image in {} has no name: give it one with --dref", called(form));
        assert_eq!(run(&format!("import {form}")).fails(1), wanted);
        assert_eq!(run(&format!("import {form} --sref {}", digest_of(&one))).fails(1), wanted);
        let warning = run(&format!("import --all {form}")).err();
        assert!(warning.contains("has 1 image without a name: take it with --sref DIGEST --dref NAME"), "{warning}");
    }
    assert!(world.fails(1, "--store-path absent import layout").contains("no name"));
    assert!(!world.path("absent").exists());
    layout.add(two.clone(), None).add(one.clone(), None);
    for form in forms() {
        let has = format!("(it has: {}, {})", digest_of(&one), digest_of(&two));
        let why = format!("2 images without a name: take one with --sref DIGEST --dref NAME {has}");
        let error = run(&format!("import --dref a {form}")).fails(1);
        assert_eq!(error, format!("error: {} has {why}", called(form)));
        let all = run(&format!("import --all {form}"));
        assert_eq!((all.ok_with_warnings().as_str(), all.err().contains(&why)), ("", true), "{}", all.err());
    }
    assert_eq!(world.refs(), []);
    world.ok(&format!("import --sref {} --dref two layout", digest_of(&two)));
    // Of what has names, those without one are nothing to be told.
    layout.add(one, Some("one"));
    world.ok("import --all layout");
}

fn places_of_other_tools_are_told_how_to_come_in(world: &World) {
    for place in ["docker://nginx", "docker-daemon:nginx:1", "dir:out", "containers-storage:nginx"] {
        for words in ["import --all", "import oci:hello:v1", "check --repair --from"] {
            let error = world.run(&format!("{words} {place}")).err();
            let wanted = format!("error: {place} is no place that images are imported from");
            assert!(error.starts_with(&wanted) && error.lines().count() == 1, "{error}");
            assert!(error.contains(&format!("`skopeo copy {place} oci-archive:FILE`")), "{error}");
        }
    }
    fs::write(world.path("x.tar"), Tar::of(&world.path("hello"), true).bytes()).unwrap();
    for (place, meant) in [("x.tar:v1", "oci-archive:x.tar:v1"), ("hello:v1", "oci:hello:v1")] {
        let error = world.fails(1, &format!("import {place}"));
        assert!(error.contains(place) && error.ends_with(&format!("; did you mean {meant}?")), "{error}");
        world.ok(&format!("import {meant}"));
    }
    assert!(!world.fails(1, "import absent:v1").contains("did you mean"));
    fs::create_dir(world.path("dir:")).unwrap();
    fs::rename(world.path("x.tar"), world.path("dir:/x.tar")).unwrap();
    world.ok("import --all dir:/x.tar");
}
