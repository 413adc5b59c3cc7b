//! Who stops where, and in which order they go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::operation::{Between, OPERATIONS, Operation};
use super::process::Stop;
use super::stage::Stage;
use crate::attack::program::Program;

/// One of the two that are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Operation,
    Gc,
}

/// An interleaving of an operation and a gc.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) index: &'static str,
    pub(super) operation: &'static Operation,
    /// `gc --full`.
    pub(super) full: bool,
    /// Where each stops; who does not runs to its end.
    pub(super) operation_stop: Option<Stop>,
    pub(super) gc_stop: Option<Stop>,
    /// Who begins.
    pub(super) first: Who,
    /// Who goes on first.
    pub(super) released: Who,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stop = |stop: &Option<Stop>| stop.as_ref().map_or_else(|| "to its end".to_owned(), ToString::to_string);
        let gc = if self.full { "gc --full" } else { "gc" };
        let name = |who| if who == Who::Gc { "gc" } else { "it" };
        write!(
            f,
            "{} {}: it {}, {gc} {}",
            self.index,
            self.operation.name,
            stop(&self.operation_stop),
            stop(&self.gc_stop)
        )?;
        write!(f, ", {} begins, {} goes on first", name(self.first), name(self.released))
    }
}

/// Where a command comes by, in its order.
pub(super) fn arrivals(program: &Program, stage: &Stage, args: &[String], folder: &Path) -> Result<Vec<Stop>> {
    let list = folder.join("points");
    let mut command = program.command(&stage.store, args);
    let output = command.env("OCI_STORE_POINTS", &list).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let text = fs::read_to_string(&list).unwrap_or_default();
    Ok(text
        .lines()
        .map(|point| {
            let arrival = seen.entry(point.to_owned()).or_default();
            *arrival += 1;
            Stop { point: point.to_owned(), arrival: *arrival }
        })
        .collect())
}

/// Points at which rot that is noticed can still be mended by the import that is stopped there.
const BEFORE_ROWS: [&str; 4] = ["looked", "closure-named", "blob-persisted", "before-publish"];

/// Commands, and where each comes by.
pub(super) type Points = Vec<(String, Vec<Stop>)>;

/// All cases of an index, and the points that each operation comes to.
pub(super) fn cases(program: &Program, stage: &Stage, folder: &Path) -> Result<(Vec<Case>, Points)> {
    let (mut cases, mut points) = (Vec::new(), Vec::new());
    let gcs = [false, true].map(|full| {
        let folder = folder.join(format!("gc-{full}"));
        let args = if full { vec!["gc".to_owned(), "--full".to_owned()] } else { vec!["gc".to_owned()] };
        stage.copy(&folder).and_then(|stage| arrivals(program, &stage, &args, &folder))
    });
    let [plain, all] = gcs;
    let gcs = [(false, plain?), (true, all?)];
    for operation in OPERATIONS {
        let folder = folder.join(operation.name);
        let stage = stage.copy(&folder)?;
        let mut stops = arrivals(program, &stage, &(operation.args)(&stage), &folder)?;
        points.push((operation.name.to_owned(), stops.clone()));
        let rots = matches!(operation.between, Between::Rot);
        if rots {
            stops.retain(|stop| BEFORE_ROWS.contains(&stop.point.as_str()));
        }
        for (full, gc_stops) in &gcs {
            let case = |operation_stop: Option<&Stop>, gc_stop: Option<&Stop>, first, released| Case {
                index: stage.index,
                operation,
                full: *full,
                operation_stop: operation_stop.cloned(),
                gc_stop: gc_stop.cloned(),
                first,
                released,
            };
            for stop in &stops {
                cases.push(case(Some(stop), None, Who::Operation, Who::Operation));
            }
            if rots {
                continue;
            }
            for gc_stop in gc_stops {
                cases.push(case(None, Some(gc_stop), Who::Gc, Who::Gc));
                for stop in &stops {
                    for first in [Who::Operation, Who::Gc] {
                        for released in [Who::Operation, Who::Gc] {
                            cases.push(case(Some(stop), Some(gc_stop), first, released));
                        }
                    }
                }
            }
        }
    }
    for (full, stops) in gcs {
        points.push((if full { "(gc --full)" } else { "(gc)" }.to_owned(), stops));
    }
    Ok((cases, points))
}
