//! The protocol of leases, publishing and collecting as a model, of which every state is looked at: who does what, in
//! every order, killed anywhere. `docs/architecture.md` describes the protocol; the steps are in `steps`.

mod state;
mod steps;

use std::time::Instant;

use anyhow::{Result, bail};
use stateright::{Checker, HasDiscoveries, Model, Property};

use self::state::{At, C, Collector, FIRST, GcAt, Job, SECOND, State, Worker};

/// How large a model to look at.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Three: one imports, one imports or exports, one collects while refs are removed; four: one more collects; two:
    /// nobody exports
    #[arg(long, value_name = "N", default_value_t = 3)]
    processes: usize,
    /// Processes that are killed, wherever they are
    #[arg(long, value_name = "N", default_value_t = 1)]
    kills: u8,
    /// Collections that are begun
    #[arg(long, value_name = "N", default_value_t = 2)]
    collections: u8,
    /// Refs that are removed
    #[arg(long, value_name = "N", default_value_t = 1)]
    removals: u8,
    /// Looks only at the protocol as it is, and takes no guard out
    #[arg(long)]
    no_controls: bool,
}

/// What the protocol rests on; each can be taken out.
#[derive(Clone, Copy, Debug)]
struct Guards {
    publish_check: bool,
    leases: bool,
    second_look: bool,
    rows_first: bool,
    /// A collector reads the leases again in the transaction in which it unlinks.
    lease_recheck: bool,
}

const ALL: Guards =
    Guards { publish_check: true, leases: true, second_look: true, rows_first: true, lease_recheck: true };

/// Each guard, taken out.
const CONTROLS: [(&str, Guards); 5] = [
    ("publish-check", Guards { publish_check: false, ..ALL }),
    ("leases", Guards { leases: false, ..ALL }),
    ("second-look", Guards { second_look: false, ..ALL }),
    ("rows-first", Guards { rows_first: false, ..ALL }),
    ("lease-recheck", Guards { lease_recheck: false, ..ALL }),
];

/// Something that one process does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Worker(usize),
    KillWorker(usize),
    Collect { n: usize, full: bool },
    Gc(usize),
    KillGc(usize),
    Remove(state::Blobs),
}

/// How much happens.
#[derive(Clone, Copy, Debug)]
struct Size {
    processes: usize,
    kills: u8,
    collections: u8,
    removals: u8,
}

struct Protocol {
    size: Size,
    guards: Guards,
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let empty = |jobs: &[Vec<Job>]| State {
            rows: 0,
            dirty: 0,
            pending: 0,
            files: 0,
            refs: 0,
            acknowledged: 0,
            writer: None,
            workers: jobs.iter().cloned().map(Worker::new).collect(),
            collectors: vec![Collector::new(); if self.size.processes > 3 { 2 } else { 1 }],
            dead: Vec::new(),
            kills: self.size.kills,
            removals: self.size.removals,
            collections: self.size.collections,
        };
        // An image that is imported, removed, and imported again.
        let importer = vec![Job::Import(FIRST), Job::Import(FIRST)];
        if self.size.processes < 3 {
            return vec![empty(&[importer])];
        }
        // The last job comes first.
        let others =
            [vec![Job::Import(SECOND)], vec![Job::Export(FIRST)], vec![Job::Export(SECOND), Job::Import(SECOND)]];
        others.into_iter().map(|other| empty(&[importer.clone(), other])).collect()
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        state.steps(steps);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        next.make(&step, self.guards);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a row implies its file", |_, state: &State| state.rows & !state.files == 0),
            Property::always("a ref's image is complete", |_, state: &State| {
                let images = [FIRST, SECOND].into_iter().filter(|image| state.refs & image.root != 0);
                images.into_iter().all(|image| image.all & !(state.rows & state.files) == 0)
            }),
            Property::always("an export finds what it named", |_, state: &State| {
                state.workers.iter().all(|worker| worker.at != At::Failed)
            }),
            Property::always("what was acknowledged is there", |_, state: &State| {
                state.acknowledged & !state.refs == 0
            }),
            Property::always("somebody can go on", |_, state: &State| {
                let mut steps = Vec::new();
                state.steps(&mut steps);
                let goes_on = |step: &Step| matches!(step, Step::Worker(_) | Step::Gc(_));
                state.is_quiet() || steps.iter().any(goes_on)
            }),
            Property::always("a gc leaves nothing over", |protocol: &Self, state: &State| {
                !state.is_quiet() || protocol.leaves_nothing(state)
            }),
            Property::sometimes("all jobs are done, and something is left", |_, state: &State| {
                state.is_quiet() && state.workers.iter().all(|worker| worker.jobs.is_empty()) && state.files & C != 0
            }),
        ]
    }
}

