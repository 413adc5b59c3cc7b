use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. Never used to decide what may be removed.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

/// The time at which something was used again is written only after so many seconds: to do again what was done writes
/// nothing.
pub(crate) const TIME_GRANULARITY: u64 = 3600;
