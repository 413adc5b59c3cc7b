//! A folder of one test, and the binary run in it.

pub(crate) mod layout;
pub(crate) mod other;
pub(crate) mod tree;

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Makes a test of each function, once over each index of this build: `lmdb::NAME`, `sqlite::NAME`.
macro_rules! over_each_index {
    ($($name:ident),+ $(,)?) => {
        #[cfg(feature = "lmdb")]
        mod lmdb {
            $(#[test] fn $name() { super::$name(&crate::common::World::new("lmdb")); })+
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[test] fn $name() { super::$name(&crate::common::World::new("sqlite")); })+
        }
    };
}
pub(crate) use over_each_index;

/// A folder with an empty store, `store`, and the image in the repository, `hello` (refs `v1` and `latest`).
/// Commands are run in it as they would be typed.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) index: &'static str,
}

impl World {
    pub(crate) fn new(index: &'static str) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), index };
        let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/images/hello");
        std::os::unix::fs::symlink(hello, world.path("hello")).unwrap();
        world.ok(&format!("--index {index} gc"));
        world
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => panic!("{path}: {error}"),
        };
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `oci-store`, in this folder, on the store in `store`.
    pub(crate) fn oci_store(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oci-store"));
        command.current_dir(self.root()).stdin(Stdio::null());
        command.env("OCI_STORE_PATH", "store").env("HOME", self.root());
        command.env_remove("XDG_DATA_HOME").env_remove("RUST_LOG");
        command
    }

    /// Runs `oci-store WORDS`, the words split at spaces.
    pub(crate) fn run(&self, words: &str) -> Ran {
        self.run_args(words.split_whitespace())
    }

    pub(crate) fn run_args<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::of(self.oci_store().args(args))
    }

    /// Runs `oci-store WORDS < input`.
    pub(crate) fn run_with(&self, words: &str, input: &[u8]) -> Ran {
        let mut command = self.oci_store();
        command.args(words.split_whitespace());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran { what: words.to_owned(), output: child.wait_with_output().unwrap() }
    }

    /// Runs `oci-store WORDS`, which must go well and have nothing to say; returns what it printed.
    pub(crate) fn ok(&self, words: &str) -> String {
        self.run(words).ok()
    }

    /// Runs `oci-store WORDS`, which must end with `code` and one line of error; returns that.
    pub(crate) fn fails(&self, code: i32, words: &str) -> String {
        self.run(words).fails(code)
    }

    /// Runs `oci-store --format json WORDS` and reads what it printed.
    pub(crate) fn json(&self, words: &str) -> Value {
        let text = self.ok(&format!("--format json {words}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"))
    }

    /// Runs a shell's command in this folder; says whether it went well.
    pub(crate) fn shell(&self, line: &str) -> bool {
        let mut shell = Command::new("sh");
        let quiet = shell.args(["-c", line]).current_dir(self.root()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn spawn(&self, words: &str) -> Child {
        let mut command = self.oci_store();
        command.args(words.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The digest that a ref names.
    pub(crate) fn digest(&self, name: &str) -> String {
        self.json(&format!("inspect {name}"))["digest"].as_str().unwrap().to_owned()
    }

    /// Refs and their digests, by `list`.
    pub(crate) fn refs(&self) -> Vec<(String, String)> {
        let text = self.ok("list");
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|head| head.starts_with("REF")), "{text}");
        lines
            .map(|line| line.split_whitespace().map(str::to_owned))
            .map(|mut l| (l.next().unwrap(), l.next().unwrap()))
            .collect()
    }

    /// Refs and their digests, by `index.json`, sorted by name.
    pub(crate) fn refs_in_index_json(&self) -> Vec<(String, String)> {
        let mut refs: Vec<_> = layout::entries(&self.path("store"))
            .into_iter()
            .filter_map(|entry| {
                let name = entry["annotations"][layout::REF_NAME].as_str()?.to_owned();
                Some((name, entry["digest"].as_str().unwrap().to_owned()))
            })
            .collect();
        refs.sort();
        refs
    }

    /// Names of all blob files of the store: `sha256:HEX`, sorted.
    pub(crate) fn blob_files(&self) -> Vec<String> {
        tree::blobs_of(&self.path("store"))
    }

    /// Asserts that nothing of a running or dead import is left.
    pub(crate) fn assert_no_leftovers(&self) {
        assert_eq!(self.names("store/.oci-store/ingest"), [""; 0], "ingest/");
        assert_eq!(self.names("store/.oci-store/leases"), [""; 0], "leases/");
    }
}

/// What a command has done.
#[derive(Debug)]
pub(crate) struct Ran {
    what: String,
    output: Output,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let what = command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Self { what, output: command.output().unwrap() }
    }

    pub(crate) fn ended(what: &str, child: Child) -> Self {
        Self { what: what.to_owned(), output: child.wait_with_output().unwrap() }
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.output.stdout
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub(crate) fn ok(&self) -> String {
        assert_eq!(self.code(), Some(0), "{}: {}", self.what, self.err());
        assert_eq!(self.err(), "", "{}: stderr", self.what);
        self.out()
    }

    /// It went well, whatever it had to say.
    pub(crate) fn ok_with_warnings(&self) -> String {
        assert_eq!(self.code(), Some(0), "{}: {}", self.what, self.err());
        assert!(!self.err().contains("error: "), "{}: {}", self.what, self.err());
        self.out()
    }

    /// One line on stderr, which begins with `error: `, and nothing on stdout.
    pub(crate) fn fails(&self, code: i32) -> String {
        let err = self.err();
        assert_eq!(self.code(), Some(code), "{}: {err}{}", self.what, self.out());
        assert_eq!(self.out(), "", "{}: stdout", self.what);
        assert!(err.starts_with("error: ") && err.lines().count() == 1, "{}: not one line of error:\n{err}", self.what);
        err.trim_end().to_owned()
    }
}

/// Waits until something is so; fails after half a minute.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: not within half a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs commands at another time.
pub(crate) struct Clock {
    preload: String,
}

impl Clock {
    /// `None`, and said so, where there is no `faketime`.
    pub(crate) fn new() -> Option<Self> {
        // That program runs its command in a child; this is what it would preload.
        let asked = Command::new("faketime").args(["-f", "-1d", "env"]).output();
        let asked = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let preload = asked.lines().find_map(|line| line.strip_prefix("LD_PRELOAD="));
        if preload.is_none() {
            println!("skipped: there is no faketime");
        }
        Some(Self { preload: preload?.to_owned() })
    }

    /// `oci-store WORDS`, as if it were so much later or, with a `-`, earlier.
    pub(crate) fn off_by(&self, by: &str, world: &World, words: &str) -> Command {
        let mut command = world.oci_store();
        command.env("LD_PRELOAD", &self.preload).env("FAKETIME", by).args(words.split(' '));
        command
    }
}
