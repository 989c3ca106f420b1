// SPDX-License-Identifier: GPL-2.0

//! The primitives underneath: std's, or shuttle's when the feature is on. With the feature `sim`
//! virtual threads have primitives of their own scheduler.

#[cfg(not(any(feature = "shuttle", feature = "sim")))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread, thread_local,
};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread, thread_local,
};

#[cfg(all(feature = "sim", not(feature = "shuttle")))]
pub(crate) use {
    crate::sim::prim::{
        thread, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    },
    std::thread_local,
};

/// Time of a clock that only moves forward.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn monotonic() -> std::time::Duration {
    #[cfg(feature = "sim")]
    if crate::sim::is_virtual() {
        return std::time::Duration::from_nanos(crate::sim::nanos());
    }
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// `Condvar::wait_timeout`, which has to look at the clock afterwards anyway.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn wait_timeout<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: std::time::Duration,
) -> MutexGuard<'a, T> {
    let (guard, _) = changed
        .wait_timeout(guard, timeout)
        .unwrap_or_else(|e| e.into_inner());
    guard
}

/// Locks a mutex; a panic of an earlier holder is reported there, not here again.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}
