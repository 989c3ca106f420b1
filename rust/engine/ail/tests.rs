// SPDX-License-Identifier: GPL-2.0

//! The AIL: its containers against a naive model, its states, its policy; and with real buffers and
//! inodes, under shuttle and on a disk that fails.

#[cfg(unit_tests)]
mod faults;
#[cfg(unit_tests)]
mod list;
#[cfg(unit_tests)]
mod policy;
#[cfg(feature = "shuttle")]
mod schedules;
#[cfg(unit_tests)]
mod state;
