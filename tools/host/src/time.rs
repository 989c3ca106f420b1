// SPDX-License-Identifier: GPL-2.0

//! The clock for timestamps, and random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds and nanoseconds since 1970; the nanoseconds always count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// The wall clock: `ktime_get_coarse_real_ts64`.
pub fn now() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(d) => Time {
            secs: d.as_secs() as i64,
            nanos: d.subsec_nanos(),
        },
        Err(_) => Time::default(),
    }
}

/// 64 random bits: `get_random_u64`.
pub fn random_u64() -> u64 {
    let mut b = [0; 8];
    // A host without an entropy source cannot run the tools at all.
    getrandom::fill(&mut b).expect("no entropy source");
    u64::from_le_bytes(b)
}
