//! Whether the calls on one register, each with the time at which it was made and that at which it was answered, can
//! have happened one after the other, each at some moment in between (Wing and Gong's search, with Lowe's memo).

use std::collections::HashSet;

/// What a call did, as far as its caller was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// The value became this; `None`: some value that the caller was not told.
    Set(Option<String>),
    /// The same, and there was none.
    SetNew(Option<String>),
    /// The value went; it was this, if the caller was told.
    Delete(Option<String>),
    /// There was this value.
    Saw(String),
    /// There was some value.
    SawSome,
    /// There was none.
    SawNone,
}

/// A call on a register. One without an end, of a process that was killed, has taken effect at any time after its
/// begin, or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) begin: u128,
    pub(crate) end: Option<u128>,
    pub(crate) effect: Effect,
}

/// The calls up to the first answer that can't be true; those that were not answered by then have no end.
pub(crate) fn up_to_first_lie(calls: &[Call]) -> Vec<Call> {
    let mut ends: Vec<u128> = calls.iter().filter_map(|call| call.end).collect();
    ends.sort_unstable();
    let until = |time: u128| -> Vec<Call> {
        let begun = calls.iter().filter(|call| call.begin <= time);
        begun.map(|call| Call { end: call.end.filter(|end| *end <= time), ..call.clone() }).collect()
    };
    let at = ends.partition_point(|&time| judge(&until(time)) != Verdict::Not);
    let mut shown = ends.get(at).map_or_else(Vec::new, |&time| until(time));
    shown.sort_by_key(|call| call.begin);
    shown
}

impl Call {
    fn only_saw(&self) -> bool {
        matches!(self.effect, Effect::Saw(_) | Effect::SawSome | Effect::SawNone)
    }
}

/// What is known of the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Absent,
    Is(String),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearisable,
    Not,
    /// There are too many orders to look at.
    Open,
}

/// Orders to look at before giving up.
const MOST: usize = 2_000_000;

/// Judges the calls on a register that is empty at first.
pub(crate) fn judge(calls: &[Call]) -> Verdict {
    let mut calls = calls.to_vec();
    // What only saw, and nobody was told of, says nothing.
    calls.retain(|call| call.end.is_some() || !call.only_saw());
    calls.sort_by_key(|call| call.begin);
    let mut seen = HashSet::new();
    let mut stack = vec![Order { done: Done::default(), state: State::Absent }];
    while let Some(mut order) = stack.pop() {
        // To see what is known to be there changes nothing: if it fits now, now is as good a moment as any.
        while let Some(seen) = order.sees(&calls) {
            order = seen;
        }
        if order.done.answered(&calls) {
            return Verdict::Linearisable;
        }
        if !seen.insert(order.clone()) {
            continue;
        }
        if seen.len() > MOST {
            return Verdict::Open;
        }
        let mut open = HashSet::new();
        for at in order.next(&calls) {
            let Some(call) = calls.get(at) else { continue };
            // Of calls that were never answered and do the same, one is as good as another.
            if call.end.is_none() && !open.insert(&call.effect) {
                continue;
            }
            if let Some(state) = step(&order.state, &call.effect) {
                stack.push(Order { done: order.done.with(at, &calls), state });
            }
        }
    }
    Verdict::Not
}

/// The state after a call, if it can have happened.
fn step(state: &State, effect: &Effect) -> Option<State> {
    let set = |value: &Option<String>| value.clone().map_or(State::Unknown, State::Is);
    match (effect, state) {
        (Effect::Set(value), _) | (Effect::SetNew(value), State::Absent) => Some(set(value)),
        (Effect::Delete(Some(old)), State::Is(value)) => (old == value).then_some(State::Absent),
        (Effect::Delete(_), State::Is(_) | State::Unknown) => Some(State::Absent),
        (Effect::Saw(seen), State::Is(value)) => (seen == value).then(|| state.clone()),
        (Effect::Saw(seen), State::Unknown) => Some(State::Is(seen.clone())),
        (Effect::SawSome, State::Is(_) | State::Unknown) | (Effect::SawNone, State::Absent) => Some(state.clone()),
        _ => None,
    }
}

/// An order of some of the calls.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Order {
    done: Done,
    state: State,
}

/// Which calls are in an order: all answered ones before `all`, and some others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done {
    all: usize,
    others: Vec<usize>,
}

impl Done {
    fn has(&self, at: usize, calls: &[Call]) -> bool {
        (at < self.all && calls.get(at).is_some_and(|call| call.end.is_some())) || self.others.contains(&at)
    }

    fn with(&self, at: usize, calls: &[Call]) -> Self {
        let mut done = self.clone();
        done.others.push(at);
        done.others.sort_unstable();
        while let Some(call) = calls.get(done.all) {
            if call.end.is_none() {
                // It may still come at any time, and does not hold up the others.
                done.all += 1;
                continue;
            }
            let Ok(found) = done.others.binary_search(&done.all) else { break };
            done.others.remove(found);
            done.all += 1;
        }
        done
    }

    fn answered(&self, calls: &[Call]) -> bool {
        (self.all..calls.len()).all(|at| calls.get(at).is_none_or(|call| call.end.is_none()) || self.has(at, calls))
    }
}

impl Order {
    /// With one more call that only saw, if one fits now.
    fn sees(&self, calls: &[Call]) -> Option<Self> {
        self.next(calls).find_map(|at| {
            let call = calls.get(at).filter(|call| call.only_saw())?;
            let state = step(&self.state, &call.effect).filter(|state| *state == self.state)?;
            Some(Self { state, done: self.done.with(at, calls) })
        })
    }

