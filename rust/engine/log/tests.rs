// SPDX-License-Identifier: GPL-2.0

//! The log: its space, what is flushed when, what a crash leaves, who waits for whom.

#[cfg(unit_tests)]
mod crash;
#[cfg(unit_tests)]
mod discard;
#[cfg(unit_tests)]
mod force;
#[cfg(feature = "shuttle")]
mod schedules;
#[cfg(unit_tests)]
mod space;
#[cfg(unit_tests)]
mod tape;
