//! An import beside collections.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::{Rig, settle};
use crate::attack::inputs::Layout;

/// The image shares every second layer with one whose ref has just gone: these are garbage that the import wants.
/// Collections, every third a full one, run until the import has ended.
pub(super) fn once(rig: &Rig<'_>, layers: u64) -> Result<Vec<String>> {
    let (source, store) = (rig.folder.join("source"), rig.folder.join("store"));
    let mut layout = Layout::create(&source)?;
    let wanted = layout.image("wanted", &(0..layers).collect::<Vec<_>>(), 8192)?;
    let garbage = layout.image("garbage", &(0..layers).step_by(2).collect::<Vec<_>>(), 8192)?;
    layout.tag("wanted", &wanted);
    layout.tag("garbage", &garbage);
    let images = layout.finish()?;
    let source = source.to_string_lossy().into_owned();
    rig.program.must(&store, ["--index", rig.index, "import", "--sref", "garbage", &source])?;
    rig.program.must(&store, ["rm", "garbage"])?;
    let over = AtomicBool::new(false);
    let (imported, collected) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| -> Result<Vec<String>> {
            let mut fell = Vec::new();
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                number += 1;
                let args: &[&str] = if number % 3 == 0 { &["gc", "--full"] } else { &["gc"] };
                let output = rig.command(&store, args).output()?;
                if !output.status.success() {
                    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    fell.push(format!("I9: gc: {}: {error}", output.status));
                }
            }
            Ok(fell)
        });
        let imported = rig.command(&store, &["import", "--sref", "wanted", &source]).stdout(Stdio::null()).output();
        over.store(true, Ordering::SeqCst);
        (imported, collector.join())
    });
    let mut fell = match collected {
        Ok(fell) => fell?,
        Err(_) => vec!["the collector of this race has died".to_owned()],
    };
    let imported = imported?;
    if !imported.status.success() {
        fell.push(format!("I9: import: {}: {}", imported.status, String::from_utf8_lossy(&imported.stderr).trim()));
    }
    let expected: BTreeMap<_, _> = images.into_iter().filter(|(name, _)| name == "wanted").collect();
    fell.extend(settle(rig, &store, &expected)?);
    Ok(fell)
}
