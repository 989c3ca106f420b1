// SPDX-License-Identifier: GPL-2.0

//! The clock for timestamps, and random numbers.

use crate::bindings;

/// Seconds and nanoseconds since 1970; the nanoseconds always count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Seconds, negative before 1970.
    pub(crate) secs: i64,
    /// 0 to 999,999,999.
    pub(crate) nanos: u32,
}

/// The wall clock: `ktime_get_coarse_real_ts64`.
pub(crate) fn now() -> Time {
    let mut ts = bindings::timespec64::default();
    // SAFETY: `ts` is writable.
    unsafe { bindings::ktime_get_coarse_real_ts64(&mut ts) };
    Time {
        secs: ts.tv_sec,
        nanos: u32::try_from(ts.tv_nsec).unwrap_or(0),
    }
}

/// Seconds since some moment before the mount; only counts forward: `ktime_get`.
pub(crate) fn uptime() -> u64 {
    // SAFETY: No requirements.
    let nanos = unsafe { bindings::ktime_get() };
    u64::try_from(nanos).unwrap_or(0) / 1_000_000_000
}

/// 64 random bits: `get_random_u64`.
pub(crate) fn random_u64() -> u64 {
    // SAFETY: No requirements.
    unsafe { bindings::get_random_u64() }
}
