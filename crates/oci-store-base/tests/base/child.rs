//! Other processes: this binary again, told by its environment what to do.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use oci_store_base::{OpenOptions, Store};
use oci_store_index::memory::MemoryBackend;

use crate::common::{Bench, backends};

const JOB: &str = "OCI_STORE_TEST_JOB";

/// A process of its own, that dies with this value.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Begins the job `name` on the store of `bench`.
    pub(crate) fn start(bench: &Bench, name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child::is_not_a_test_but_a_process", "--exact", "--nocapture"])
            .env(JOB, name)
            .env("OCI_STORE_TEST_ROOT", bench.root())
            .env("OCI_STORE_TEST_BACKEND", bench.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Waits until it has said this.
    pub(crate) fn expect(&mut self, said: &str) {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The harness writes before, and without an end of line.
            if line.trim().ends_with(said) {
                return;
            }
            line.clear();
        }
        panic!("a child ended without saying {said:?}");
    }

    pub(crate) fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn join(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child sees of the bench.
pub(crate) struct Here {
    pub(crate) root: PathBuf,
    pub(crate) options: OpenOptions,
}

impl Here {
    pub(crate) fn open(self) -> Store {
        self.options.open(self.root).unwrap()
    }
}

pub(crate) fn say(what: &str) {
    println!("{what}");
}

pub(crate) fn wait() {
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

#[test]
fn is_not_a_test_but_a_process() {
    let Ok(job) = std::env::var(JOB) else { return };
    let backend = std::env::var("OCI_STORE_TEST_BACKEND").unwrap();
    let root = PathBuf::from(std::env::var_os("OCI_STORE_TEST_ROOT").unwrap());
    let options = OpenOptions::new("test", backends(&backend, &MemoryBackend::default()));
    let here = Here { root, options };
    match job.as_str() {
        "hold" => crate::leases::child_hold(here),
        "stage" => crate::leases::child_stage(here),
        "expose" => crate::leases::child_expose(here),
        "create" => crate::open::child_create(here),
        "work forever" => crate::concurrency::child_work_forever(here),
        "work" => crate::concurrency::child_work(here),
        "lock" => crate::locks::child_lock(here),
        other => panic!("no job {other}"),
    }
}
