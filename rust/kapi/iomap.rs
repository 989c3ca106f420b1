// SPDX-License-Identifier: GPL-2.0

//! iomap: the file system answers where bytes of a file are, iomap does the I/O.
//!
//! C header: `include/linux/iomap.h`. The text of each callback says which locks are held.

use super::assume;
use super::fs::FileSystem;
use super::inode::Inode;
use crate::bindings;
use crate::sys::witness::CleanRange;
use crate::sys::witness::InvalidateExcl;
use crate::sys::witness::LockedFolio;
use crate::sys::NofsScope;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::prelude::*;

/// What a range of a file is (`IOMAP_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MappingKind {
    /// Nothing.
    Hole,
    /// Space is reserved, blocks are chosen by writeback.
    Delayed,
    /// Blocks with data.
    Mapped,
    /// Blocks that read as zeroes.
    Unwritten,
}

/// A mapping that is handed to iomap. Units are bytes.
pub struct Mapping {
    /// What it is.
    pub kind: MappingKind,
    /// Address on the device; of no meaning for holes and delayed allocation.
    pub addr: u64,
    /// First byte of the file.
    pub offset: u64,
    /// Length.
    pub len: u64,
    /// Made by this call: iomap zeroes what is not written.
    pub new: bool,
    /// The inode has changes that O_DSYNC must make durable first (rules M7).
    pub dirty: bool,
    /// Value of the inode's sequence this is valid for.
    pub seq: u64,
}

/// Where the bytes of files are. Bytes as `u64`; VFS checked that the range is legal.
///
/// All may sleep unless they say otherwise, and none may leave a lock of the file system held.
pub trait IomapOps: FileSystem {
    /// For reading into the page cache. The folio is locked.
    fn read(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Mapping>;

    /// For SEEK_HOLE, SEEK_DATA and FIEMAP.
    fn report(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Mapping>;

    /// For a buffered write. `i_rwsem` is held exclusively.
    fn write_begin(inode: &Inode<Self>, pos: u64, len: u64, nowait: bool) -> Result<Mapping>;

    /// After a buffered write of `written` bytes. The range it returns may have to be taken back:
    /// [`IomapOps::punch`] is called for those parts that are not dirty.
    fn write_end(
        inode: &Inode<Self>,
        pos: u64,
        len: u64,
        written: u64,
        new: bool,
    ) -> Option<(u64, u64)>;

    /// Takes back delayed allocation that no dirty data covers. A folio may be locked.
    fn punch(inode: &Inode<Self>, lock: &InvalidateExcl<'_>, range: &CleanRange<'_>);

    /// For zeroing a part of a block. `i_rwsem` and the invalidate lock are held exclusively.
    fn zero_begin(inode: &Inode<Self>, pos: u64, len: u64) -> Result<Mapping>;

    /// For a write fault.
    fn mkwrite(inode: &Inode<Self>, folio: &LockedFolio<'_>, pos: u64, len: u64)
        -> Result<Mapping>;

    /// The value of the inode's sequence. Does not sleep.
    fn cookie(inode: &Inode<Self>) -> u64;
}

/// Fills C's form of a mapping.
pub(super) fn fill<T: FileSystem>(
    inode: &Inode<T>,
    iomap: &mut bindings::iomap,
    mapping: &Mapping,
) {
    let (kind, placed) = match mapping.kind {
        MappingKind::Hole => (bindings::IOMAP_HOLE, false),
        MappingKind::Delayed => (bindings::IOMAP_DELALLOC, false),
        MappingKind::Mapped => (bindings::IOMAP_MAPPED, true),
        MappingKind::Unwritten => (bindings::IOMAP_UNWRITTEN, true),
    };
    let mut flags = 0;
    if mapping.new {
        flags |= bindings::IOMAP_F_NEW;
    }
    if mapping.dirty {
        flags |= bindings::IOMAP_F_DIRTY;
    }
    iomap.type_ = kind as u16;
    iomap.flags = flags as u16;
    iomap.addr = if placed { mapping.addr } else { u64::MAX };
    iomap.offset = mapping.offset as i64;
    iomap.length = mapping.len;
    // SAFETY: the super block of a live inode has its device.
    iomap.bdev = unsafe { (*inode.sb().as_ptr()).s_bdev };
    iomap.validity_cookie = mapping.seq;
}

/// The tables of `begin` and `end` for each purpose.
pub(super) struct IomapTables<T>(PhantomData<T>);

impl<T: IomapOps> IomapTables<T> {
    pub(super) const READ: bindings::iomap_ops = ops(read_begin::<T>, None);
    pub(super) const REPORT: bindings::iomap_ops = ops(report_begin::<T>, None);
    pub(super) const WRITE: bindings::iomap_ops = ops(write_begin::<T>, Some(write_end::<T>));
    pub(super) const ZERO: bindings::iomap_ops = ops(zero_begin::<T>, None);
    pub(super) const MKWRITE: bindings::iomap_ops = ops(mkwrite_begin::<T>, None);

    pub(super) const CHECK: bindings::iomap_write_ops = bindings::iomap_write_ops {
        iomap_valid: Some(valid::<T>),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };
}

type Begin = unsafe extern "C" fn(
    *mut bindings::inode,
    i64,
    i64,
    c_uint,
    *mut bindings::iomap,
    *mut bindings::iomap,
) -> c_int;

pub(super) const fn ops(begin: Begin, end: bindings::iomap_iter_end_fn) -> bindings::iomap_ops {
    bindings::iomap_ops {
        iomap_begin: Some(begin),
        iomap_end: end,
        iomap_next: None,
    }
}

/// The common body of the begin callbacks: runs `map` in a NOFS scope (a folio may be locked) and
/// fills `iomap`.
///
/// # Safety
///
/// The arguments are those of a begin callback.
pub(super) unsafe fn begin<T: FileSystem>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    iomap: *mut bindings::iomap,
    map: impl FnOnce(&Inode<T>, u64, u64) -> Result<Mapping>,
) -> c_int {
    from_result(|| {
        let _nofs = NofsScope::enter();
        // SAFETY: iomap passes an inode of this file system and a structure of its own. Positions
        // and lengths are not negative.
        unsafe {
            let inode = Inode::from_raw(inode);
            let mapping = map(inode, pos as u64, len as u64)?;
            fill(inode, &mut *iomap, &mapping);
        }
        Ok(0)
    })
}

unsafe extern "C" fn read_begin<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: these are the arguments of this callback.
    unsafe { begin(inode, pos, len, iomap, T::read) }
}

unsafe extern "C" fn report_begin<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: these are the arguments of this callback.
    unsafe { begin(inode, pos, len, iomap, T::report) }
}

