// SPDX-License-Identifier: GPL-2.0

//! The crash simulator.
//!
//! The engine - the very source of the module - runs with many users over a simulated disk
//! ([`disk`]), scheduled from a seed ([`latchfs_host::sim`]). The disk records what was asked of it
//! ([`trace`]); afterwards, disks are made as a power cut at some moment can have left them
//! ([`crash`]): of everything that was not flushed, each sector may or may not be there. Each of them
//! is recovered, compared with what was promised ([`model`], [`check`]), and checked by fsck. Power
//! fails during recovery, too.
//!
//! Besides random runs ([`run`]) there are all short ones ([`ace`]): each sequence of up to three
//! operations out of a small set, with a crash at each event.

pub mod ace;
pub mod check;
pub mod crash;
pub mod disk;
pub mod image;
pub mod model;
#[cfg(feature = "races")]
pub mod mutants;
pub mod run;
pub mod trace;
pub mod workload;
pub mod world;
