// SPDX-License-Identifier: GPL-2.0

//! The log: what is committed reaches the disk here first, together or not at all.
//!
//! * [`item`]: what the log keeps in every object that can be logged.

pub mod item;
