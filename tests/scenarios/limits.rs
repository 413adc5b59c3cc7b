//! Little of everything: room for files, descriptors, address space, threads.

use std::process::{Command, Stdio};

use crate::common::layout::Builder;
use crate::common::other::Other;
use crate::common::{Ran, World, over_each_index};

over_each_index!(
    beyond_the_limit_on_file_sizes_is_an_error_and_no_end_by_a_signal,
    few_descriptors_are_an_error_or_enough,
    little_address_space_is_an_error_or_enough,
    without_threads_there_is_no_progress_and_no_harm,
);

/// `oci-store WORDS`, after `ulimit LIMIT`.
fn limited(world: &World, limit: &str, words: &str) -> Ran {
    let line = format!("ulimit -c 0 && ulimit {limit} && exec \"$0\" \"$@\"");
    let plain = world.oci_store();
    let mut shell = Command::new("sh");
    shell.current_dir(world.root()).args(["-c", &line]).arg(plain.get_program()).args(words.split_whitespace());
    for (key, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    Ran::of(&mut shell)
}

/// Runs all kinds of commands under a limit. Each either does what it says or ends with one line of error, and what it
/// has not acknowledged is not there.
fn work_under(world: &World, limit: &str) -> Vec<(String, bool)> {
    let name: String = limit.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let new = format!("--store-path new{name} --index {} import --sref v1 hello", world.index);
    let commands = [
        "list".to_owned(),
        format!("import --sref v1 --dref imported{name} hello"),
        format!("tag v1 tagged{name}"),
        format!("export v1 out{name}"),
        "check --read-data".to_owned(),
        "gc --full".to_owned(),
        new.clone(),
    ];
    let before: Vec<_> = world.refs().into_iter().map(|(name, _)| name).collect();
    let mut outcomes = Vec::new();
    for words in commands {
        let ran = limited(world, limit, &words);
        match ran.code() {
            Some(0) => drop(ran.ok_with_warnings()),
            _ => drop(ran.fails(1)),
        }
        outcomes.push((words, ran.code() == Some(0)));
    }
    world.ok("check --read-data");
    let mut expected = before;
    expected.extend(
        [(1, "imported"), (2, "tagged")].iter().filter(|(n, _)| outcomes[*n].1).map(|(_, n)| format!("{n}{name}")),
    );
    expected.sort();
    assert_eq!(world.refs().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), expected, "{limit}");
    world.ok("gc");
    world.assert_no_leftovers();
    // Where there is room again, what has failed works.
    world.ok(&new);
    world.ok(&format!("export v1 out{name}"));
    outcomes
}

fn assert_all_worked(outcomes: &[(String, bool)], limit: &str) {
    let failed: Vec<_> = outcomes.iter().filter(|(_, worked)| !worked).collect();
    assert!(failed.is_empty(), "{limit}: {failed:?}");
}

fn beyond_the_limit_on_file_sizes_is_an_error_and_no_end_by_a_signal(world: &World) {
    world.ok("import --all hello");
    // In blocks of half a KiB.
    for limit in ["-f 0", "-f 16", "-f 256"] {
        work_under(world, limit);
    }
    assert!(limited(world, "-f 0", "tag v1 other").fails(1).contains("index"));
    assert_all_worked(&work_under(world, "-f 2048"), "-f 2048");
}

fn few_descriptors_are_an_error_or_enough(world: &World) {
    world.ok("import --all hello");
    for limit in ["-n 5", "-n 8", "-n 10"] {
        work_under(world, limit);
    }
    assert_all_worked(&work_under(world, "-n 20"), "-n 20");
    // Large enough that two imports share the work of copying them.
    let mut many = Builder::new(world.path("many"));
    let layers: Vec<Vec<u8>> = (0..24).map(|n| vec![n; 1 << 20]).collect();
    let image = many.image(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    many.add(image, Some("many"));
    limited(world, "-n 20", "import --all many").ok();
    world.ok("check --read-data");
}

fn little_address_space_is_an_error_or_enough(world: &World) {
    world.ok("import --all hello");
    // In KiB: from 1 GiB down to what the program itself hardly fits in.
    for limit in ["-v 1048576", "-v 262144", "-v 131072"] {
        assert_all_worked(&work_under(world, limit), limit);
    }
    // How much the program takes for itself depends on how it was built.
    for limit in ["-v 65536", "-v 49152"] {
        if limited(world, limit, "--version").code() == Some(0) {
            work_under(world, limit);
        }
    }
}

fn without_threads_there_is_no_progress_and_no_harm(world: &World) {
    let Some(other) = Other::find(world, 54_321, 54_321) else { return };
    other.run(&format!("--store-path theirs/store --index {} gc", world.index)).ok();
    let alone = |words: &str| other.shell("ulimit -p 1 || ulimit -u 1", &format!("--store-path theirs/store {words}"));
    for words in ["import --all copy", "tag v1 v2", "reindex", "check --read-data", "gc --full", "export v1 theirs/out"]
    {
        Ran::of(&mut alone(words)).ok();
    }
    // It waits for a lock without the thread that would tell of it.
    let lock = std::fs::File::open(world.path("theirs/store/.oci-store/locks/writer")).unwrap();
    lock.lock().unwrap();
    let waiting = alone("tag v1 v3").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(lock);
    Ran::ended("tag", waiting).ok();
    assert!(other.run("--store-path theirs/store list").ok().contains("v3"));
}
