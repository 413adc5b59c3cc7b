//! What a soak has counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Of one round, or of all.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rounds: u64,
    pub(crate) operations: BTreeMap<String, BTreeMap<String, u64>>,
    pub(crate) time: Duration,
    /// Workers that were started.
    pub(crate) started: u64,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    /// Collections of the loop beside the workers, and how many of them were killed.
    pub(crate) collections: u64,
    pub(crate) collections_killed: u64,
    pub(crate) foreign_writes: u64,
    pub(crate) exports_examined: u64,
    pub(crate) registers: u64,
    pub(crate) calls: u64,
    /// Calls of which nobody knows how they ended.
    pub(crate) open_calls: u64,
    /// Registers with more orders than can be looked at.
    pub(crate) undecided: u64,
    /// Looks at the store, and how many of them found the index that was asked for: workers convert it.
    pub(crate) looks: u64,
    pub(crate) looks_at_index: u64,
    /// The most of any worker, in KiB of anonymous memory.
    pub(crate) memory: u64,
    /// The most of any worker.
    pub(crate) descriptors: u64,
    /// The longest that a command took after all were killed.
    pub(crate) recovery: Duration,
}

impl Figures {
    pub(crate) fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        for (kind, outcomes) in other.operations {
            let sums = self.operations.entry(kind).or_default();
            for (outcome, count) in outcomes {
                *sums.entry(outcome).or_default() += count;
            }
        }
        self.time += other.time;
        self.started += other.started;
        self.kills += other.kills;
        self.stops += other.stops;
        self.collections += other.collections;
        self.collections_killed += other.collections_killed;
        self.foreign_writes += other.foreign_writes;
        self.exports_examined += other.exports_examined;
        self.registers += other.registers;
        self.calls += other.calls;
        self.open_calls += other.open_calls;
        self.undecided += other.undecided;
        self.looks += other.looks;
        self.looks_at_index += other.looks_at_index;
        self.memory = self.memory.max(other.memory);
        self.descriptors = self.descriptors.max(other.descriptors);
        self.recovery = self.recovery.max(other.recovery);
    }

    pub(crate) fn total(&self) -> u64 {
        self.operations.values().flat_map(BTreeMap::values).sum()
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let seconds = self.time.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.total() as f64 / seconds.max(0.001);
        format!("{} operations in {seconds:.0} s ({rate:.0}/s), {} rounds", self.total(), self.rounds)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, outcomes) in &self.operations {
            let counts: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            writeln!(f, "  {kind:22} {}", counts.join(", "))?;
        }
        writeln!(
            f,
            "  beside them: {} kill -9 and {} stops of {} workers, {} collections ({} killed), {} foreign writes; \
             {} % of the time over this index",
            self.kills,
            self.stops,
            self.started,
            self.collections,
            self.collections_killed,
            self.foreign_writes,
            100 * self.looks_at_index / self.looks.max(1)
        )?;
        writeln!(
            f,
            "  judged: {} registers with {} calls ({} of them never answered), {} undecided; {} exports examined",
            self.registers, self.calls, self.open_calls, self.undecided, self.exports_examined
        )?;
        write!(
            f,
            "  at most: {} MiB anonymous memory and {} descriptors a worker, {:.2} s for a command after all were killed",
            self.memory >> 10,
            self.descriptors,
            self.recovery.as_secs_f64()
        )
    }
}
