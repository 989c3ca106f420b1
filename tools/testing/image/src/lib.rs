// SPDX-License-Identifier: GPL-2.0

//! Images of latchfs built block by block from the types of ring 0, without the engine.
//!
//! Two uses. Tests of fsck want one defect and nothing else: [`Builder`] makes a sound file system
//! of any shape (trees of any depth, many groups, hash collisions), [`Image`] changes one field of it
//! and repairs the checksum. And the golden image is a second opinion: what this writes, the engine
//! must read.
//!
//! Everything but [`crash()`] is deterministic: the same calls give the same bytes. Panics when misused; only tests
//! use it.

mod attrs;
mod builder;
mod crash;
mod edit;
mod place;
mod sample;

pub use builder::{Builder, Content};
pub use crash::{copy, crash};
pub use edit::Image;
pub use sample::{sample, Sample};
