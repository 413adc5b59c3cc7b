//! Many processes, one new ref each.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::Result;

use super::{Rig, settle};
use crate::attack::inputs;

/// Every second process imports an image of its own, the others tag one that is there.
pub(super) fn once(rig: &Rig<'_>, processes: usize) -> Result<Vec<String>> {
    let (source, store) = (rig.folder.join("source"), rig.folder.join("store"));
    let images = inputs::overlapping(&source, "image", processes as u64 + 1, 3, 4096)?;
    let source_text = source.to_string_lossy().into_owned();
    let last = format!("image-{processes}");
    rig.program.must(&store, ["--index", rig.index, "import", "--sref", &last, "--dref", "base", &source_text])?;
    let base = images.get(&last).cloned().unwrap_or_default();
    let mut expected = BTreeMap::from([("base".to_owned(), base.clone())]);
    let mut children = Vec::new();
    for number in 0..processes {
        let (from, to) = (format!("image-{number}"), format!("new-{number}"));
        let mut command = if number % 2 == 0 {
            expected.insert(to.clone(), images.get(&from).cloned().unwrap_or_default());
            rig.command(&store, &["import", "--sref", &from, "--dref", &to, &source_text])
        } else {
            expected.insert(to.clone(), base.clone());
            rig.command(&store, &["tag", "base", &to])
        };
        children.push((to, command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?));
    }
    let mut fell = Vec::new();
    for (name, child) in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            fell.push(format!("I9: {name}: {}: {error}", output.status));
        }
    }
    fell.extend(settle(rig, &store, &expected)?);
    Ok(fell)
}