    /// The calls that can be next: those that were made before any other that is left was answered.
    fn next<'o>(&'o self, calls: &'o [Call]) -> impl Iterator<Item = usize> + 'o {
        let left = move |at: &usize| !self.done.has(*at, calls);
        let answered_first =
            (self.done.all..calls.len()).filter(left).filter_map(|at| calls.get(at)?.end).min().unwrap_or(u128::MAX);
        let open = (0..self.done.all).filter(move |at| calls.get(*at).is_some_and(|call| call.end.is_none()));
        open.chain(self.done.all..calls.len())
            .filter(left)
            .filter(move |at| calls.get(*at).is_some_and(|call| call.begin <= answered_first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begin: u128, end: u128, effect: Effect) -> Call {
        Call { begin, end: (end > 0).then_some(end), effect }
    }

    fn set(value: &str) -> Effect {
        Effect::Set(Some(value.to_owned()))
    }

    fn saw(value: &str) -> Effect {
        Effect::Saw(value.to_owned())
    }

    #[test]
    fn one_after_the_other() {
        let good = [
            call(1, 2, Effect::SawNone),
            call(3, 4, set("a")),
            call(5, 6, saw("a")),
            call(7, 8, Effect::Delete(Some("a".to_owned()))),
            call(9, 10, Effect::SetNew(None)),
            call(11, 12, saw("b")),
            call(13, 14, saw("b")),
        ];
        assert_eq!(judge(&good), Verdict::Linearisable);
        // Each of these changes makes it impossible.
        for (at, effect) in [
            (0, saw("a")),
            (2, saw("b")),
            (2, Effect::SawNone),
            (3, Effect::Delete(Some("b".to_owned()))),
            (4, Effect::SawSome),
            (6, saw("c")),
            (6, Effect::SetNew(None)),
        ] {
            let mut bad = good.to_vec();
            bad[at].effect = effect.clone();
            assert_eq!(judge(&bad), Verdict::Not, "{at} {effect:?}");
        }
    }

    #[test]
    fn at_the_same_time_either_may_be_first() {
        for last in ["a", "b"] {
            let calls = [call(1, 10, set("a")), call(2, 9, set("b")), call(11, 12, saw(last))];
            assert_eq!(judge(&calls), Verdict::Linearisable);
        }
        // But then it is one order for all.
        let calls = [call(1, 10, set("a")), call(2, 9, set("b")), call(11, 12, saw("a")), call(13, 14, saw("b"))];
        assert_eq!(judge(&calls), Verdict::Not);
    }

    #[test]
    fn a_lost_update_is_seen() {
        let calls = [call(1, 2, set("a")), call(3, 4, set("b")), call(5, 6, saw("a"))];
        assert_eq!(judge(&calls), Verdict::Not);
        let longer: Vec<Call> = calls.iter().cloned().chain([call(20, 21, Effect::SawSome)]).collect();
        assert_eq!(up_to_first_lie(&longer).len(), 3);
    }

    #[test]
    fn two_who_both_made_it_new() {
        let new = |value: &str| Effect::SetNew(Some(value.to_owned()));
        assert_eq!(judge(&[call(1, 4, new("a")), call(2, 3, new("b"))]), Verdict::Not);
        assert_eq!(judge(&[call(1, 4, new("a")), call(2, 3, Effect::SawSome)]), Verdict::Linearisable);
    }

    #[test]
    fn who_was_killed_may_have_done_it_or_not_or_later() {
        let killed = call(1, 0, set("a"));
        for seen in [saw("a"), Effect::SawNone] {
            assert_eq!(judge(&[killed.clone(), call(5, 6, seen)]), Verdict::Linearisable);
        }
        let later = [killed.clone(), call(5, 6, Effect::SawNone), call(7, 8, saw("a"))];
        assert_eq!(judge(&later), Verdict::Linearisable);
        // But not twice, and not before it was called.
        let twice = [
            killed.clone(),
            call(2, 3, saw("a")),
            call(4, 5, Effect::Delete(None)),
            call(6, 7, Effect::SawNone),
            call(8, 9, saw("a")),
        ];
        assert_eq!(judge(&twice), Verdict::Not);
        assert_eq!(judge(&[call(1, 2, saw("a")), call(3, 0, set("a"))]), Verdict::Not);
    }

    #[test]
    fn what_nobody_was_told_is_what_fits_later() {
        let calls = [
            call(1, 2, Effect::SetNew(None)),
            call(3, 20, saw("b")),
            call(4, 5, saw("a")),
            call(6, 0, set("b")),
            call(21, 22, saw("b")),
        ];
        assert_eq!(judge(&calls), Verdict::Linearisable);
        let without_set: Vec<Call> = calls.iter().filter(|call| call.end.is_some()).cloned().collect();
        assert_eq!(judge(&without_set), Verdict::Not);
    }

    #[test]
    fn many_killed_calls_take_no_time() {
        let mut calls: Vec<Call> = (0..20).map(|at| call(at, 0, set("a"))).collect();
        calls.extend((0..20).map(|at| call(at, 0, Effect::Delete(None))));
        for at in 0..80 {
            calls.push(call(100 + at * 2, 101 + at * 2, if at % 2 == 0 { saw("a") } else { Effect::SawNone }));
        }
        assert_eq!(judge(&calls), Verdict::Not, "there are 20 of each, and 40 were needed");
    }
}
