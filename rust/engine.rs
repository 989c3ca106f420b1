// SPDX-License-Identifier: GPL-2.0

//! Ring 1: the file system proper.
//!
//! From the bottom up: [`buf`] caches metadata blocks, [`alloc`] knows which blocks are free,
//! [`txn`] changes both, [`log`] makes the changes durable, [`mount`] owns everything.

pub mod ag;
pub mod ail;
pub mod alloc;
pub mod btree;
pub mod buf;
pub mod dir;
pub mod error;
pub mod extents;
pub mod faults;
pub mod file;
pub mod fork;
pub mod health;
pub mod ialloc;
pub mod inode;
pub mod locks;
pub mod log;
pub mod mount;
pub mod namespace;
pub mod recovery;
pub mod sort;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod txn;
pub mod xattr;

pub use error::{Error, Result};
pub use mount::Mount;
