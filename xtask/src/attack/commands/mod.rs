//! The commands that are attacked one by one: what lies there before each, and what can be told of it afterwards.

mod aftermath;
mod lab;
mod ready;

use std::path::Path;

use anyhow::Result;

pub(crate) use aftermath::Order;
pub(crate) use lab::{Case, Lab};
pub(crate) use ready::Ready;

/// A command, and the store that it works on. In all lines, a word in braces stands for a path or a digest.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The commands that make of a store with some images, some data and no garbage what it is before.
    setup: &'static [&'static str],
    /// What is done to it by hand, after that.
    by_hand: Option<fn(&Lab, &Case) -> Result<()>>,
    /// There is no store before.
    absent: bool,
    pub(crate) command: &'static str,
    /// Once it is done it can't be done again, and says so.
    once: bool,
    /// Commands that show more of the state than refs and blobs do.
    probes: &'static [&'static str],
    /// What undoes the command in a store where others work; none if there it can't be undone.
    pub(crate) undo: Option<&'static [&'static str]>,
}

const PLAIN: Scenario = Scenario {
    name: "",
    setup: &[],
    by_hand: None,
    absent: false,
    command: "",
    once: false,
    probes: &[],
    undo: Some(&[]),
};

/// What only the index has.
const DATA: &[&str] = &["data get note one", "data list note", "blob-data get {layer} about", "pin"];

/// All of them, in the order in which they are attacked.
pub(crate) static SCENARIOS: &[Scenario] = &[
    Scenario { name: "init", absent: true, command: "gc", undo: None, ..PLAIN },
    Scenario { name: "init-import", absent: true, command: "import {one}", undo: None, ..PLAIN },
    Scenario { name: "import-1", command: "import {one}", undo: Some(&["rm one", "gc"]), ..PLAIN },
    Scenario { name: "import-20", command: "import {twenty}", undo: Some(&["rm twenty", "gc"]), ..PLAIN },
    Scenario { name: "import-archive", command: "import {archive}", undo: Some(&["rm one", "gc"]), ..PLAIN },
    Scenario { name: "import-link", command: "import --link hardlink {one}", undo: Some(&["rm one", "gc"]), ..PLAIN },
    // A process that died has left a half of a layer.
    Scenario {
        name: "import-resume",
        by_hand: Some(lab::leave_half),
        command: "import --resume {one}",
        undo: None,
        ..PLAIN
    },
    // What lies in the destination is the source here: after a kill it has to be as whole as a destination.
    Scenario {
        name: "import-move",
        by_hand: Some(lab::source_in_destination),
        command: "import --all --move {to}",
        undo: None,
        ..PLAIN
    },
    Scenario { name: "reimport", setup: &["import {one}"], command: "import {one}", ..PLAIN },
    // Its blobs are still there, and nothing keeps them.
    Scenario {
        name: "import-removed",
        setup: &["import {one}", "rm one"],
        command: "import {one}",
        undo: Some(&["rm one"]),
        ..PLAIN
    },
    Scenario { name: "tag", command: "tag base-0 tagged", undo: Some(&["rm tagged"]), ..PLAIN },
    Scenario {
        name: "tag-move",
        setup: &["tag base-0 moving"],
        command: "tag base-1 moving",
        undo: Some(&["tag base-0 moving"]),
        ..PLAIN
    },
    Scenario {
        name: "rm",
        setup: &["import {one}"],
        command: "rm one",
        once: true,
        undo: Some(&["import {one}"]),
        ..PLAIN
    },
    Scenario {
        name: "rename",
        setup: &["tag base-0 first"],
        command: "rename first second",
        once: true,
        undo: Some(&["rename second first"]),
        ..PLAIN
    },
    Scenario { name: "pin", command: "pin base-0", probes: DATA, undo: Some(&["unpin base-0"]), ..PLAIN },
    Scenario {
        name: "gc",
        setup: &["import {twenty}", "rm twenty"],
        command: "gc",
        undo: Some(&["import {one}", "rm one"]),
        ..PLAIN
    },
    Scenario {
        name: "gc-full",
        setup: &["import {twenty}", "rm twenty"],
        command: "gc --full",
        undo: Some(&["import {one}", "rm one"]),
        ..PLAIN
    },
    Scenario { name: "export", command: "export --sref base-0 {to}", ..PLAIN },
    Scenario { name: "export-sync", command: "export --sync --sref base-0 {to}", ..PLAIN },
    Scenario {
        name: "export-into",
        setup: &["import {one}", "export --sref one {to}", "export --sref base-1 {to}"],
        command: "export --sref base-0 {to}",
        ..PLAIN
    },
    Scenario { name: "reindex", command: "reindex", probes: DATA, ..PLAIN },
    Scenario {
        name: "convert",
        command: "index convert --to {other}",
        probes: DATA,
        undo: Some(&["index convert --to {same}"]),
        ..PLAIN
    },
    Scenario { name: "migrate", by_hand: Some(lab::make_old), command: "list", probes: DATA, undo: None, ..PLAIN },
    Scenario { name: "data-set", command: "data set note one 2", probes: DATA, ..PLAIN },
    Scenario { name: "blob-data-set", command: "blob-data set {layer} about 2", probes: DATA, ..PLAIN },
    Scenario { name: "check", command: "check --read-data", ..PLAIN },
    // Another tool has added a ref to `index.json`, and dropped ours of its annotations.
    Scenario { name: "take-in", by_hand: Some(lab::write_foreign), command: "tag base-0 tagged", undo: None, ..PLAIN },
];

/// Those whose names are given; without names, all.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = names.iter().find(|name| !SCENARIOS.iter().any(|known| known.name == name.as_str())) {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        anyhow::bail!("no command {unknown}; there are {}", known.join(", "));
    }
    Ok(SCENARIOS.iter().filter(|known| names.is_empty() || names.iter().any(|name| name == known.name)).collect())
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    anyhow::ensure!(status.success(), "cp -a {} {}: {status}", from.display(), to.display());
    Ok(())
}
