//! The same work, done by more and more processes at once.

use std::path::PathBuf;

use anyhow::Result;

use super::contest::{Contender, Contest, Goal, faster};
use super::inputs::{INDEXES, Lab, Layout, copied, shell};

const ONE: &str = "1 process";

/// Images of their own, imported.
pub(super) fn different<'l>(lab: &'l Lab, name: &str, layouts: &[Layout]) -> Result<Contest<'l>> {
    let lines = layouts.iter().map(|layout| format!("{} {}", layout.name(), layout.folder.display()));
    let list = lines.collect::<Vec<_>>().join("\n");
    let crowd = Crowd {
        lab,
        about: format!("{} images, each {}: a process for each.", layouts.len(), layouts[0].about()),
        command: ["import", "--dref", "\"$0\"", "\"$1\""].to_vec(),
        store: &|_| Ok(Store::New),
        goals: vec![faster(1.6, ONE)],
    };
    crowd.contest(name, layouts.len(), move |_| list.clone())
}

/// The same image, imported by each.
pub(super) fn same<'l>(lab: &'l Lab, name: &str, layout: &Layout, most: usize) -> Result<Contest<'l>> {
    let source = layout.folder.display().to_string();
    let crowd = Crowd {
        lab,
        about: format!("{}: each imports it.", layout.about()),
        command: ["import", "--dref", "\"$0\"", "\"$1\""].to_vec(),
        store: &|_| Ok(Store::New),
        goals: Vec::new(),
    };
    crowd.contest(name, most, move |processes| {
        let line = |number| format!("same-{number} {source}");
        (0..processes).map(line).collect::<Vec<_>>().join("\n")
    })
}

/// So many refs are set, or images inspected.
const CALLS: usize = 128;

/// Refs, set in one store, a process for each.
pub(super) fn tags<'l>(lab: &'l Lab, name: &str, layout: &Layout, most: usize) -> Result<Contest<'l>> {
    let image = layout.image();
    let crowd = Crowd {
        lab,
        about: format!("{CALLS} refs set beside {}: a process for each.", layout.refs.len()),
        command: ["tag", "\"$0\"", "\"$1\""].to_vec(),
        store: &|index| Ok(Store::Copied(lab.filled(index, layout)?)),
        goals: Vec::new(),
    };
    let lines: Vec<String> = (0..CALLS).map(|number| format!("{image} crowd:{number}")).collect();
    crowd.contest(name, most, move |_| lines.join("\n"))
}

/// Questions to one store, a process for each.
pub(super) fn questions<'l>(lab: &'l Lab, name: &str, layout: &Layout, most: usize) -> Result<Contest<'l>> {
    let crowd = Crowd {
        lab,
        about: format!("{CALLS} of {} images inspected: a process for each.", layout.refs.len()),
        command: ["inspect", "\"$0\""].to_vec(),
        store: &|index| Ok(Store::Shared(lab.filled(index, layout)?)),
        goals: vec![faster(1.6, ONE)],
    };
    let lines: Vec<String> = layout.refs.iter().cycle().take(CALLS).cloned().collect();
    crowd.contest(name, most, move |_| lines.join("\n"))
}

/// On which store the crowd works.
enum Store {
    /// One that the first of them makes.
    New,
    /// A copy of this.
    Copied(PathBuf),
    /// This.
    Shared(PathBuf),
}

struct Crowd<'l, 's> {
    lab: &'l Lab,
    about: String,
    /// With `$0` and `$1` for what is in a line of the list.
    command: Vec<&'static str>,
    store: &'s dyn Fn(&str) -> Result<Store>,
    goals: Vec<Goal>,
}

impl<'l> Crowd<'l, '_> {
    /// From one process to `most`; `list` says what so many processes do, a line each.
    fn contest(self, name: &str, most: usize, list: impl Fn(usize) -> String + Clone + 'l) -> Result<Contest<'l>> {
        let Self { lab, about, command, store, goals } = self;
        let mut contenders = Vec::new();
        for processes in (0..).map(|power| 1 << power).take_while(|processes| *processes <= most) {
            for index in INDEXES {
                let name = match processes {
                    1 => format!("{ONE} {index}"),
                    _ => format!("oci-store, {processes} processes {index}"),
                };
                let store = store(index)?;
                let (list, command) = (list.clone(), command.clone());
                let shared = if let Store::Shared(path) = &store { Some(path.clone()) } else { None };
                let contender = Contender::new(&name, move |folder| {
                    let store = shared.clone().unwrap_or_else(|| folder.join("store"));
                    let command = lab.command(index, &store, command.iter().copied()).join(" ");
                    let list = list(processes);
                    vec![shell(&format!("printf '%s\n' '{list}' | xargs -P {processes} -L 1 sh -c '{command}'"))]
                });
                contenders.push(match store {
                    Store::Copied(path) => contender.after(copied(&path)),
                    Store::New | Store::Shared(_) => contender,
                });
            }
        }
        Ok(Contest { name: name.to_owned(), about, contenders, goals, many: false })
    }
}
