// SPDX-License-Identifier: GPL-2.0

//! Buffer word and buffer cache.

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod cache;
#[cfg(feature = "loom")]
mod ordering;
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
mod races;
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
mod races_items;
#[cfg(feature = "shuttle")]
mod schedules;
#[cfg(unit_tests)]
mod word;
