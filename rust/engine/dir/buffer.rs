// SPDX-License-Identifier: GPL-2.0

//! Copies of directory entries, on their way from the locked directory to the reader.
//!
//! `dir_emit` copies to user memory, which may fault, and the fault may need a transaction on this
//! very file system. So nothing is emitted under the ILOCK: entries are copied here, the lock is
//! dropped, then they are emitted. One buffer belongs to an open directory.

use crate::engine::error::Result;
use crate::format::dirent::{
    entries,
    Dirent, //
};
use crate::sys;

/// At most 4 KiB of entries: 15 of the longest names, some 150 usual ones.
pub struct EntryBuf {
    bytes: sys::Block,
    used: usize,
}

impl EntryBuf {
    /// An empty buffer. `ENOMEM`. May sleep.
    pub fn try_new() -> Result<Self> {
        Ok(Self {
            bytes: sys::Block::try_zeroed()?,
            used: 0,
        })
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Whether there are no entries: the end of the directory after a read.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Copies an entry; false if there is no room for it.
    pub fn push(&mut self, entry: &Dirent<'_>) -> bool {
        let Some(room) = self.bytes.get_mut(self.used..) else {
            return false;
        };
        match entry.encode(room) {
            Some(len) => {
                self.used += len;
                true
            }
            None => false,
        }
    }

    /// The entries, in key order.
    pub fn iter(&self) -> impl Iterator<Item = Dirent<'_>> {
        entries(self.bytes.get(..self.used).unwrap_or(&[]))
    }
}
