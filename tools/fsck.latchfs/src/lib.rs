// SPDX-License-Identifier: GPL-2.0

//! fsck.latchfs as a library.
//!
//! [`check`] reads a file system and says what is wrong with it; it writes nothing. It trusts no
//! structure until the verifier of ring 0 - the one the kernel uses - has passed it, it never
//! visits a block twice as part of a tree, and its memory follows what is in use, so an image made
//! to harm it costs time in proportion to its size and nothing else. A file system that was not
//! unmounted cleanly is checked as it is after the log has been replayed: in memory by [`check`], on
//! the device by [`repair`].
//!
//! The order: log; superblock and copies; headers of the groups; inode maps and inode files; all inode
//! slots and the blocks they claim; all directories; reachability and link counts; bitmaps and
//! counts against what was found.

mod attrs;
mod check;
mod claims;
mod dirs;
mod groups;
mod inodes;
mod links;
mod maps;
mod path;
pub mod problem;
mod progress;
mod repair;
mod replay;
mod space;
mod superblock;
mod table;
mod walk;

pub use check::{check, check_device, Options, Report, Stats};
pub use problem::{FileId, Name, Problem};
pub use repair::{preen, repair, Failed, Outcome};
pub use superblock::{skip, Fatal};
