// SPDX-License-Identifier: GPL-2.0

//! Crash tests: a load that can be told afterwards what must be there.
//!
//! Each worker of the load has a directory of its own and does operations that follow from a seed
//! alone ([`model`]). After each fsync or sync that returned, it acknowledges how many operations it
//! has done: in the write log of dm-log-writes, in a file, on the console. After the crash the same
//! operations are made again on paper ([`history`]) and compared with what is there ([`verify`]):
//!
//! * names, modes, link counts, targets: those after some number of operations, not fewer than are
//!   promised by what was acknowledged (a sync promises everything before it, an fsync everything up
//!   to the last change of its inode) and not more than can have been done. So what was not synced
//!   is there in the order in which it was done, or not at all.
//! * content: every write carries its file, its operation and its place in each 16 bytes. What was
//!   synced is there to the byte; where something was written later it may be the one or the other;
//!   nothing of another file, and nothing that was never written there.

pub mod dmlog;
pub mod history;
pub mod load;
pub mod model;
pub mod tree;
pub mod verify;

#[cfg(test)]
mod tests;
