// SPDX-License-Identifier: GPL-2.0

//! The AIL: its containers against a naive model, its states, its policy; and with real buffers and
//! inodes, under shuttle and on a disk that fails.

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod faults;
mod list;
mod policy;
#[cfg(feature = "shuttle")]
mod schedules;
mod state;
