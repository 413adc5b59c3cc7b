//! The same races, run with other tools on an image layout: what they keep.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::Peer;
use crate::attack::{checker, inputs};

/// How many of the refs are there after each run.
pub(super) fn refs(peer: Peer, processes: usize, runs: usize) -> Result<()> {
    let mut kept = Vec::new();
    for _ in 0..runs {
        let folder = tempfile::tempdir()?;
        let layout = folder.path().join("layout");
        inputs::overlapping(&layout, "image", 1, 3, 4096)?;
        let children: Vec<Child> = (0..processes)
            .map(|number| {
                let (from, to) = (at(&layout, "image-0"), format!("new-{number}"));
                let mut command = match peer {
                    Peer::Umoci => words("umoci", &["tag", "--image", &from, &to]),
                    Peer::Skopeo => {
                        words("skopeo", &["copy", &format!("oci:{from}"), &format!("oci:{}", at(&layout, &to))])
                    }
                };
                command.spawn().context("the other tool does not start")
            })
            .collect::<Result<_>>()?;
        let mut good = 0;
        for mut child in children {
            good += usize::from(child.wait()?.success());
        }
        let there = checker::examine(&layout)?.refs.keys().filter(|name| name.starts_with("new-")).count();
        kept.push(there);
        println!("{peer:?}: {processes} processes, {good} say that all is well, {there} refs are there");
    }
    kept.sort_unstable();
    println!("{peer:?}: of {processes} refs it keeps {:?} to {:?}", kept.first(), kept.last());
    Ok(())
}

/// In how many runs an image that `skopeo` has copied lacks blobs, with `umoci gc` beside it.
pub(super) fn gc(layers: u64, runs: usize) -> Result<()> {
    let mut lost = 0;
    for _ in 0..runs {
        let folder = tempfile::tempdir()?;
        let (source, layout) = (folder.path().join("source"), folder.path().join("layout"));
        inputs::overlapping(&source, "image", 1, layers, 8192)?;
        inputs::overlapping(&layout, "other", 1, 1, 4096)?;
        let over = AtomicBool::new(false);
        let copied = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let _ = words("umoci", &["gc", "--layout", &layout.to_string_lossy()]).status();
                }
            });
            let (from, to) = (format!("oci:{}", at(&source, "image-0")), format!("oci:{}", at(&layout, "image-0")));
            let copied = words("skopeo", &["copy", &from, &to]).status();
            over.store(true, Ordering::SeqCst);
            copied
        });
        let facts = checker::examine(&layout)?;
        let is_there = facts.refs.contains_key("image-0");
        let lacks = facts.wrong.len();
        lost += usize::from(!is_there || lacks > 0);
        println!("skopeo copy beside umoci gc: {:?}, ref there: {is_there}, things wrong: {lacks}", copied?.code());
    }
    println!("skopeo copy beside umoci gc: the image is not whole in {lost} of {runs} runs");
    Ok(())
}

fn at(layout: &Path, name: &str) -> String {
    format!("{}:{name}", layout.display())
}

fn words(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
