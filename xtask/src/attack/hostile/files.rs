//! Something else in place of a file: FIFOs, sockets, devices, folders, links.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Result;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::case::Case;
use super::kit::Kit;

/// What takes the place: it gets the place, and where what was there lies now.
type Put = fn(&Path, &Path) -> Result<()>;

const PUTS: &[(&str, Put)] = &[
    ("fifo", |place, _| Ok(nix::unistd::mkfifo(place, Mode::from_bits_truncate(0o600))?)),
    ("socket", |place, _| {
        // Its path may be longer than a socket's may be: made near the root, and moved.
        let near: std::path::PathBuf = place.components().take(3).collect();
        let near = tempfile::Builder::new().prefix("s").tempdir_in(near)?;
        drop(UnixListener::bind(near.path().join("s"))?);
        fs::rename(near.path().join("s"), place)?;
        Ok(())
    }),
    ("device", |place, _| Ok(mknod(place, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, 5))?)),
    ("folder", |place, _| Ok(fs::create_dir(place)?)),
    ("dangling-link", |place, _| Ok(symlink("nowhere", place)?)),
    ("looping-link", |place, _| Ok(symlink(place.file_name().unwrap_or_default(), place)?)),
    ("link-outside", |place, was| Ok(symlink(was, place)?)),
];

const FILES: &[&str] = &["index.json", "oci-layout", "manifest", "layer"];

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, put) in PUTS {
        for file in FILES {
            cases.push(only(Case::bad(format!("{name}-for-{file}"), move |kit| {
                let place = match *file {
                    "manifest" => kit.path_of(&kit.image()?),
                    "layer" => kit.path_of(&kit.layer(1)?),
                    file => kit.folder.join(file),
                };
                exchange(kit, &place, *put)
            })));
        }
        // A folder of blobs may be a link to where they are: what is read there is verified.
        for folder in ["blobs", "blobs/sha256"].into_iter().filter(|_| *name != "link-outside") {
            cases.push(only(Case::bad(format!("{name}-for-{folder}"), move |kit| {
                exchange(kit, &kit.folder.join(folder), *put)
            })));
        }
        // A FIFO is a good place for a source, and waited for until somebody writes into it.
        if *name != "link-outside" && *name != "fifo" {
            cases.push(
                Case::bad(format!("{name}-for-the-layout"), move |kit| exchange(kit, &kit.folder, *put)).folder_only(),
            );
        }
    }
    for path in ["no\nwhere", "no\u{1b}[2Jwhere", "no\u{202e}where", ""] {
        let case = Case::bad(format!("path-{}", path.escape_unicode().take(24).collect::<String>()), |kit| {
            Ok(fs::remove_dir_all(&kit.folder)?)
        });
        cases.push(case.words(&["check", "--repair", "--from", path, "--from"]).folder_only());
    }
    cases
}

/// As folder and archive, but for a store's own folder other rules hold.
fn only(case: Case) -> Case {
    case.not_in_place()
}

fn exchange(kit: &Kit, place: &Path, put: Put) -> Result<()> {
    let was = kit.folder.with_extension("outside");
    fs::rename(place, &was)?;
    put(place, &was)
}