unsafe extern "C" fn write_begin<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    let nowait = flags & bindings::IOMAP_NOWAIT != 0;
    // SAFETY: these are the arguments of this callback.
    unsafe {
        begin::<T>(inode, pos, len, iomap, |inode, pos, len| {
            T::write_begin(inode, pos, len, nowait)
        })
    }
}

unsafe extern "C" fn zero_begin<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: these are the arguments of this callback.
    unsafe { begin(inode, pos, len, iomap, T::zero_begin) }
}

unsafe extern "C" fn mkwrite_begin<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: these are the arguments of this callback; iomap_page_mkwrite() holds the lock of
    // the folio that the range is part of.
    unsafe {
        begin::<T>(inode, pos, len, iomap, |inode, pos, len| {
            let folio = assume::faulting_folio(inode, pos, len);
            T::mkwrite(inode, &folio, pos, len)
        })
    }
}

unsafe extern "C" fn valid<T: IomapOps>(
    inode: *mut bindings::inode,
    iomap: *const bindings::iomap,
) -> bool {
    // SAFETY: iomap passes an inode of this file system and its mapping.
    let same = unsafe { T::cookie(Inode::from_raw(inode)) == (*iomap).validity_cookie };
    same || crate::sys::mutant!(Seed004Valid)
}

unsafe extern "C" fn write_end<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    written: isize,
    flags: c_uint,
    iomap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes an inode of this file system and the mapping of its begin.
    let (inode, new) = unsafe {
        (
            Inode::<T>::from_raw(inode),
            u32::from((*iomap).flags) & bindings::IOMAP_F_NEW != 0,
        )
    };
    let written = u64::try_from(written).unwrap_or(0);
    if let Some((start, end)) = T::write_end(inode, pos as u64, len as u64, written, new) {
        let _lock = inode.invalidate_lock();
        // SAFETY: the objects are valid, the invalidate lock is held exclusively, no folio is
        // locked. The callback runs in this task.
        unsafe {
            bindings::iomap_write_delalloc_release(
                inode.as_ptr(),
                start as i64,
                end as i64,
                flags,
                iomap,
                Some(punch::<T>),
            );
        }
    }
    0
}

/// Seed 004: the scan for what is clean and the punch are under one lock, but not under one hold.
///
/// # Safety
///
/// The caller holds the invalidate lock exclusively, no folio is locked.
#[cfg(latchfs_races)]
unsafe fn in_two_steps<T: FileSystem>(inode: &Inode<T>) {
    // SAFETY: by the contract of this function; the caller finds the lock held again.
    unsafe {
        bindings::invalidate_unlock(inode.as_ptr());
        crate::sys::sync_point!("wend.before_punch", inode.ino());
        bindings::invalidate_lock(inode.as_ptr());
    }
}

unsafe extern "C" fn punch<T: IomapOps>(
    inode: *mut bindings::inode,
    offset: i64,
    length: i64,
    _iomap: *mut bindings::iomap,
) {
    // SAFETY: called by iomap_write_delalloc_release() only, under the invalidate lock that
    // write_end() took, for a range it found clean.
    unsafe {
        let inode = Inode::<T>::from_raw(inode);
        crate::sys::mutant!(Seed004 => in_two_steps(inode));
        let (start, end) = (offset as u64, (offset as u64).saturating_add(length as u64));
        let lock = assume::invalidate_excl(inode);
        T::punch(inode, &lock, &assume::clean_range(inode, start, end));
    }
}

pub(super) unsafe extern "C" fn fiemap<T: IomapOps>(
    inode: *mut bindings::inode,
    info: *mut bindings::fiemap_extent_info,
    start: u64,
    len: u64,
) -> c_int {
    // SAFETY: VFS passes an inode of this file system. iomap writes to user memory between the
    // callbacks, when no lock of the file system is held.
    unsafe {
        let inode = Inode::<T>::from_raw(inode);
        let _lock = inode.lock_shared();
        bindings::iomap_fiemap(inode.as_ptr(), info, start, len, &IomapTables::<T>::REPORT)
    }
}
