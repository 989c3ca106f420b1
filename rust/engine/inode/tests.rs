// SPDX-License-Identifier: GPL-2.0

//! The inode object: its parts by themselves, and all of them under shuttle.

#[cfg(unit_tests)]
mod parts;
#[cfg(feature = "shuttle")]
mod schedules;
