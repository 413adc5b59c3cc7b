//! What goes where: data to stdout, all else to stderr, and how the process ends.

use std::process::Stdio;

use serde_json::Value;

use crate::common::layout::digest_of;
use crate::common::{World, over_each_index};

over_each_index!(
    json_of_every_command_has_its_keys,
    what_prints_nothing_prints_nothing,
    each_exit_code_has_its_cause,
    usage_errors_are_one_line_too,
    a_reader_that_has_seen_enough_is_no_error,
    a_stdout_that_takes_nothing_is_an_error,
    a_stderr_that_takes_nothing_changes_no_exit_code,
    closed_standard_streams_do_no_harm,
    progress_is_not_shown_where_there_is_no_terminal,
    words_of_a_stranger_do_not_reach_the_terminal_raw,
    more_is_told_on_demand_and_on_stderr,
);

fn keys(value: &Value) -> Vec<&str> {
    let value = value.as_array().map_or(value, |items| items.first().unwrap_or(value));
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

fn json_of_every_command_has_its_keys(world: &World) {
    let has = |words: &str, wanted: &[&str]| {
        let value = world.json(words);
        for key in wanted {
            assert!(keys(&value).contains(key), "{words}: no {key} in {value}");
        }
        value
    };
    has("import --all hello", &["ref", "digest", "incomplete"]);
    let list = has("list", &["ref", "digest", "mediaType", "size", "incomplete", "updated"]);
    let digest = digest_of(&list[0]);
    has("export v1 out", &["images", "blobs", "bytes"]);
    has("tag v1 v2", &["ref", "digest"]);
    has("pin v2", &["digest"]);
    has("pin", &["digest", "mediaType", "size"]);
    has("unpin v2", &["digest"]);
    has("tree v1", &["digest", "mediaType", "size", "role", "platform", "otherImages", "children"]);
    assert_eq!(world.json("referrers v1"), Value::Array(Vec::new()));
    has("diff v1 latest", &["old", "new", "both", "onlyOld", "onlyNew", "manifests"]);
    has("find", &["ref", "digest", "size", "updated"]);
    has(&format!("why {digest}"), &["digest", "kept", "paths", "more", "uncounted"]);
    has("du", &["images", "total", "freed"]);
    has("stats", &["refs", "pins", "leases", "images", "blobs", "garbage", "dedupeRatio", "index", "indexBytes"]);
    assert_eq!(world.json("lease ls"), Value::Array(Vec::new()));
    has("log", &["ref", "operation", "from", "old", "new", "time"]);
    has("undo v2", &["ref", "digest"]);
    has("gc", &["blobs", "bytes", "unfinished", "dryRun"]);
    has("check", &["images", "blobs", "bytes", "incomplete", "problems"]);
    has("inspect v1", &["digest", "mediaType", "size", "ref", "config", "layers", "layersSize", "os", "architecture"]);
    has(&format!("resolve {}", &digest[..20]), &["digest"]);
    has("blobs", &["digest", "size", "mediaType", "created", "used", "verified", "damaged"]);
    has("data set t k v", &["version"]);
    has("data list t", &["key", "version", "size", "updated", "blob"]);
    assert_eq!(world.json("data list")[0], "t");
    world.ok("blob-data set v1 note text");
    has("blob-data list v1", &["type", "size"]);
    has("index show", &["index"]);
    has("reindex", &["blobs", "refs", "lost", "skipped"]);
    assert_eq!(world.json("index show")["index"], world.index);
    has(&format!("index convert --to {}", world.index), &["index"]);
    assert_eq!(world.json("list nothing"), Value::Array(Vec::new()));
    assert_eq!(world.json("blobs --media-type no/such"), Value::Array(Vec::new()));
}

fn what_prints_nothing_prints_nothing(world: &World) {
    world.ok("import --all hello");
    for words in ["rename v1 v2", "rm v2", "blob-data set latest a b", "blob-data rm latest a"] {
        assert_eq!(world.ok(words), "", "{words}");
    }
    world.ok("data set a b c");
    assert_eq!(world.ok("data rm a b"), "");
}

fn each_exit_code_has_its_cause(world: &World) {
    world.ok("import --all hello");
    world.fails(1, "import no-such-folder");
    world.fails(1, "rename v1 latest");
    world.fails(2, "list --no-such-option");
    world.fails(2, "tag v1 a//b");
    world.fails(4, "rm nothing");
    world.fails(4, "cat nothing");
    world.fails(4, "import --sref nothing hello");
    let digest = world.digest("v1");
    std::fs::remove_file(world.path("store/blobs").join(digest.replacen(':', "/", 1))).unwrap();
    let ran = world.run("check");
    assert_eq!(ran.code(), Some(3), "{}", ran.err());
    assert!(ran.err().starts_with("error: v1: "), "{}", ran.err());
}

fn usage_errors_are_one_line_too(world: &World) {
    for words in [
        "frobnicate",
        "list --no-such",
        "import",
        "import --all --sref x hello",
        "import --platform x hello",
        "--format xml list",
        "--lock-timeout soon list",
        "tag onlyone",
        "data",
        "data frobnicate",
        "index convert",
        "export",
        "resolve",
        "gc --no-such",
    ] {
        let ran = world.run(words);
        if words == "data" {
            // Asked for nothing in particular, it tells all.
            assert_eq!(ran.code(), Some(2), "{words}");
            continue;
        }
        ran.fails(2);
    }
}

fn a_reader_that_has_seen_enough_is_no_error(world: &World) {
    world.ok("import --all hello");
    let largest = "cat ".to_owned() + &digest_of(&world.json("inspect v1")["layers"][0]);
    for words in ["list", "blobs", "--format json list", "inspect v1", "inspect --raw v1", "check", "--help", &largest]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = world.oci_store().args(words.split(' ')).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""), "{words}");
    }
    // What there was to do is done.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = world.oci_store().args(["tag", "v1", "v2"]).stdout(writer).status().unwrap();
    assert_eq!((status.code(), world.digest("v2")), (Some(0), world.digest("v1")));
}

