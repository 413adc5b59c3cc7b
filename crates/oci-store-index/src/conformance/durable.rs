use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Check, get, keys, open, put};
use crate::{Backend, Error, IndexExt};

pub(super) const CHECKS: &[Check] = &[
    ("rows-outlive-the-index", rows_outlive_the_index),
    ("rolled-back-rows-do-not-come-back", rolled_back_rows_do_not_come_back),
    ("a-folder-made-anew", a_folder_made_anew),
    ("a-folder-renamed", a_folder_renamed),
    ("modes-follow-the-folder", modes_follow_the_folder),
    ("damaged-files", damaged_files),
    ("files-cut-short", files_cut_short),
    ("rows-of-a-moment", rows_of_a_moment),
];

fn rows_outlive_the_index(backend: &dyn Backend, dir: &Path) {
    let dir = dir.join("folders").join("are").join("made");
    for round in 0..5_u8 {
        let index = open(backend, &dir);
        assert_eq!(keys(&*index, b"", b"").len(), round.into());
        index.write(|txn| txn.put(&[round], &vec![round; 10_000])).unwrap();
    }
    assert_eq!(get(&*open(backend, &dir), &[3]), Some(vec![3; 10_000]));
}

fn rolled_back_rows_do_not_come_back(backend: &dyn Backend, dir: &Path) {
    let index = open(backend, dir);
    put(&*index, b"kept", b"value");
    let failed = index.update(&mut |txn| {
        for number in 0..5000_u32 {
            txn.put(&number.to_be_bytes(), &[0; 1000])?;
        }
        Err(Error::Aborted)
    });
    assert!(failed.is_err());
    drop(index);
    assert_eq!(keys(&*open(backend, dir), b"", b""), [b"kept"]);
}

/// What was opened in a folder that is gone must not be given out for a new folder of its name.
fn a_folder_made_anew(backend: &dyn Backend, dir: &Path) {
    for held in [false, true] {
        let old = open(backend, dir);
        put(&*old, b"old", b"value");
        let old = held.then_some(old);
        fs::remove_dir_all(dir).unwrap();
        let new = open(backend, dir);
        assert!(keys(&*new, b"", b"").is_empty());
        put(&*new, b"new", b"value");
        drop(old);
        assert_eq!(keys(&*open(backend, dir), b"", b""), [b"new"]);
        drop(new);
        assert_eq!(keys(&*open(backend, dir), b"", b""), [b"new"]);
        fs::remove_dir_all(dir).unwrap();
    }
}

fn a_folder_renamed(backend: &dyn Backend, dir: &Path) {
    let (before, after) = (dir.join("before"), dir.join("after"));
    put(&*open(backend, &before), b"key", b"value");
    fs::rename(&before, &after).unwrap();
    assert_eq!(get(&*open(backend, &after), b"key").as_deref(), Some(&b"value"[..]));
    assert_eq!(get(&*open(backend, &before), b"key"), None);
}

fn modes_follow_the_folder(backend: &dyn Backend, dir: &Path) {
    for (folder, file) in [(0o700, 0o600), (0o750, 0o600), (0o770, 0o660), (0o2770, 0o660)] {
        let dir = dir.join(format!("{folder:o}"));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(folder)).unwrap();
        let index = open(backend, &dir);
        put(&*index, b"key", b"value");
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, file, "{:o} of {}", mode, entry.path().display());
        }
    }
}

