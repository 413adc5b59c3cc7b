//! Keeping images: lists, refs, collections, beside umoci and beside the unlinking alone.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::contest::{Contender, Contest, faster, within};
use super::inputs::{INDEXES, Lab, Layout, copied, copy, ours, shell, words};

const UNLINK: &str = "unlink alone";

/// All refs of a store.
pub(super) fn list<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Result<Contest<'l>> {
    let mut contenders = Vec::new();
    for index in INDEXES {
        let store = lab.filled(index, layout)?;
        contenders.push(Contender::new(&ours(index), move |_| vec![lab.command(index, &store, ["list"])]));
    }
    let folder = layout.folder.clone();
    contenders.extend(umoci(lab, move |umoci, _| words([umoci, "ls", "--layout", &folder.display().to_string()])));
    let about = format!("{} refs, {}.", layout.refs.len(), layout.about());
    Ok(Contest { name: name.to_owned(), about, contenders, goals: vec![faster(5.0, "umoci")], many: true })
}

/// One ref more.
pub(super) fn tag<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Result<Contest<'l>> {
    let mut contenders = Vec::new();
    for index in INDEXES {
        let image = layout.image();
        let tag = move |folder: &Path| vec![lab.command(index, &folder.join("store"), ["tag", &image, "another:1"])];
        contenders.push(Contender::new(&ours(index), tag).after(copied(&lab.filled(index, layout)?)));
    }
    let image = layout.image();
    let tag = umoci(lab, move |umoci, folder| {
        let image = format!("{}:{image}", folder.join("store").display());
        words([umoci, "tag", "--image", &image, "another"])
    });
    contenders.extend(tag.map(|tag| tag.after(copied(&layout.folder))));
    let about = format!("One ref beside {}.", layout.refs.len());
    Ok(Contest { name: name.to_owned(), about, contenders, goals: Vec::new(), many: true })
}

/// A collection that takes half of what there is.
pub(super) fn half<'l>(lab: &'l Lab, name: &str, layout: &Layout, half: &Layout) -> Result<Contest<'l>> {
    let mut contenders = Vec::new();
    for index in INDEXES {
        let gc = move |folder: &Path| vec![lab.command(index, &folder.join("store"), ["gc"])];
        contenders.push(Contender::new(&ours(index), gc).after(copied(&lab.half_garbage(index, layout)?)));
    }
    let garbage = garbage(half)?;
    let about = format!("{} images, {}; {} blobs are to go.", layout.refs.len(), layout.about(), garbage.len());
    let unlink = Contender::new(UNLINK, |folder| {
        let blobs = folder.join("store/blobs/sha256");
        vec![shell(&format!("cd {} && xargs rm < {}", blobs.display(), folder.join("garbage").display()))]
    });
    let from = half.folder.clone();
    contenders.push(unlink.after(move |folder| {
        fs::write(folder.join("garbage"), garbage.join("\n"))?;
        copy(&from, &folder.join("store"))
    }));
    contenders.extend(umoci_gc(lab, half));
    let goals = vec![within(1.5, UNLINK), faster(4.0, "umoci")];
    Ok(Contest { name: name.to_owned(), about, contenders, goals, many: true })
}

/// A collection that has nothing to take.
pub(super) fn nothing<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Result<Contest<'l>> {
    let mut contenders = Vec::new();
    for index in INDEXES {
        for (name, words) in [(ours(index), &["gc"][..]), (format!("gc --full {index}"), &["gc", "--full"])] {
            let store = lab.filled(index, layout)?;
            let gc = move |_: &Path| vec![lab.command(index, &store, words.iter().copied())];
            contenders.push(Contender::new(&name, gc));
        }
    }
    contenders.extend(umoci_gc(lab, layout));
    let about = format!("{} images, {}; nothing is to go.", layout.refs.len(), layout.about());
    Ok(Contest { name: name.to_owned(), about, contenders, goals: vec![faster(20.0, "umoci")], many: true })
}

fn umoci_gc<'l>(lab: &'l Lab, layout: &Layout) -> Option<Contender<'l>> {
    let gc = umoci(lab, |umoci, folder| words([umoci, "gc", "--layout", &folder.join("store").display().to_string()]));
    Some(gc?.after(copied(&layout.folder)))
}

fn umoci<'l>(lab: &'l Lab, command: impl Fn(&str, &Path) -> Vec<String> + 'l) -> Option<Contender<'l>> {
    let umoci = lab.umoci.as_ref()?;
    Some(Contender::new(&umoci.name, move |folder| vec![command(&umoci.path, folder)]))
}

/// The names of the blobs that nothing in a layout reaches.
fn garbage(layout: &Layout) -> Result<Vec<String>> {
    let mut kept = HashSet::new();
    let index: Value = serde_json::from_slice(&fs::read(layout.folder.join("index.json"))?)?;
    let mut walk = vec![index];
    while let Some(document) = walk.pop() {
        let lists = ["manifests", "layers"].into_iter().filter_map(|key| document[key].as_array()).flatten();
        for descriptor in lists.chain(document.get("config")) {
            let Some((_, hex)) = descriptor["digest"].as_str().and_then(|digest| digest.split_once(':')) else {
                continue;
            };
            let is_document = descriptor["mediaType"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("image.manifest.v1+json") || kind.ends_with("image.index.v1+json"));
            if kept.insert(hex.to_owned()) && is_document {
                walk.push(serde_json::from_slice(&fs::read(layout.blobs_folder().join(hex))?)?);
            }
        }
    }
    let mut garbage = Vec::new();
    for entry in fs::read_dir(layout.blobs_folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !kept.contains(&name) {
            garbage.push(name);
        }
    }
    Ok(garbage)
}
