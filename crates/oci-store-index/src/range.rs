use crate::MAX_KEY;

/// The keys that a scan visits, as every ordered backend can look them up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The lowest key that may be visited. Empty means from the first row on; never longer than
    /// [`MAX_KEY`] + 1 bytes.
    pub start: Vec<u8>,
    /// The lowest key above `start` that is not visited, or `None` where there is no such bound.
    pub end: Option<Vec<u8>>,
}

impl Range {
    /// The range of [`ReadTxn::scan`](crate::ReadTxn::scan), or `None` if it holds no key. In a range that is
    /// returned, `start < end`.
    pub fn of_scan(prefix: &[u8], from: &[u8]) -> Option<Self> {
        let mut start = prefix.max(from).to_vec();
        let end = successor(prefix);
        if end.as_ref().is_some_and(|end| start >= *end) {
            return None;
        }
        // No key is longer than MAX_KEY, so a longer start has the same keys above it as its beginning has.
        if start.len() > MAX_KEY {
            start.truncate(MAX_KEY);
            start.push(0);
        }
        Some(Self { start, end })
    }
}

/// The lowest byte string above every string that starts with `prefix`, if there is one.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=kept].to_vec();
    next[kept] += 1;
    Some(next)
}
