//! What makes it easy to use: shapes of output, words that people try, completion, manual pages.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::layout::{Builder, on};
use crate::common::{Ran, World, over_each_index};

over_each_index!(
    lists_as_lines_have_the_same_objects_as_json,
    quiet_prints_names_alone,
    what_is_piped_is_never_shortened,
    a_table_fits_the_terminal,
    a_tree_and_a_diff_fit_the_terminal,
    an_archive_is_not_awaited_from_a_terminal,
    words_that_people_try_are_understood,
    bash_completes_refs_with_colons_and_digests,
    completion_changes_nothing_and_makes_no_store,
    manual_pages_are_written_for_each_command,
    versions_are_told_to_programs,
    a_ref_that_is_not_there_names_those_that_nearly_are,
    what_a_command_waited_for_is_told_to_who_asks,
    a_long_command_shows_how_far_it_is_and_quiet_hides_it,
);

fn lists_as_lines_have_the_same_objects_as_json(world: &World) {
    world.ok("import --all hello");
    world.ok("data set t k v");
    for words in ["list", "blobs", "data list t", "data list", "pin", "gc", "inspect v1", "list nothing"] {
        let whole = match world.json(words) {
            Value::Array(items) => items,
            one => vec![one],
        };
        let text = world.ok(&format!("--format jsonl {words}"));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, whole, "{words}");
    }
}

fn quiet_prints_names_alone(world: &World) {
    let digests = world.ok("import -q --all hello");
    assert!(digests.lines().count() == 2 && digests.lines().all(|line| line.starts_with("sha256:")), "{digests}");
    assert_eq!(world.ok("list -q"), "latest\nv1\n");
    assert_eq!(world.ok("tag -q v1 v2"), world.digest("v1") + "\n");
    assert_eq!(world.ok("blobs -q"), world.blob_files().join("\n") + "\n");
    world.ok("data set t k v");
    assert_eq!(world.ok("-q data list t"), "k\n");
    // What has no name has nothing to say; JSON stays whole.
    assert_eq!(world.ok("gc -q") + &world.ok("check --quiet"), "");
    assert_eq!(world.json("-q list").as_array().unwrap().len(), 3);
}

fn what_is_piped_is_never_shortened(world: &World) {
    world.ok("import --all hello");
    let long = format!("v1-{}", "x".repeat(200));
    world.ok(&format!("tag v1 {long}"));
    let list = world.run_args(["list"]).out();
    assert!(list.contains(&world.digest("v1")) && !list.contains('…'), "{list}");
    assert!(world.ok("blobs").contains("application/vnd.oci.image.manifest.v1+json"));
}

/// Through `script`, which gives it a terminal, where that is installed.
fn in_a_terminal(world: &World, columns: u32, words: &str) -> Option<String> {
    let bin = env!("CARGO_BIN_EXE_oci-store");
    let line = format!("stty cols {columns} rows 24; {bin} --store-path store {words}");
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).current_dir(world.root()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{text}");
    Some(text)
}

