//! What is done to a store before its power is cut: commands, each with what the store holds before and after it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::chance::Chance;
use crate::attack::inputs;
use crate::attack::program::Program;

type Refs = BTreeMap<String, String>;

/// What a store holds, as far as it was told so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) refs: Refs,
    /// Key/value data: a value's size by its key; all values of a key have other sizes.
    pub(super) data: BTreeMap<String, usize>,
    /// What the export's folder has.
    pub(super) exported: Refs,
}

/// A command.
#[derive(Clone, Debug)]
pub(super) struct Step {
    args: Vec<String>,
    pub(super) before: State,
    pub(super) after: State,
    /// It may be done once more when it is done already.
    pub(super) repeats: bool,
    /// It takes several images, one by one.
    pub(super) by_image: bool,
}

/// Where things are.
pub(super) struct Places {
    pub(super) store: PathBuf,
    /// Exported to, on the same disk.
    pub(super) out: PathBuf,
    /// Images to import, on another disk.
    pub(super) sources: PathBuf,
}

impl Places {
    pub(super) fn new(mounted: &Path, sources: &Path) -> Self {
        Self { store: mounted.join("store"), out: mounted.join("out"), sources: sources.to_owned() }
    }

    /// A command on the store.
    pub(super) fn command(&self, program: &Program, args: &[&str]) -> Command {
        program.command(&self.store, args)
    }
}

impl Step {
    /// The step, to be run.
    pub(super) fn command(&self, program: &Program, places: &Places) -> Command {
        let mut command = places.command(program, &[]);
        for arg in &self.args {
            match arg.strip_prefix("@sources/") {
                Some(name) => command.arg(places.sources.join(name)),
                None if arg == "@out" => command.arg(&places.out),
                None => command.arg(arg),
            };
        }
        command
    }

    pub(super) fn name(&self) -> String {
        self.args.join(" ")
    }
}

/// Writes the images of a seed, and returns what is done with them.
pub(super) fn plan(sources: &Path, seed: u64, index: &str) -> Result<Vec<Step>> {
    let mut layouts = BTreeMap::new();
    // Many small blobs are made durable otherwise than few, and large ones otherwise than small ones.
    let sizes = [("a", 3, 3, 9_000), ("b", 3, 2, 30_000), ("c", 4, 4, 3_000), ("wide", 2, 20, 700)];
    for (prefix, count, layers, size) in sizes.into_iter().chain([("large", 1, 2, 1_200_000)]) {
        let refs = inputs::overlapping(&sources.join(prefix), prefix, count, layers, size)?;
        layouts.insert(prefix, refs);
    }
    let mut plan = Plan { layouts, state: State::default(), steps: Vec::new() };
    let other = if index == "lmdb" { "sqlite" } else { "lmdb" };
    // It makes the store.
    plan.gc(&["gc", "--index", index]);
    plan.import("a", 0);
    plan.tag("a-0", "x");
    plan.data("one");
    plan.import_all("b");
    plan.import("a", 1);
    plan.remove("b-1");
    plan.gc(&["gc"]);
    plan.import("a", 0);
    plan.import("b", 1);
    plan.data("one");
    plan.export("a-0");
    plan.gc(&["reindex"]);
    plan.remove("a-0");
    plan.import("c", 0);
    plan.import("wide", 0);
    plan.import("large", 0);
    plan.gc(&["gc"]);
    plan.gc(&["index", "convert", "--to", other]);
    plan.import("c", 1);
    plan.data("two");
    plan.tag("c-1", "x");
    plan.gc(&["gc"]);
    plan.gc(&["index", "convert", "--to", index]);
    plan.rename("x", "y");
    plan.export("y");
    plan.gc(&["gc", "--full"]);
    let mut chance = Chance::new(seed);
    for _ in 0..20 {
        plan.any(&mut chance);
    }
    Ok(plan.steps)
}

struct Plan {
    layouts: BTreeMap<&'static str, Refs>,
    state: State,
    steps: Vec<Step>,
}

impl Plan {
    fn step(&mut self, args: &[&str], repeats: bool, by_image: bool, change: impl FnOnce(&mut State)) {
        let before = self.state.clone();
        change(&mut self.state);
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.steps.push(Step { args, before, after: self.state.clone(), repeats, by_image });
    }

    fn import(&mut self, layout: &str, number: u64) {
        let name = format!("{layout}-{number}");
        let digest = self.layouts.get(layout).and_then(|refs| refs.get(&name)).cloned().unwrap_or_default();
        let source = format!("@sources/{layout}");
        self.step(&["import", &source, "--sref", &name], true, false, |state| {
            state.refs.insert(name.clone(), digest);
        });
    }

    fn import_all(&mut self, layout: &str) {
        let refs = self.layouts.get(layout).cloned().unwrap_or_default();
        self.step(&["import", &format!("@sources/{layout}"), "--all"], true, true, |state| state.refs.extend(refs));
    }

    fn tag(&mut self, source: &str, target: &str) {
        let digest = self.state.refs.get(source).cloned().unwrap_or_default();
        self.step(&["tag", source, target], true, false, |state| {
            state.refs.insert(target.to_owned(), digest);
        });
    }

    fn rename(&mut self, source: &str, target: &str) {
        self.step(&["rename", source, target], false, false, |state| {
            if let Some(digest) = state.refs.remove(source) {
                state.refs.insert(target.to_owned(), digest);
            }
        });
    }

    fn remove(&mut self, name: &str) {
        self.step(&["rm", name], false, false, |state| {
            state.refs.remove(name);
        });
    }

    /// Whatever changes neither refs nor data.
    fn gc(&mut self, args: &[&str]) {
        self.step(args, true, false, |_| {});
    }

    fn data(&mut self, key: &str) {
        let size = self.state.data.get(key).map_or(3, |size| size + 3);
        let value = "v".repeat(size);
        self.step(&["data", "set", "kind", key, &value], false, false, |state| {
            state.data.insert(key.to_owned(), size);
        });
    }

    fn export(&mut self, name: &str) {
        let digest = self.state.refs.get(name).cloned().unwrap_or_default();
        self.step(&["export", "--sync", "--sref", name, "@out"], true, false, |state| {
            state.exported.insert(name.to_owned(), digest);
        });
    }

    /// Any of these, on what is there.
    fn any(&mut self, chance: &mut Chance) {
        let names: Vec<String> = self.state.refs.keys().cloned().collect();
        let name = names.get(chance.below(names.len())).cloned();
        match (chance.below(12), name) {
            (0..=3, _) | (_, None) => {
                let (layout, count) = [("a", 3), ("b", 3), ("c", 4), ("wide", 2)][chance.below(4)];
                self.import(layout, chance.below(count) as u64);
            }
            (4, Some(name)) => self.tag(&name, "x"),
            (5..=6, Some(name)) => self.remove(&name),
            (7..=8, _) => self.gc(&["gc"]),
            (9, _) => self.data(["one", "two", "three"][chance.below(3)]),
            (10, Some(name)) => self.export(&name),
            _ => self.import_all("c"),
        }
    }
}
