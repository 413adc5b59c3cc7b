//! Other processes: this binary again, told by its environment what to do.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use oci_store_index::memory::MemoryBackend;
use oci_store_oci::{OpenOptions, Store};

use crate::common::{Bench, backends};

const JOB: &str = "OCI_STORE_TEST_JOB";

/// A process of its own, that dies with this value.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Begins the job `name`, with a number, on the store of `bench`.
    pub(crate) fn start(bench: &Bench, name: &str, number: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child::is_not_a_test_but_a_process", "--exact", "--nocapture"])
            .env(JOB, name)
            .env("OCI_STORE_TEST_ROOT", bench.root())
            .env("OCI_STORE_TEST_BACKEND", bench.backend)
            .env("OCI_STORE_TEST_NUMBER", number.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// What it says next, behind a mark; nothing, if it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The harness writes before, and without an end of line; a killed child's last line may be cut.
            if let Some((_, said)) = line.split_once("SAID ").filter(|(_, said)| said.ends_with('\n')) {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    /// kill -9; returns what it had said before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let mut said = Vec::new();
        while let Some(line) = self.hear() {
            said.push(line);
        }
        self.child.wait().unwrap();
        said
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn join(mut self) {
        while self.hear().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn say(what: &str) {
    println!("SAID {what}");
}

/// What a child sees of the bench.
pub(crate) struct Here {
    root: PathBuf,
    options: OpenOptions,
    pub(crate) number: u64,
}

impl Here {
    pub(crate) fn open(&self) -> Store {
        self.options.clone().open(&self.root).unwrap()
    }
}

#[test]
fn is_not_a_test_but_a_process() {
    let Ok(job) = std::env::var(JOB) else { return };
    let backend = std::env::var("OCI_STORE_TEST_BACKEND").unwrap();
    let number = std::env::var("OCI_STORE_TEST_NUMBER").unwrap().parse().unwrap();
    let root = PathBuf::from(std::env::var_os("OCI_STORE_TEST_ROOT").unwrap());
    let options = OpenOptions::new(backends(&backend, &MemoryBackend::default()));
    let here = Here { root, options, number };
    match job.as_str() {
        "work" => crate::concurrency::child_work(&here),
        "add" => crate::concurrency::child_add(&here),
        "import" => crate::concurrency::child_import(&here),
        other => panic!("no job {other}"),
    }
}
