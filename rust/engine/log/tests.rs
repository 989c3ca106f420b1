// SPDX-License-Identifier: GPL-2.0

//! The log: its space, what is flushed when, what a crash leaves, who waits for whom.

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod crash;
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod discard;
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod force;
#[cfg(feature = "shuttle")]
mod schedules;
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod space;
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod tape;