fn a_table_fits_the_terminal(world: &World) {
    world.ok("import --all hello");
    for words in ["list", "blobs"] {
        let Some(wide) = in_a_terminal(world, 200, words) else { return };
        assert!(wide.contains(&world.digest("v1")), "{wide}");
        let narrow = in_a_terminal(world, 80, words).unwrap();
        let short = format!("{}…", &world.digest("v1")[..19]);
        assert!(narrow.contains(&short), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }
}

fn an_archive_is_not_awaited_from_a_terminal(world: &World) {
    for words in ["import -", "import --all docker-archive:-", "check --repair --from -"] {
        let Some(said) = in_a_terminal(world, 80, &format!("{words}; [ $? = 2 ]")) else { return };
        assert!(said.contains("-: stdin is a terminal") && said.lines().count() == 1, "{words}: {said}");
    }
}

fn words_that_people_try_are_understood(world: &World) {
    world.ok("import --all hello");
    // Tables show ages, and these pass.
    assert_eq!(world.json("ls"), world.json("list"));
    assert_eq!(world.json("images"), world.json("list"));
    assert_eq!(world.ok("fsck"), world.ok("verify"));
    for (n, word) in ["rmi", "remove", "delete", "untag"].into_iter().enumerate() {
        world.ok(&format!("tag v1 t{n}"));
        world.ok(&format!("{word} t{n}"));
    }
    world.ok("mv v1 v2");
    for words in ["cp v2 v3", "copy --all a b", "cp"] {
        let error = world.fails(2, words);
        assert!(error.contains("`tag") && error.contains("`export"), "{error}");
    }
    for (words, instead) in [
        ("load -i x.tar", "`import FILE`"),
        ("save v2 -o x.tar", "`export REF FILE.tar`"),
        ("pull nginx", "`skopeo copy docker:"),
        ("push v2", "`skopeo copy oci:"),
        ("history v2", "`log`"),
        ("repair", "`check --repair --from"),
    ] {
        let error = world.fails(2, words);
        assert!(error.contains(instead) && !error.contains("similar"), "{error}");
    }
    for (words, said) in [
        ("lsit", "unrecognized subcommand 'lsit'; some similar subcommands exist: 'ls', 'list'; see --help"),
        ("import --al x", "unexpected argument '--al' found; a similar argument exists: '--all'; see --help"),
    ] {
        assert_eq!(world.fails(2, words), format!("error: {said}"));
    }
}

fn a_tree_and_a_diff_fit_the_terminal(world: &World) {
    let mut layout = Builder::new(world.path("layout"));
    let (a, b) = (on(layout.image(&[b"shared", b"a"]), "amd64"), on(layout.image(&[b"shared", b"b"]), "arm64"));
    layout.add(layout.index(&[a.clone(), b.clone()]), Some("example.org/nginx:1")).add(a, Some("a")).add(b, Some("b"));
    world.ok("import --all layout");
    for words in ["tree example.org/nginx:1", "diff a b"] {
        let Some(narrow) = in_a_terminal(world, 80, words) else { return };
        assert!(narrow.contains('…') && narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(!world.ok(words).contains('…'));
    }
    assert!(world.ok("tree example.org/nginx:1").contains("in 1 other image too"));
}

/// What bash has in COMPREPLY at the end of `line`, split into words as bash does.
fn completed(world: &World, line: &str) -> Vec<String> {
    let bin = Path::new(env!("CARGO_BIN_EXE_oci-store")).parent().unwrap();
    let words = line.replace(':', " : ").replace('=', " = ");
    let mut words: Vec<&str> = words.split_whitespace().collect();
    if line.ends_with(' ') {
        words.push("");
    }
    let script = "PATH=$BIN:$PATH; source <(oci-store completion bash)\n\
                  COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_POINT=${#COMP_LINE}\n\
                  complete -p oci-store >/dev/null || exit 1\n\
                  _oci_store oci-store \"${COMP_WORDS[COMP_CWORD]}\" \"\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script, "bash"]).args(&words).current_dir(world.root());
    bash.env("BIN", bin).env("COMP_LINE", line).env("OCI_STORE_PATH", "store").env("HOME", world.root());
    let out = Ran::of(&mut bash).ok();
    out.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn bash_completes_refs_with_colons_and_digests(world: &World) {
    world.ok("import --sref v1 --dref nginx:1.27 hello");
    world.ok("tag nginx:1.27 nginx:1.28");
    world.ok("tag nginx:1.27 host:5000/a:b");
    assert_eq!(completed(world, "oci-store reind"), ["reindex"]);
    assert_eq!(completed(world, "oci-store rm ngi"), ["nginx:1.27", "nginx:1.28"]);
    // Bash takes what stands before the last colon for another word, and keeps it.
    assert_eq!(completed(world, "oci-store rm nginx:"), ["1.27", "1.28"]);
    assert_eq!(completed(world, "oci-store rm nginx:1.28"), ["1.28"]);
    assert_eq!(completed(world, "oci-store rm host:5000/"), ["5000/a:b"]);
    assert_eq!(completed(world, "oci-store rm host:5000/a:"), ["b"]);
    assert_eq!(completed(world, "oci-store export --sref=nginx:1.28"), ["1.28"]);
    assert_eq!(completed(world, "oci-store tag nginx:1.27 host"), ["host:5000/a:b"]);
    let digest = world.digest("nginx:1.27");
    assert_eq!(completed(world, &format!("oci-store cat {}", &digest[..12])), [&digest[7..]]);
    assert_eq!(completed(world, &format!("oci-store cat {}", &digest[7..12])), [&digest[7..]]);
    // Of the store that the line names.
    world.ok(&format!("--store-path other --index {} import --sref v1 --dref there hello", world.index));
    assert_eq!(completed(world, "oci-store --store-path other rm t"), ["there"]);
    assert_eq!(completed(world, "oci-store rm t"), [""; 0]);
    assert!(completed(world, "oci-store list --format ").contains(&"jsonl".to_owned()));
    for words in ["--index ", "index convert --to "] {
        assert_eq!(completed(world, &format!("oci-store {words}")), ["lmdb", "sqlite"]);
    }
}

fn completion_changes_nothing_and_makes_no_store(world: &World) {
    assert_eq!(completed(world, "oci-store --store-path absent rm v"), [""; 0]);
    assert!(!world.path("absent").exists());
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.ok(&format!("completion {shell}")).contains("_OCI_STORE_COMPLETE"), "{shell}");
    }
    world.fails(2, "completion tcsh");
}

fn manual_pages_are_written_for_each_command(world: &World) {
    assert_eq!(world.ok("man pages"), "");
    let names = world.names("pages");
    for page in ["oci-store.1", "oci-store-import.1", "oci-store-index-convert.1", "oci-store-data-set.1"] {
        assert!(names.iter().any(|name| name == page), "{page}: {names:?}");
    }
    let page = String::from_utf8(world.read("pages/oci-store-check.1")).unwrap();
    assert!(page.starts_with(".ie") || page.contains(".TH oci"), "{page}");
    assert!(page.contains(".SH EXAMPLES\n.nf\noci\\-store check ") && page.contains("read\\-data"), "{page}");
    let whole = String::from_utf8(world.read("pages/oci-store.1")).unwrap();
    assert!(whole.contains(".SH \"EXIT STATUS\"\n") && whole.contains("130  ended by Ctrl"), "{whole}");
    assert!(!page.contains("EXTRA") && !whole.contains("EXTRA"));
    fs::write(world.path("file"), "").unwrap();
    assert!(world.fails(1, "man file/below").contains("file/below"));
}

fn versions_are_told_to_programs(world: &World) {
    let version = world.json("version");
    assert_eq!((&version["output"], &version["storeFormat"]), (&json!(1), &json!(2)));
    assert!(version["indexes"].as_array().unwrap().contains(&json!(world.index)));
    assert_eq!(world.ok("version -q").trim(), version["version"].as_str().unwrap());
}

fn a_ref_that_is_not_there_names_those_that_nearly_are(world: &World) {
    assert!(
        world.fails(4, "rm nginx:1").ends_with("nginx:1: no such ref; the store has no refs: `import` brings images")
    );
    world.ok("import --sref v1 --dref nginx:1.27 hello");
    world.ok("tag nginx:1.27 other");
    let wanted = "no such ref; did you mean nginx:1.27? (`list` shows all refs)";
    for words in ["rm ngnix:1.27", "inspect nginx", "tag nginx:1.72 x", "export nginx:127 out", "check nginx:1.2"] {
        let error = world.fails(4, words);
        assert!(error.ends_with(wanted), "{words}: {error}");
    }
    assert!(world.fails(4, "rm something-else").ends_with("no such ref; `list` shows all refs"));
    // Of several, each.
    let ran = world.run("rm othre ngnix:1.27");
    let said: Vec<bool> = ran.err().lines().map(|line| line.contains("did you mean")).collect();
    assert_eq!((ran.code(), said), (Some(4), vec![true, true]), "{}", ran.err());
    let error = world.fails(1, "--store-path absent maintain");
    assert!(error.contains("`import`") && !world.path("absent").exists(), "{error}");
}

fn what_a_command_waited_for_is_told_to_who_asks(world: &World) {
    world.ok("import --all hello");
    for (words, told) in [("-v tag v1 v2", true), ("tag v1 v2", false)] {
        let lock = fs::File::open(world.path("store/.oci-store/locks/writer")).unwrap();
        lock.lock().unwrap();
        let child = world.spawn(words);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        lock.unlock().unwrap();
        let ran = Ran::ended(words, child);
        assert_eq!(ran.code(), Some(0), "{}", ran.err());
        let line = ran.err().lines().find(|line| line.contains("waited")).map(str::to_owned);
        assert_eq!(line.is_some(), told, "{words}: {}", ran.err());
        assert!(line.is_none_or(|line| line.contains("\"writer\" (Alone), held by process")), "{}", ran.err());
    }
    assert!(world.run("-vv tag v1 v2").err().contains("lock \"store\" (Shared) at once"));
}

/// What is held up lasts.
fn a_long_command_shows_how_far_it_is_and_quiet_hides_it(world: &World) {
    world.ok("data set the lock exists");
    for (words, shown) in [("import --sref v1 hello", true), ("import --quiet --sref latest hello", false)] {
        let lock = fs::File::open(world.path("store/.oci-store/locks/writer")).unwrap();
        lock.lock().unwrap();
        let said = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(1500));
                lock.unlock().unwrap();
            });
            in_a_terminal(world, 80, words)
        });
        let Some(said) = said else { return };
        assert_eq!(said.contains("import 4/4 blobs [="), shown, "{said:?}");
    }
    assert!(in_a_terminal(world, 80, "list").unwrap().starts_with("REF"));
}
