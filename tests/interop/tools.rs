//! skopeo and umoci.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::World;

/// The tools, run in a test's folder.
pub(crate) struct Tools<'w>(&'w World);

impl<'w> Tools<'w> {
    /// `None`, and a line that says so, where they are not installed.
    pub(crate) fn find(world: &'w World) -> Option<Self> {
        let is_there = |name: &str| {
            let status = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        if is_there("skopeo") && is_there("umoci") {
            return Some(Self(world));
        }
        let required = std::env::var_os("OCI_STORE_INTEROP").is_some_and(|value| value == "require");
        assert!(!required, "skopeo and umoci are required by OCI_STORE_INTEROP, and not installed");
        println!("skipped: no skopeo/umoci");
        None
    }

    /// Runs a whole line, `skopeo …` or `umoci …`, which must go well.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.0.root()).env("HOME", self.0.root()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {err}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The names in a layout, by umoci, sorted.
    pub(crate) fn names(&self, layout: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.run(&format!("umoci ls --layout {layout}")).lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The digest of an image, by skopeo.
    pub(crate) fn digest(&self, image: &str) -> String {
        let shown: Value = serde_json::from_str(&self.run(&format!("skopeo inspect --no-tags oci:{image}"))).unwrap();
        shown["Digest"].as_str().unwrap().to_owned()
    }

    /// Asserts that the store's folder shows to others what the store shows to us.
    pub(crate) fn assert_agree(&self, after: &str) {
        let refs = self.0.refs();
        let names: Vec<String> = refs.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(self.names("store"), names, "after {after}: umoci ls and list");
        for (name, digest) in refs {
            assert_eq!(
                self.digest(&format!("store:{name}")),
                digest,
                "after {after}: skopeo inspect and list of {name}"
            );
            assert_eq!(self.0.digest(&name), digest, "after {after}: inspect and list of {name}");
        }
    }
}
