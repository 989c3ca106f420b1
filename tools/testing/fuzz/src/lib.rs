// SPDX-License-Identifier: GPL-2.0

//! Hostile images.
//!
//! A [`Base`] is a sound image, taken apart: which block is what. [`mutate`] makes a damaged one from
//! a number, so that the number is all that is needed to see a failure again; most have their
//! checksums repaired, since an image whose checksums are wrong is refused at the door. [`exercise`]
//! does with it what users do: check, repair, mount, list, read, change, unmount. Nothing may panic,
//! and everything ends: a [`Disk`] that is read more often than any honest use would says so.

mod base;
mod disk;
mod exercise;
mod mutate;
mod rng;

pub use base::{Base, Kind};
pub use disk::Disk;
pub use exercise::{exercise, Tally};
pub use mutate::{mutate, Patch};
pub use rng::Rng;
