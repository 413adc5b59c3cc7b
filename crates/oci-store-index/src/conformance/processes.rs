//! Checks over several processes. The test binary runs itself: a check called in a child, which it knows by its
//! environment, plays the child's part and leaves with the child.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{add_one, counter, increment, open, put};
use crate::{Backend, IndexExt, Result};

const VARIABLE: &str = "OCI_STORE_INDEX_CONFORMANCE_DIR";
const PROCESSES: u64 = 4;
const KEY: &[u8] = b"counter";

/// Several processes increment one counter, in one index. `test` is the full name of the calling test, by which
/// the children find it; the test should do nothing else.
pub fn processes(backend: &dyn Backend, dir: &Path, test: &str) {
    const EACH: u64 = 50;
    as_child(|dir| {
        let index = open(backend, dir);
        for _ in 0..EACH {
            increment(&*index, KEY);
        }
    });
    let index = open(backend, dir);
    let children: Vec<_> = (0..PROCESSES).map(|_| child(dir, test)).collect();
    for _ in 0..EACH {
        increment(&*index, KEY);
    }
    children.into_iter().for_each(join);
    assert_eq!(counter(&*index, KEY), (PROCESSES + 1) * EACH);
}

/// Several processes open a fresh folder at the same moment, again and again. `test` as in [`processes`].
pub fn fresh_open(backend: &dyn Backend, dir: &Path, test: &str) {
    const ROUNDS: u64 = 40;
    as_child(|dir| {
        for round in 0..ROUNDS {
            fs::write(dir.join(format!("ready-{round}-{}", process::id())), "").unwrap();
            while !dir.join(format!("go-{round}")).exists() {
                thread::yield_now();
            }
            let index = open(backend, &dir.join(format!("fresh-{round}")));
            increment(&*index, KEY);
        }
    });
    fs::create_dir_all(dir).unwrap();
    let mut children: Vec<_> = (0..PROCESSES).map(|_| child(dir, test)).collect();
    for round in 0..ROUNDS {
        let prefix = format!("ready-{round}-");
        let ready = || {
            let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().starts_with(&prefix)).count() as u64
        };
        while ready() < PROCESSES {
            let failed = children.iter_mut().any(|child| child.try_wait().unwrap().is_some_and(|left| !left.success()));
            assert!(!failed, "a child failed");
            thread::sleep(Duration::from_millis(1));
        }
        fs::write(dir.join(format!("go-{round}")), "").unwrap();
    }
    children.into_iter().for_each(join);
    for round in 0..ROUNDS {
        assert_eq!(counter(&*open(backend, &dir.join(format!("fresh-{round}"))), KEY), PROCESSES);
    }
}

/// Processes are killed in the midst of their updates, while others go on. What a process reported as done is
/// there afterwards, and the index takes updates. `test` as in [`processes`].
pub fn kills(backend: &dyn Backend, dir: &Path, test: &str) {
    const ROUNDS: u64 = 12;
    as_child(|dir| {
        let own = process::id().to_be_bytes();
        let index = open(backend, dir);
        loop {
            // Both rows change, or neither.
            let counted: Result<u64> = index.write(|txn| {
                add_one(txn, KEY)?;
                add_one(txn, &own)
            });
            eprintln!("done {}", counted.unwrap());
        }
    });
    let index = open(backend, dir);
    let mut reported = 0;
    let mut all = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut children: Vec<_> = (0..2).map(|_| child(dir, test)).collect();
        thread::sleep(Duration::from_millis(60 + 7 * round));
        for child in &mut children {
            child.kill().unwrap();
            put(&*index, b"after", b"a kill");
        }
        for mut child in children {
            let id = child.id().to_be_bytes();
            let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
            let done = lines.filter_map(|line| line.strip_prefix("done ")?.parse().ok()).last().unwrap_or(0);
            child.wait().unwrap();
            let kept = counter(&*index, &id);
            assert!(kept >= done, "{done} updates were reported, {kept} are there");
            reported += done;
            all.insert(id, kept);
        }
    }
    assert_eq!(counter(&*index, KEY), all.values().sum::<u64>(), "half an update is there");
    assert!(reported > 0, "no child came as far as an update");
}

/// In a child, plays its part and leaves.
fn as_child(part: impl FnOnce(&Path)) {
    if let Some(dir) = env::var_os(VARIABLE) {
        part(&PathBuf::from(dir));
        process::exit(0);
    }
}

fn child(dir: &Path, test: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(VARIABLE, dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn join(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "a child failed:\n{}", String::from_utf8_lossy(&output.stderr));
}
