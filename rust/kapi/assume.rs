// SPDX-License-Identifier: GPL-2.0

//! The witnesses of the engine, made from C objects: the trusted surface between the C contracts
//! and the types of ring 1.
//!
//! Each function asserts in a debug kernel what its caller promises; nothing else in the module
//! makes witnesses.

use super::fs::FileSystem;
use super::inode::Inode;
use crate::bindings;
use crate::sys::witness::CleanRange;
use crate::sys::witness::InvalidateExcl;
use crate::sys::witness::IolockExcl;
use crate::sys::witness::LockedFolio;

/// `i_rwsem` of `inode` is held exclusively.
///
/// # Safety
///
/// It is, by this task, for as long as the witness lives.
pub(super) unsafe fn iolock_excl<T: FileSystem>(inode: &Inode<T>) -> IolockExcl<'_> {
    // SAFETY: the inode is valid.
    unsafe { bindings::assert_inode_locked_excl(inode.as_ptr()) };
    // SAFETY: by the contract of this function.
    unsafe { IolockExcl::assume(inode.ino()) }
}

/// The invalidate lock of `inode`'s mapping is held exclusively.
///
/// # Safety
///
/// It is, by this task, for as long as the witness lives.
pub(super) unsafe fn invalidate_excl<T: FileSystem>(inode: &Inode<T>) -> InvalidateExcl<'_> {
    // SAFETY: the inode is valid.
    unsafe { bindings::assert_invalidate_excl(inode.as_ptr()) };
    // SAFETY: by the contract of this function.
    unsafe { InvalidateExcl::assume(inode.ino()) }
}

/// `folio` of `inode` is locked.
///
/// # Safety
///
/// It is, by this task, for as long as the witness lives, and belongs to the inode's mapping.
pub(super) unsafe fn locked_folio<T: FileSystem>(
    inode: &Inode<T>,
    folio: *mut bindings::folio,
) -> LockedFolio<'_> {
    // SAFETY: the folio is valid by the contract; a locked folio's position and size are stable.
    let (pos, len) = unsafe {
        bindings::assert_folio_locked(folio);
        (bindings::folio_pos(folio), bindings::folio_size(folio))
    };
    // SAFETY: by the contract of this function. Positions of folios are not negative.
    unsafe { LockedFolio::assume(inode.ino(), pos as u64, len as u64) }
}

/// Bytes `start..end` of `inode` are clean in the page cache.
///
/// # Safety
///
/// `iomap_write_delalloc_release()` found them clean under the invalidate lock and is in its punch
/// callback.
pub(super) unsafe fn clean_range<T: FileSystem>(
    inode: &Inode<T>,
    start: u64,
    end: u64,
) -> CleanRange<'_> {
    // SAFETY: by the contract of this function.
    unsafe { CleanRange::assume(inode.ino(), start, end) }
}

/// The folio over `pos..pos + len` of `inode` is locked by the fault in progress.
///
/// # Safety
///
/// The caller is in the begin callback of `iomap_page_mkwrite()`, which holds the lock.
pub(super) unsafe fn faulting_folio<T: FileSystem>(
    inode: &Inode<T>,
    pos: u64,
    len: u64,
) -> LockedFolio<'_> {
    // SAFETY: by the contract of this function.
    unsafe { LockedFolio::assume(inode.ino(), pos, len) }
}
