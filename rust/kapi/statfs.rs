// SPDX-License-Identifier: GPL-2.0

//! What statfs(2) reports.
//!
//! C header: `include/linux/statfs.h`.

use crate::bindings;

/// Counters of a file system. Blocks are of `block_size` bytes.
pub struct StatFs {
    /// Type, the same as the super block's magic.
    pub magic: u32,
    /// Bytes of a block (`f_bsize` and `f_frsize`).
    pub block_size: u32,
    /// Blocks of the file system that can hold data or metadata.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for unprivileged users.
    pub available: u64,
    /// Inodes, used and free.
    pub inodes: u64,
    /// Inodes that can still be made.
    pub free_inodes: u64,
    /// Longest name in bytes.
    pub name_len: u32,
    /// UUID, from which `f_fsid` is made.
    pub uuid: [u8; 16],
}

impl StatFs {
    /// Copies the counters into the C structure.
    ///
    /// # Safety
    ///
    /// `buf` is valid and owned by the caller.
    pub(super) unsafe fn fill(&self, buf: *mut bindings::kstatfs) {
        // SAFETY: by the contract of this function.
        unsafe {
            (*buf).f_type = self.magic as isize;
            (*buf).f_bsize = self.block_size as isize;
            (*buf).f_frsize = self.block_size as isize;
            (*buf).f_blocks = self.blocks;
            (*buf).f_bfree = self.free;
            (*buf).f_bavail = self.available;
            (*buf).f_files = self.inodes;
            (*buf).f_ffree = self.free_inodes;
            (*buf).f_namelen = self.name_len as isize;
            bindings::statfs_fsid(buf, self.uuid.as_ptr());
        }
    }
}