/// Whatever the files hold: opening and reading gives rows or an error that names the file or its folder.
fn damaged_files(backend: &dyn Backend, dir: &Path) {
    let sound = dir.join("sound");
    let index = open(backend, &sound);
    index
        .write(|txn| (0..2000_u32).try_for_each(|number| txn.put(&number.to_be_bytes(), &[7; 100]).map(drop)))
        .unwrap();
    drop(index);
    for file in fs::read_dir(&sound).unwrap() {
        let name = file.unwrap().file_name();
        let content = fs::read(sound.join(&name)).unwrap();
        let half = content[..content.len() / 2].to_vec();
        let mut zeroed = content.clone();
        let middle = zeroed.len().min(100_000);
        zeroed[..middle].fill(0);
        let damages = [content[..content.len().min(100)].to_vec(), vec![b'x'; 40], vec![b'x'; 50_000], half, zeroed];
        for (number, damage) in damages.into_iter().enumerate() {
            let damaged = dir.join(format!("{}-{number}", name.display()));
            fs::create_dir_all(&damaged).unwrap();
            for other in fs::read_dir(&sound).unwrap() {
                let other = other.unwrap();
                fs::copy(other.path(), damaged.join(other.file_name())).unwrap();
            }
            fs::write(damaged.join(&name), damage).unwrap();
            // Some damage is mended (a table of locks is made anew), so that success is no failure.
            let read = backend.open(&damaged).and_then(|index| index.read(|txn| super::scanned(txn, b"", b"", 9)));
            match read {
                Ok(rows) => assert_eq!(rows.len(), 9, "{}", damaged.display()),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(damaged.file_name().unwrap().to_str().unwrap()), "{text}");
                }
            }
        }
    }
}

/// Files that lack their end, as a copy that was broken off has them: an error or all rows, and never the end of the
/// process by a page that is not there.
fn files_cut_short(backend: &dyn Backend, dir: &Path) {
    let sound = dir.join("sound");
    let index = open(backend, &sound);
    // What is removed makes room in the middle, so that what counts lies all over the file.
    for round in 0..24_u8 {
        put(&*index, &[round], &vec![round; usize::from(round) * 150]);
        index.write(|txn| (round % 3 == 2).then(|| txn.delete(&[round / 2])).transpose()).unwrap();
    }
    put(&*index, b"large", &[7; 20_000]);
    put(&*index, b"small", b"value");
    let rows = index.read(|txn| super::scanned(txn, b"", b"", 99)).unwrap();
    drop(index);
    for file in fs::read_dir(&sound).unwrap() {
        let file = file.unwrap();
        for len in (0..file.metadata().unwrap().len()).step_by(4096) {
            let cut = dir.join(format!("{}-{len}", file.file_name().display()));
            fs::create_dir_all(&cut).unwrap();
            for other in fs::read_dir(&sound).unwrap() {
                let other = other.unwrap();
                fs::copy(other.path(), cut.join(other.file_name())).unwrap();
            }
            fs::File::options().write(true).open(cut.join(file.file_name())).unwrap().set_len(len).unwrap();
            let read = backend.open(&cut).and_then(|index| index.read(|txn| super::scanned(txn, b"", b"", 99)));
            match read {
                // One that is empty is a new one.
                Ok(found) => assert!(found == rows || len == 0 && found.is_empty(), "{}", cut.display()),
                Err(error) => assert!(error.to_string().contains(&cut.display().to_string()), "{error}"),
            }
            fs::remove_dir_all(&cut).unwrap();
        }
    }
}

/// Room that was taken and given back within one update, at the end of the file, is no damage.
fn rows_of_a_moment(backend: &dyn Backend, dir: &Path) {
    for size in [10_u32, 3_000, 5_000, 50_000, 500_000] {
        let index = open(backend, dir);
        put(&*index, &size.to_be_bytes(), b"kept");
        let moment = index.write(|txn| {
            txn.put(b"moment", &vec![1; size as usize])?;
            for key in 0..200_u8 {
                txn.put(&[key, 1], &vec![1; size as usize / 100])?;
            }
            txn.delete(b"moment")?;
            (0..200_u8).try_for_each(|key| txn.delete(&[key, 1]).map(drop))
        });
        moment.unwrap();
        drop(index);
        assert_eq!(get(&*open(backend, dir), &size.to_be_bytes()).as_deref(), Some(&b"kept"[..]), "{size}");
    }
}
