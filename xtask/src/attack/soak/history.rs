//! What the workers recorded, read back: see `tests/soak/record.rs` for its form.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::linear::{Call, Effect};

/// The calls on each register, and the counts of all operations.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Refs (`ref:`), pins (`pin:`), values (`data:`), exported refs (`exported:FOLDER:`), each with its calls.
    pub(crate) calls: BTreeMap<String, Vec<Call>>,
    /// Of each counter, each number that somebody tried to set.
    pub(crate) counts: BTreeMap<String, Vec<Count>>,
    /// Operations by kind and outcome.
    pub(crate) operations: BTreeMap<String, BTreeMap<String, u64>>,
    /// Errors that no operation may give, each with the file that says so.
    pub(crate) bad: Vec<String>,
}

/// A number that was to be the next of a counter.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) number: u64,
    /// `None`: it is not known whether it was set.
    pub(crate) was_set: Option<bool>,
}

/// A call that has begun.
struct Begun<'t> {
    begin: u128,
    op: &'t str,
    value: &'t str,
}

impl History {
    /// Reads every file in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut history = Self::default();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            history.add(&name, &text).with_context(|| path.display().to_string())?;
        }
        Ok(history)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let mut begun: HashMap<(&str, &str), Begun<'_>> = HashMap::new();
        for line in text.split_inclusive('\n') {
            // A process that was killed may leave a part of one: it was not told of what followed.
            let Some(line) = line.strip_suffix('\n') else { continue };
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["i", time, call, object, op, value] => {
                    begun.insert((call, object), Begun { begin: time.parse()?, op, value });
                }
                ["r", time, call, object, ref answer @ ..] => {
                    let Some(begun) = begun.remove(&(call, object)) else { bail!("{line}: never begun") };
                    self.note(object, &begun, Some((time.parse()?, answer)))?;
                }
                ["o", _, ref rest @ ..] => self.count(file, &rest.join(" ")),
                _ => bail!("{line}: not a line of a record"),
            }
        }
        for ((_, object), begun) in begun {
            self.note(object, &begun, None)?;
        }
        Ok(())
    }

    /// An operation that is over; its kind may have blanks.
    fn count(&mut self, file: &str, text: &str) {
        let (kind, outcome) = match text.split_once(" BAD ") {
            Some((kind, why)) => {
                self.bad.push(format!("{file}: {kind}: {why}"));
                (kind, "BAD")
            }
            None => text.rsplit_once(' ').unwrap_or((text, "?")),
        };
        *self.operations.entry(kind.to_owned()).or_default().entry(outcome.to_owned()).or_default() += 1;
    }

    fn note(&mut self, object: &str, begun: &Begun<'_>, answer: Option<(u128, &[&str])>) -> Result<()> {
        let end = answer.map(|(time, _)| time);
        let told = |value: &str| (value != "?").then(|| value.to_owned());
        let effect = match (begun.op, answer.map(|(_, words)| words)) {
            ("cas", words) => {
                let was_set = words.map(|words| words.first() == Some(&"ok"));
                self.counts.entry(object.to_owned()).or_default().push(Count { number: begun.value.parse()?, was_set });
                return Ok(());
            }
            ("set", Some(["ok", value])) => Effect::Set(told(value)),
            ("set", None) => Effect::Set(told(begun.value)),
            ("new", Some(["ok", value])) => Effect::SetNew(told(value)),
            ("new", None) => Effect::SetNew(told(begun.value)),
            ("new" | "del", Some(["conflict"])) => Effect::SawSome,
            ("del", Some(["ok", value])) => Effect::Delete(told(value)),
            ("del", None) => Effect::Delete(None),
            ("get", Some(["ok", value])) => Effect::Saw((*value).to_owned()),
            ("del" | "get", Some(["absent"])) => Effect::SawNone,
            // What was to be its value was not there; of the register itself that says nothing.
            ("set" | "new", Some(["absent"])) | ("get", None) => return Ok(()),
            (op, words) => bail!("{object}: {op} was answered {words:?}"),
        };
        self.calls.entry(object.to_owned()).or_default().push(Call { begin: begun.begin, end, effect });
        Ok(())
    }

    /// How many operations there were.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.operations.values().flat_map(BTreeMap::values).sum()
    }
}

impl Count {
    /// What is wrong with a counter that ends at `last`: each number up to it was set once, and none above.
    pub(crate) fn problems(object: &str, counts: &[Self], last: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let mut set: HashMap<u64, (u64, u64)> = HashMap::new();
        for count in counts {
            let (sure, perhaps) = set.entry(count.number).or_default();
            *sure += u64::from(count.was_set == Some(true));
            *perhaps += u64::from(count.was_set.is_none());
        }
        for number in 1..=last.max(set.keys().copied().max().unwrap_or_default()) {
            let (sure, perhaps) = set.get(&number).copied().unwrap_or_default();
            if sure > 1 {
                lines.push(format!("I5: {object}: {sure} processes were told that they set {number}"));
            }
            if number > last && sure > 0 {
                lines.push(format!("I2: {object}: {number} was set, and it is {last}"));
            }
            if number <= last && sure + perhaps == 0 {
                lines.push(format!("I5: {object}: it is {last}, and nobody set {number}"));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::soak::linear::{Verdict, judge};

    #[test]
    fn a_record_becomes_calls() {
        let mut history = History::default();
        let text = "i 1 1 ref:a set x\nr 2 1 ref:a ok x\no 2 import ok\ni 3 2 ref:a del -\ni 3 2 ref:b new ?\n\
                    r 4 2 ref:a ok ?\nr 4 2 ref:b ok ?\no 4 rename ok\ni 5 3 ref:b get -\nr 6 3 ref:b ok x\n\
                    o 6 get ok\no 7 data set BAD disk on fire\ni 8 4 ref:b del -\ni 9 5 ref:c s";
        history.add("0-0", text).unwrap();
        assert_eq!(history.total(), 4);
        assert_eq!(history.bad, ["0-0: data set: disk on fire"]);
        assert_eq!(history.operations["data set"]["BAD"], 1);
        assert_eq!(history.calls["ref:a"].len(), 2);
        assert_eq!(history.calls["ref:b"].len(), 3);
        assert!(history.calls["ref:b"].iter().any(|call| call.end.is_none()));
        assert!(!history.calls.contains_key("ref:c"));
        assert!(history.calls.values().all(|calls| judge(calls) == Verdict::Linearisable));
    }

    #[test]
    fn counters() {
        let count = |number, was_set| Count { number, was_set };
        let good = [count(1, Some(true)), count(2, Some(false)), count(2, Some(true)), count(3, None)];
        assert_eq!(Count::problems("c", &good, 2), Vec::<String>::new());
        assert_eq!(Count::problems("c", &good, 3), Vec::<String>::new());
        assert_eq!(Count::problems("c", &good, 1).len(), 1, "2 was lost");
        assert_eq!(Count::problems("c", &good, 4).len(), 1, "nobody set 4");
        let twice = [count(1, Some(true)), count(1, Some(true))];
        assert_eq!(Count::problems("c", &twice, 1).len(), 1);
    }
}