impl Protocol {
    /// Runs a plain collection, with nobody beside it, and looks what is left.
    fn leaves_nothing(&self, state: &State) -> bool {
        let mut state = state.clone();
        state.begin_collection(0, false);
        while state.collectors.first().is_some_and(|collector| collector.at != GcAt::Idle) {
            state.collect(0, self.guards);
        }
        let kept = state.kept(0) & state.rows;
        state.rows == kept && state.files == kept && state.pending == 0 && state.dirty == 0 && state.dead.is_empty()
    }
}

/// What a look at all states has shown.
struct Found {
    states: usize,
    depth: usize,
    /// What fell, and the steps that led there.
    fell: Option<(&'static str, Vec<String>)>,
}

/// Looks at every state; with a guard taken out, until something falls.
fn explore(size: Size, guards: Guards, threads: usize) -> Found {
    let checker = Protocol { size, guards }.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let mut fell = None;
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        match (property.expectation, path) {
            (stateright::Expectation::Sometimes, Some(_)) | (stateright::Expectation::Always, None) => {}
            (stateright::Expectation::Sometimes, None) if fell.is_none() => fell = Some((property.name, Vec::new())),
            (_, Some(path)) => {
                let steps = path.into_vec().into_iter();
                fell = Some((property.name, steps.filter_map(|(state, step)| Some(tell(&state, &step?))).collect()));
                break;
            }
            _ => {}
        }
    }
    Found { states, depth, fell }
}

/// Looks what falls without a guard: if it can without anybody being killed, that tells more.
fn control(size: Size, guards: Guards) -> Found {
    // One thread finds the shortest way.
    let found = explore(Size { kills: 0, ..size }, guards, 1);
    if found.fell.is_some() { found } else { explore(size, guards, 1) }
}

/// A step in words, from the state in which it is made.
fn tell(state: &State, step: &Step) -> String {
    let names = |blobs: state::Blobs| -> String {
        let each = [(state::A, 'A'), (state::B, 'B'), (state::C, 'C')].into_iter();
        each.filter(|(bit, _)| blobs & bit != 0).map(|(_, name)| name).collect()
    };
    match *step {
        Step::Worker(n) => {
            let worker = state.workers.get(n);
            let job = worker.and_then(|worker| worker.jobs.last());
            let at = worker.map(|worker| worker.at);
            let job = match job {
                Some(Job::Import(image)) => format!("import of {}", names(image.all)),
                Some(Job::Export(image)) => format!("export of {}", names(image.all)),
                None => "nothing".to_owned(),
            };
            let at = at.map_or_else(String::new, |at| format!("{at:?}"));
            format!("{n}: {job}: {}", if at == "Idle" { "Begin" } else { &at })
        }
        Step::KillWorker(n) => format!("{n} is killed"),
        Step::Collect { n, full } => {
            format!("gc {n}{}: takes the writer, reads leases", if full { " --full" } else { "" })
        }
        Step::Gc(n) => {
            let at = state.collectors.get(n).map(|collector| (collector.at, names(collector.todo)));
            at.map_or_else(String::new, |(at, todo)| format!("gc {n}: {at:?} {todo}"))
        }
        Step::KillGc(n) => format!("gc {n} is killed"),
        Step::Remove(root) => format!("the ref to {} is removed", names(root)),
    }
}

/// `cargo xtask model`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !(2..=4).contains(&args.processes) {
        bail!("--processes takes 2, 3 or 4");
    }
    let Args { processes, kills, collections, removals, no_controls } = *args;
    let size = Size { processes, kills, collections, removals };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let found = explore(size, ALL, threads);
    println!(
        "{processes} processes, {kills} kills, {collections} collections, {removals} removals: {} states, {} steps deep, {:.1} s",
        found.states,
        found.depth,
        began.elapsed().as_secs_f64()
    );
    if let Some((property, steps)) = found.fell {
        bail!("{property:?} does not hold:\n  {}", steps.join("\n  "));
    }
    println!("every property holds");
    for (name, guards) in CONTROLS.iter().filter(|_| !no_controls) {
        let found = control(size, *guards);
        match found.fell {
            Some((property, steps)) => {
                println!(
                    "without {name}: {property:?} falls, after {} states:\n  {}",
                    found.states,
                    steps.join("\n  ")
                );
            }
            None if processes < 3 => println!("without {name}: nothing falls, as nobody exports"),
            None => bail!("without {name} nothing falls, in {} states", found.states),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { processes: 3, kills: 0, collections: 1, removals: 1 };
    const KILLS: Size = Size { processes: 2, kills: 1, collections: 2, removals: 1 };

    #[test]
    fn the_protocol_holds() {
        for size in [SMALL, KILLS] {
            let found = explore(size, ALL, 2);
            assert_eq!(found.fell, None);
            assert!(found.states > 10_000, "{} states", found.states);
        }
    }

    #[test]
    fn each_guard_is_needed() {
        for (name, guards) in CONTROLS {
            assert!(control(SMALL, guards).fell.is_some(), "without {name} nothing falls");
        }
    }
}
