//! Modes under several umasks. The umask is the process's, so each case is a process of its own: this test starts
//! the binary that it is in again, with the umask in the environment.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::{env, fs};

use oci_store_cas::{Access, Cas};
use rustix::fs::Mode;

use crate::folder::{Store, seal};

const UMASK: &str = "OCI_STORE_CAS_TEST_UMASK";

#[test]
fn modes_do_not_depend_on_the_umask() {
    if let Ok(umask) = env::var(UMASK) {
        return check(u32::from_str_radix(&umask, 8).unwrap());
    }
    for umask in ["000", "022", "077", "177"] {
        let this = env::current_exe().unwrap();
        let test = ["umask::modes_do_not_depend_on_the_umask", "--exact", "--nocapture"];
        let output = Command::new(this).args(test).env(UMASK, umask).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "umask {umask}: {output:?}");
    }
}

fn check(umask: u32) {
    for (access, folder, staged, blob) in
        [(Access::Private, 0o700, 0o600, 0o400), (Access::Group, 0o2770, 0o660 & !umask, 0o440)]
    {
        // Made before, as no temporary folder could be used under some of these.
        let store = Store::new(access);
        rustix::process::umask(Mode::from_raw_mode(umask));
        let mode = |path: &str| fs::symlink_metadata(store.path(path)).unwrap().mode() & 0o7777;
        let batch = store.cas.batch("b").unwrap();
        let stage = batch.stage().unwrap();
        let name = fs::read_dir(store.path("ingest/b")).unwrap().next().unwrap().unwrap().file_name();
        // While it is staged a mode is never wider than it should be; it may be narrower.
        assert_eq!(mode(&format!("ingest/b/{}", name.to_str().unwrap())), staged & !umask);
        drop(stage);
        let digest = seal(&*batch, b"abc");
        batch.persist().unwrap();
        for path in ["blobs", "blobs/sha256", "ingest", "ingest/b"] {
            assert_eq!(mode(path), folder, "{path} under {umask:o}");
        }
        assert_eq!(mode(&format!("blobs/sha256/{}", digest.encoded())), blob, "under {umask:o}");
        rustix::process::umask(Mode::from_raw_mode(0o022));
    }
}
