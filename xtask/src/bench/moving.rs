//! Moving images: import, import again, export, beside what the hardware needs for it and what other tools take.

use std::path::Path;

use anyhow::Result;

use super::contest::{Contender, Contest, faster, within};
use super::inputs::{INDEXES, Lab, Layout, ours, shell, words};

const CP_SYNC: &str = "cp and sync";
const CP: &str = "cp";

/// A layout's one image into a store that is not there yet.
pub(super) fn import<'l>(lab: &'l Lab, name: &str, layout: &Layout, factor: f64) -> Contest<'l> {
    let mut contenders = imports(lab, layout);
    if let Some(openssl) = &lab.openssl {
        // The largest first, as whoever wants to be ready early does it.
        let blobs = layout.blobs_folder();
        let hash = format!("ls -S | xargs -P $(nproc) -n 1 {} dgst -sha256", openssl.path);
        let script = format!("cd {} && {hash}", blobs.display());
        contenders.push(Contender::new("openssl sha256 on all cores", move |_| vec![shell(&script)]));
    }
    contenders.extend(skopeo(lab, layout, |folder| folder.join("layout").display().to_string()));
    let goals = vec![within(1.2, CP_SYNC), faster(factor, "skopeo")];
    Contest {
        name: name.to_owned(),
        about: format!("{}, into a store that is made.", layout.about()),
        contenders,
        goals,
        many: false,
    }
}

/// One image of so many small blobs that the flushing of each would be what takes the time.
pub(super) fn small<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Contest<'l> {
    const EACH: &str = "a flush for each";
    let mut contenders = imports(lab, layout);
    let source = layout.blobs_folder().display().to_string();
    let this = std::env::current_exe().unwrap_or_default().display().to_string();
    contenders.push(Contender::new(EACH, move |folder| {
        vec![words([&this, "bench-floor", &source, &folder.join("copy").display().to_string()])]
    }));
    let about = format!("{}, durable.", layout.about());
    Contest { name: name.to_owned(), about, contenders, goals: vec![faster(5.0, EACH)], many: true }
}

fn imports<'l>(lab: &'l Lab, layout: &Layout) -> Vec<Contender<'l>> {
    let source = layout.folder.display().to_string();
    let import = |index| {
        let source = source.clone();
        Contender::new(&ours(index), move |folder: &Path| {
            vec![lab.command(index, &folder.join("store"), ["import", &source])]
        })
    };
    let mut contenders: Vec<Contender<'l>> = INDEXES.into_iter().map(import).collect();
    contenders.push(Contender::new(CP_SYNC, move |folder| {
        let to = folder.join("copy");
        vec![shell(&format!("cp -r {source} {0} && sync -f {0}", to.display()))]
    }));
    contenders
}

/// The same once more: nothing is new.
pub(super) fn again<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Result<Contest<'l>> {
    let mut contenders = Vec::new();
    for index in INDEXES {
        let (store, source) = (lab.filled(index, layout)?, layout.folder.display().to_string());
        contenders.push(Contender::new(&ours(index), move |_| vec![lab.command(index, &store, ["import", &source])]));
    }
    let there = lab.scratch.join(format!("again-{}", layout.name())).display().to_string();
    contenders.extend(skopeo(lab, layout, move |_| there.clone()));
    let about = format!("{}, all there already.", layout.about());
    Ok(Contest { name: name.to_owned(), about, contenders, goals: vec![faster(3.0, "skopeo")], many: false })
}

/// A store's one image into a layout that is not there yet.
pub(super) fn export<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Result<Contest<'l>> {
    let mut contenders = Vec::new();
    for index in INDEXES {
        let (store, image) = (lab.filled(index, layout)?, layout.image());
        contenders.push(Contender::new(&ours(index), move |folder| {
            let to = folder.join("layout").display().to_string();
            vec![lab.command(index, &store, ["export", "--sref", &image, &to])]
        }));
    }
    let source = layout.folder.display().to_string();
    contenders.push(Contender::new(CP, move |folder| {
        vec![shell(&format!("cp -r {source} {}", folder.join("copy").display()))]
    }));
    contenders.extend(skopeo(lab, layout, |folder| folder.join("layout").display().to_string()));
    let about = format!("{}, into a layout that is made; not flushed.", layout.about());
    Ok(Contest {
        name: name.to_owned(),
        about,
        contenders,
        goals: vec![within(1.15, CP), faster(5.0, "skopeo")],
        many: false,
    })
}

/// A store filled by one process after the other, each with one image.
pub(super) fn one_by_one<'l>(lab: &'l Lab, name: &str, layout: &Layout) -> Contest<'l> {
    let fill = |index| {
        let layout = layout.clone();
        Contender::new(&ours(index), move |folder: &Path| {
            let (store, source) = (folder.join("store"), layout.folder.display().to_string());
            let import = |image: &String| lab.command(index, &store, ["import", "--sref", image, &source]);
            layout.refs.iter().map(import).collect()
        })
    };
    let contenders = INDEXES.into_iter().map(fill).collect();
    let about = format!("{} images, a process for each: all of them.", layout.refs.len());
    Contest { name: name.to_owned(), about, contenders, goals: Vec::new(), many: true }
}

fn skopeo<'l>(lab: &'l Lab, layout: &Layout, to: impl Fn(&Path) -> String + 'l) -> Option<Contender<'l>> {
    let skopeo = lab.skopeo.as_ref()?;
    let image = layout.image();
    let from = format!("oci:{}:{image}", layout.folder.display());
    Some(Contender::new(&skopeo.name, move |folder| {
        let to = format!("oci:{}:{image}", to(folder));
        vec![words([&skopeo.path, "copy", "--quiet", "--insecure-policy", &from, &to])]
    }))
}
