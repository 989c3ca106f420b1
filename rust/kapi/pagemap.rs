// SPDX-License-Identifier: GPL-2.0

//! The page cache of a file.
//!
//! C headers: `include/linux/pagemap.h`, `include/linux/mm.h`.

use super::assume;
use super::fs::FileSystem;
use super::inode::Inode;
use super::iomap::IomapOps;
use super::iomap::IomapTables;
use super::writeback;
use super::writeback::WritebackOps;
use crate::bindings;
use crate::sys::witness::InvalidateExcl;
use crate::sys::witness::IolockExcl;
use crate::sys::NofsScope;
use core::marker::PhantomData;
use core::ptr;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::prelude::*;

/// What a file system needs for files in the page cache.
pub trait MappingOps: IomapOps + WritebackOps {}

impl<T: IomapOps + WritebackOps> MappingOps for T {}

/// `mapping->invalidate_lock` held exclusively: no folio comes into the page cache.
///
/// Order: after `i_rwsem`, before folio locks and everything of the engine.
pub struct InvalidateLock<'a, T: FileSystem>(&'a Inode<T>);

impl<'a, T: FileSystem> InvalidateLock<'a, T> {
    /// The proof for the engine.
    pub fn witness(&self) -> InvalidateExcl<'_> {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { assume::invalidate_excl(self.0) }
    }
}

impl<T: FileSystem> Drop for InvalidateLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::invalidate_unlock(self.0.as_ptr()) };
    }
}

impl<T: FileSystem> Inode<T> {
    /// Takes the invalidate lock of the inode's mapping exclusively. May sleep.
    pub fn invalidate_lock(&self) -> InvalidateLock<'_, T> {
        // SAFETY: the inode is valid; the guard unlocks.
        unsafe { bindings::invalidate_lock(self.as_ptr()) };
        InvalidateLock(self)
    }

    /// Waits for direct I/O in flight. The caller holds `i_rwsem`, so that no new one starts.
    pub fn dio_wait(&self) {
        // SAFETY: the inode is valid.
        unsafe { bindings::inode_dio_wait(self.as_ptr()) };
    }

    /// Writes the dirty folios of bytes `start..=last` and waits for them and for their
    /// completions. No folio, and no lock below level 3, may be held. Errors of earlier writeback
    /// are reported by fsync, not here.
    pub fn write_and_wait(&self, start: u64, last: u64) -> Result {
        // SAFETY: the inode is valid.
        to_result(unsafe {
            bindings::filemap_write_and_wait_range(
                (*self.as_ptr()).i_mapping,
                clamp(start),
                clamp(last),
            )
        })
    }

    /// Starts writeback of all dirty folios without waiting.
    pub fn flush(&self) -> Result {
        // SAFETY: the inode is valid.
        to_result(unsafe { bindings::filemap_flush((*self.as_ptr()).i_mapping) })
    }

    /// Sets the size and removes what is beyond it from the page cache and from page tables.
    /// Waits for writeback.
    pub fn truncate_setsize(
        &self,
        _lock: &IolockExcl<'_>,
        _inval: &InvalidateLock<'_, T>,
        size: u64,
    ) {
        // SAFETY: the inode is valid, the locks are held.
        unsafe { bindings::truncate_setsize(self.as_ptr(), clamp(size)) };
    }

    /// Tells the page tables and the last folio that a write moved the size from `from` to `to`.
    pub fn pagecache_isize_extended(&self, from: u64, to: u64) {
        // SAFETY: the inode is valid.
        unsafe { bindings::pagecache_isize_extended(self.as_ptr(), clamp(from), clamp(to)) };
    }
}

impl<T: IomapOps> Inode<T> {
    /// Zeroes bytes `pos..pos + len` in the page cache, where there is data or dirty cache.
    pub fn zero_range(
        &self,
        _lock: &IolockExcl<'_>,
        _inval: &InvalidateLock<'_, T>,
        pos: u64,
        len: u64,
    ) -> Result {
        // SAFETY: the inode is valid, the locks are held; the tables are static.
        to_result(unsafe {
            bindings::iomap_zero_range(
                self.as_ptr(),
                clamp(pos),
                clamp(len),
                ptr::null_mut(),
                &IomapTables::<T>::ZERO,
                &IomapTables::<T>::CHECK,
                ptr::null_mut(),
            )
        })
    }
}

/// A byte position for C, which has no positions beyond `i64::MAX`.
fn clamp(pos: u64) -> i64 {
    i64::try_from(pos).unwrap_or(i64::MAX)
}

struct MappingTable<T>(PhantomData<T>);

impl<T: MappingOps> MappingTable<T> {
    const TABLE: bindings::address_space_operations = bindings::address_space_operations {
        read_folio: Some(read_folio::<T>),
        readahead: Some(readahead::<T>),
        writepages: Some(writeback::writepages::<T>),
        dirty_folio: Some(bindings::iomap_dirty_folio),
        release_folio: Some(bindings::iomap_release_folio),
        invalidate_folio: Some(bindings::iomap_invalidate_folio),
        is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
        #[cfg(CONFIG_MIGRATION)]
        migrate_folio: Some(bindings::filemap_migrate_folio),
        error_remove_folio: Some(bindings::generic_error_remove_folio),
        bmap: Some(bmap::<T>),
        #[cfg(CONFIG_SWAP)]
        swap_activate: Some(super::fallocate::swap_activate::<T>),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };
}

pub(super) fn table<T: MappingOps>() -> *const bindings::address_space_operations {
    &MappingTable::<T>::TABLE
}

unsafe extern "C" fn read_folio<T: IomapOps>(
    _file: *mut bindings::file,
    folio: *mut bindings::folio,
) -> c_int {
    let _nofs = NofsScope::enter();
    // SAFETY: VFS passes a locked folio of an inode of this file system.
    unsafe { bindings::iomap_bio_read_folio(folio, &IomapTables::<T>::READ) };
    0
}

unsafe extern "C" fn readahead<T: IomapOps>(rac: *mut bindings::readahead_control) {
    let _nofs = NofsScope::enter();
    // SAFETY: VFS passes locked folios of an inode of this file system.
    unsafe { bindings::iomap_bio_readahead(rac, &IomapTables::<T>::READ) };
}

unsafe extern "C" fn bmap<T: IomapOps>(
    mapping: *mut bindings::address_space,
    block: bindings::sector_t,
) -> bindings::sector_t {
    // SAFETY: VFS passes the mapping of an inode of this file system.
    unsafe { bindings::iomap_bmap(mapping, block, &IomapTables::<T>::REPORT) }
}