fn a_stdout_that_takes_nothing_is_an_error(world: &World) {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full");
    if full().is_err() {
        return;
    }
    for words in ["list", "gc", "--help", "--version"] {
        let child = world.oci_store().arg(words).stdout(full().unwrap()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{words}: {error}");
        assert!(error.starts_with("error: stdout: ") && error.lines().count() == 1, "{words}: {error}");
    }
}

fn a_stderr_that_takes_nothing_changes_no_exit_code(world: &World) {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    for (words, code) in [("cat nothing", 4), ("--no-such", 2), ("-vv list", 0), ("check nothing", 4)] {
        let status = world.oci_store().args(words.split(' ')).stderr(full.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{words}");
    }
}

/// `<&- >&- 2>&-`: files that are opened must not take the place of stdout.
fn closed_standard_streams_do_no_harm(world: &World) {
    world.ok("import --all hello");
    let before = crate::common::tree::tree(&world.path("store/blobs"));
    let bin = env!("CARGO_BIN_EXE_oci-store");
    let closed = |words: &str, code: i32| {
        let line = format!("exec \"$0\" --store-path store {words} <&- >&- 2>&-");
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-c", &line, bin]).current_dir(world.root()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{words}");
    };
    closed("list", 0);
    closed("tag v1 v2", 0);
    closed("cat v1", 0);
    closed("import --sref v1 --dref v3 hello", 0);
    closed("cat nothing", 4);
    closed("gc --full", 0);
    assert_eq!((world.digest("v2"), world.digest("v3")), (world.digest("v1"), world.digest("v1")));
    crate::common::tree::assert_same(&before, &crate::common::tree::tree(&world.path("store/blobs")), "closed");
    world.ok("check --read-data");
}

fn progress_is_not_shown_where_there_is_no_terminal(world: &World) {
    for words in ["import --all hello", "check --read-data", "export v1 out"] {
        assert_eq!(world.run(words).err(), "", "{words}");
    }
}

fn words_of_a_stranger_do_not_reach_the_terminal_raw(world: &World) {
    let evil = "evil\u{1b}[2Jname\nerror: another";
    let mut layout = crate::common::layout::Builder::new(world.path("evil"));
    let image = layout.image(&[b"x"]);
    layout.add(image, Some(evil));
    let ran = world.run("import evil");
    let error = ran.fails(ran.code().unwrap());
    assert!(!error.contains('\u{1b}'), "{error:?}");
    let ran = world.run("import --sref x evil");
    assert!(!ran.fails(4).contains('\u{1b}'));
    world.run_args(["rm", evil]).fails(2);
    world.run_args(["cat", evil]).fails(4);
    let layer = layout.blob("x/\u{1b}[2J\nfake row", b"y");
    let image = layout.manifest(&layout.blob("application/vnd.oci.empty.v1+json", b"{}"), &[layer]);
    layout.add(image, Some("type"));
    world.ok("import --sref type evil");
    for words in ["blobs", "inspect type"] {
        let out = world.ok(words);
        assert!(!out.contains('\u{1b}') && !out.lines().any(|line| line.starts_with("fake")), "{out}");
    }
}

fn more_is_told_on_demand_and_on_stderr(world: &World) {
    let ran = world.run("-vv import --all hello");
    assert_eq!((ran.code(), ran.out().lines().count()), (Some(0), 2), "{}", ran.err());
    let ran = world.run("--format json -vv list");
    serde_json::from_str::<Value>(&ran.out()).unwrap();
}
