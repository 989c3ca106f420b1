// SPDX-License-Identifier: GPL-2.0

//! Atomic words: std's, shuttle's or loom's.
//!
//! Ring 1 uses `new, load, store, swap, compare_exchange, compare_exchange_weak, fetch_add,
//! fetch_sub, fetch_or, fetch_and` with `Relaxed`, `Acquire`, `Release` and `AcqRel` only. The
//! kernel maps them on its own atomics (LKMM), never on `core::sync::atomic`.

#[cfg(feature = "loom")]
pub use loom::sync::atomic::{
    fence, AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
#[cfg(all(feature = "shuttle", not(feature = "loom")))]
pub use shuttle::sync::atomic::{
    fence, AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
pub use std::sync::atomic::{
    fence, AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
