// SPDX-License-Identifier: GPL-2.0

//! fallocate(2), and swap files.
//!
//! C headers: `include/linux/falloc.h`, `include/linux/iomap.h`.

use super::file::File;
use super::fs::FileSystem;
use super::inode::Inode;
use super::iomap::IomapOps;
use super::iomap::IomapTables;
use super::pagemap::InvalidateLock;
use crate::bindings;
use crate::sys::witness::IolockExcl;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::ffi::c_long;
use kernel::prelude::*;

/// What fallocate(2) is to do (`FALLOC_FL_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Blocks for what has none. Unsharing, too: nothing is shared.
    Allocate,
    /// Zeroes.
    Zero,
    /// A hole.
    Punch,
    /// Takes the range out, what is behind it moves.
    Collapse,
    /// Puts a hole in, what is behind it moves.
    Insert,
}

/// fallocate(2) on regular files.
pub trait FallocOps: FileSystem {
    /// Bytes `pos..pos + len`, at least one; VFS has checked that they are in the largest file, and
    /// that the file may be written, is not immutable, and append-only only if nothing is changed.
    /// No lock is held; may sleep.
    fn fallocate(file: &File<Self>, mode: Mode, keep_size: bool, pos: u64, len: u64) -> Result;
}

impl<T: FileSystem> File<T> {
    /// Removes set-id bits and capabilities and updates the times, for a change of the content. The
    /// caller holds `i_rwsem` exclusively. May sleep.
    pub fn modified(&self) -> Result {
        // SAFETY: the file is open.
        to_result(unsafe { bindings::file_modified(self.as_ptr()) })
    }

    /// Whether changes made through it must be durable when they return.
    pub fn is_sync(&self) -> bool {
        // SAFETY: the file is open.
        let flags = unsafe { (*self.as_ptr()).f_flags };
        flags & bindings::O_DSYNC != 0 || self.inode().is_sync()
    }
}

impl<T: FileSystem> Inode<T> {
    /// Whether the caller may make the file `size` bytes long: EFBIG, with SIGXFSZ if it is the
    /// process's limit. The caller holds `i_rwsem` exclusively.
    pub fn newsize_ok(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: the inode is valid.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_ptr(), size) })
    }

    /// Whether the file is swapped to. Stable under `i_rwsem`.
    pub fn is_swapfile(&self) -> bool {
        self.flags() & bindings::S_SWAPFILE != 0
    }

    /// Removes whole pages of bytes `start..end` from the page cache and from page tables, and waits
    /// for their writeback. Dirty ones are dropped; of a large folio that stays the part is zeroed.
    pub fn truncate_pagecache_range(
        &self,
        _lock: &IolockExcl<'_>,
        _inval: &InvalidateLock<'_, T>,
        start: u64,
        end: u64,
    ) {
        let last = i64::try_from(end.saturating_sub(1)).unwrap_or(i64::MAX);
        // SAFETY: the inode is valid, the locks are held; positions are those of a file.
        unsafe { bindings::truncate_pagecache_range(self.as_ptr(), start as i64, last) };
    }
}

/// The mode of a call; EOPNOTSUPP for one that there is not.
fn decode(mode: u32) -> Result<Mode> {
    match mode & !bindings::FALLOC_FL_KEEP_SIZE {
        0 | bindings::FALLOC_FL_UNSHARE_RANGE => Ok(Mode::Allocate),
        bindings::FALLOC_FL_ZERO_RANGE => Ok(Mode::Zero),
        bindings::FALLOC_FL_PUNCH_HOLE => Ok(Mode::Punch),
        bindings::FALLOC_FL_COLLAPSE_RANGE => Ok(Mode::Collapse),
        bindings::FALLOC_FL_INSERT_RANGE => Ok(Mode::Insert),
        _ => Err(EOPNOTSUPP),
    }
}

pub(super) unsafe extern "C" fn fallocate<T: FallocOps>(
    file: *mut bindings::file,
    mode: c_int,
    offset: i64,
    len: i64,
) -> c_long {
    let done: c_int = from_result(|| {
        let mode = mode as u32;
        let keep_size = mode & bindings::FALLOC_FL_KEEP_SIZE != 0;
        let (pos, len) = (offset.max(0) as u64, len.max(0) as u64);
        // SAFETY: VFS passes an open file of this file system.
        let file = unsafe { File::<T>::from_raw(file) };
        T::fallocate(file, decode(mode)?, keep_size, pos, len)?;
        Ok(0)
    });
    done as c_long
}

pub(super) unsafe extern "C" fn swap_activate<T: IomapOps>(
    sis: *mut bindings::swap_info_struct,
    file: *mut bindings::file,
    span: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: VFS passes an open file of this file system with `i_rwsem` held, and objects of its
    // own. What has no blocks, or is not durable, is refused; unwritten extents are fine, since they
    // are not converted and nobody else writes to them.
    unsafe { bindings::iomap_swapfile_activate(sis, file, span, &IomapTables::<T>::REPORT) }
}
