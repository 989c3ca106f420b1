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
    #[cfg(feature = "sim")]
    if crate::sim::is_virtual() {
        let nanos = crate::sim::nanos();
        return Time {
            secs: (nanos / 1_000_000_000) as i64,
            nanos: (nanos % 1_000_000_000) as u32,
        };
    }
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(d) => Time {
            secs: d.as_secs() as i64,
            nanos: d.subsec_nanos(),
        },
        Err(_) => Time::default(),
    }
}

/// Seconds since some moment before the mount; only counts forward: `ktime_get` in the kernel. Does
/// not move under shuttle, where limits in seconds are tested by their numbers.
pub fn uptime() -> u64 {
    #[cfg(feature = "sim")]
    if crate::sim::is_virtual() {
        return crate::sim::nanos() / 1_000_000_000;
    }
    #[cfg(feature = "shuttle")]
    return 1;
    #[cfg(not(feature = "shuttle"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START
            .get_or_init(std::time::Instant::now)
            .elapsed()
            .as_secs()
            + 1
    }
}

/// 64 random bits: `get_random_u64`.
pub fn random_u64() -> u64 {
    #[cfg(feature = "sim")]
    if let Some(n) = crate::sim::random() {
        return n;
    }
    let mut b = [0; 8];
    // A host without an entropy source cannot run the tools at all.
    getrandom::fill(&mut b).expect("no entropy source");
    u64::from_le_bytes(b)
}
