//! Where the store is, and what is no store.

use std::fs;

use crate::common::tree::tree;
use crate::common::{Ran, World, over_each_index};

over_each_index!(
    the_environment_names_the_store_and_the_option_wins,
    without_either_it_lies_in_the_xdg_data_folder,
    what_brings_something_in_makes_an_absent_store,
    who_asks_makes_no_store,
    a_mistake_makes_no_store,
    a_store_for_a_group_is_writable_by_it_and_a_private_one_is_not,
);

fn the_environment_names_the_store_and_the_option_wins(world: &World) {
    let index = world.index;
    world.ok(&format!("--index {index} --store-path by-option gc"));
    Ran::of(world.oci_store().args(["gc", "--index", index]).env("OCI_STORE_PATH", "by-env")).ok();
    assert!(world.path("by-option/index.json").exists() && world.path("by-env/index.json").exists());
    // After the command, too.
    world.ok(&format!("import --sref v1 hello --store-path by-option --index {index}"));
    assert!(world.ok("--store-path by-option list").contains("v1"));
    assert_eq!(world.refs(), []);
}

fn without_either_it_lies_in_the_xdg_data_folder(world: &World) {
    let gc = |key: &str, value: &str| {
        let mut command = world.oci_store();
        command.env_remove("OCI_STORE_PATH").env_remove("HOME").env(key, value).args(["--index", world.index, "gc"]);
        Ran::of(&mut command)
    };
    gc("HOME", world.path("home").to_str().unwrap()).ok();
    assert!(world.path("home/.local/share/oci-store/index.json").exists());
    gc("XDG_DATA_HOME", world.path("xdg").to_str().unwrap()).ok();
    assert!(world.path("xdg/oci-store/index.json").exists());
    for unset in ["", "xdg", "./xdg"] {
        let error = gc("XDG_DATA_HOME", unset).fails(2);
        assert!(error.contains("--store-path"), "{unset}: {error}");
    }
    // What is set to nothing is not set.
    let mut command = world.oci_store();
    command.env("OCI_STORE_PATH", "").env("XDG_DATA_HOME", "xdg").args(["--index", world.index, "gc"]);
    Ran::of(&mut command).ok();
    assert!(world.path(".local/share/oci-store/index.json").exists());
    world.fails(2, "--store-path= list");
}

fn what_brings_something_in_makes_an_absent_store(world: &World) {
    for (n, words) in ["import --sref v1 hello", "data set a b c", "gc"].iter().enumerate() {
        world.ok(&format!("--store-path deep/er/s{n} --index {} {words}", world.index));
        assert_eq!(
            world.names(&format!("deep/er/s{n}")),
            [".oci-store", "blobs", "index.json", "oci-layout"],
            "{words}"
        );
    }
    // As good as absent.
    fs::create_dir(world.path("empty")).unwrap();
    world.ok(&format!("--store-path empty --index {} gc", world.index));
}

fn who_asks_makes_no_store(world: &World) {
    fs::create_dir(world.path("empty")).unwrap();
    let before = tree(world.root());
    for store in ["deep/er/absent", "empty"] {
        for words in [
            "inspect v1",
            "cat v1",
            "resolve 0c45",
            "blobs",
            "tree v1",
            "referrers v1",
            "diff a b",
            "find",
            "why v1",
            "du",
            "stats",
            "lease ls",
            "log",
            "undo",
            "pin",
            "pin v1",
            "unpin v1",
            "tag a b",
            "rename a b",
            "rm v1",
            "prune --keep-last 1",
            "check",
            "check --repair --from hello",
            "maintain",
            "gc --dry-run",
            "inventory",
            "export --all out",
            "data list",
            "data get a b",
            "data rm a b",
            "blob-data list 0c45",
            "reindex",
            "index show",
            "index convert --to lmdb",
        ] {
            let error = world.fails(1, &format!("--store-path {store} {words}"));
            assert!(
                error.contains(store) && error.contains("no store") && error.contains("`import`"),
                "{words}: {error}"
            );
        }
        // As the original program, which had a store by then.
        let list = world.run(&format!("--store-path {store} list"));
        let (printed, said) = (list.ok_with_warnings(), list.err());
        assert!(printed.starts_with("REF") && printed.lines().count() == 1, "{printed}");
        assert!(said.lines().count() == 1 && said.contains(store) && said.contains("`import`"), "{said}");
        assert_eq!(world.run(&format!("--store-path {store} list -q")).ok_with_warnings(), "");
        assert_eq!(world.run(&format!("--store-path {store} --format json list")).ok_with_warnings(), "[]\n");
    }
    assert_eq!(tree(world.root()), before);
}

fn a_mistake_makes_no_store(world: &World) {
    world.fails(1, "--store-path s import no-such-folder");
    world.fails(2, "--store-path s import");
    world.fails(2, "--store-path s --format xml list");
    world.fails(2, "--store-path s frobnicate");
    world.fails(2, "--store-path s --no-such-option list");
    world.ok("--store-path s --help");
    world.ok("--store-path s list --help");
    assert!(world.ok("--version").starts_with("oci-store "));
    assert!(!world.path("s").exists());
    assert_eq!(tree(&world.path("s")).len(), 0);
}

fn a_store_for_a_group_is_writable_by_it_and_a_private_one_is_not(world: &World) {
    use std::os::unix::fs::PermissionsExt;
    world.ok(&format!("--shared --store-path group --index {} import --sref v1 hello", world.index));
    world.ok("import --sref v1 hello");
    let mode = |path: &str| fs::metadata(world.path(path)).unwrap().permissions().mode() & 0o7777;
    let blob = format!("blobs/{}", world.digest("v1").replace(':', "/"));
    for (path, group, private) in [
        ("", 0o2770, 0o700),
        ("blobs/sha256", 0o2770, 0o700),
        (".oci-store/leases", 0o2770, 0o700),
        (".oci-store/config.json", 0o660, 0o600),
        (".oci-store/locks/writer", 0o660, 0o600),
        (blob.as_str(), 0o440, 0o400),
        ("index.json", 0o664, 0o644),
    ] {
        assert_eq!(mode(&format!("group/{path}")), group, "{path}: {:o}", mode(&format!("group/{path}")));
        assert_eq!(mode(&format!("store/{path}")), private, "{path}: {:o}", mode(&format!("store/{path}")));
    }
}
