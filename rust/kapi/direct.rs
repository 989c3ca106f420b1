// SPDX-License-Identifier: GPL-2.0

//! Direct I/O.
//!
//! C header: `include/linux/iomap.h` (`iomap_dio_rw`).
//!
//! No user memory is faulted in between a mapping and the submission of its I/O: the fault could
//! be on a page of the same file, and wait for what has been begun. A transfer that meets such
//! memory ends there; the caller faults it in and goes on, as btrfs and gfs2 do.

use super::assume;
use super::file::answer;
use super::file::count;
use super::file::Kiocb;
use super::fs::FileSystem;
use super::inode::Inode;
use super::inode::InodeLock;
use super::inode::InodeLockShared;
use super::iomap::begin;
use super::iomap::ops;
use super::iomap::Mapping;
use crate::bindings;
use crate::sys::witness::IolockExcl;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::prelude::*;

/// User memory that is faulted in at once.
const WINDOW: usize = 4 << 20;

/// What a direct write can put up with (`IOMAP_NOWAIT`, `IOMAP_OVERWRITE_ONLY`).
#[derive(Clone, Copy)]
pub struct WriteHow {
    /// EAGAIN rather than sleep.
    pub nowait: bool,
    /// EAGAIN unless all of it is written already.
    pub overwrite_only: bool,
}

/// Where direct I/O goes. Called without a folio lock, in a NOFS scope; may sleep unless `nowait`.
pub trait DirectOps: FileSystem {
    /// For a direct read: never delayed allocation.
    fn direct_read(inode: &Inode<Self>, pos: u64, len: u64, nowait: bool) -> Result<Mapping>;

    /// For a direct write: mapped or unwritten. `i_rwsem` is held, exclusively if there is a
    /// witness. ENOTBLK: the page cache has to do it.
    fn direct_write(
        inode: &Inode<Self>,
        lock: Option<&IolockExcl<'_>>,
        pos: u64,
        len: u64,
        how: WriteHow,
    ) -> Result<Mapping>;

    /// So much of that mapping was submitted. `new` is the mapping's.
    fn direct_write_end(inode: &Inode<Self>, pos: u64, len: u64, written: u64, new: bool);

    /// A direct write of which `size` bytes from `pos` were submitted has ended, with this error;
    /// `unwritten` if a mapping of it was. The page cache is dropped and the writer told after
    /// this. Interrupt context if none of it was unwritten, it ends inside of the file, and there
    /// is no error; else it may sleep.
    fn direct_write_done(
        inode: &Inode<Self>,
        pos: u64,
        size: u64,
        unwritten: bool,
        error: Option<Error>,
    ) -> Result;
}

/// Tables for `iomap_dio_rw`.
struct DirectTables<T>(PhantomData<T>);

impl<T: DirectOps> DirectTables<T> {
    const READ: bindings::iomap_ops = ops(read_begin::<T>, None);
    const WRITE_SHARED: bindings::iomap_ops = ops(write_begin::<T, false>, Some(write_end::<T>));
    const WRITE_EXCL: bindings::iomap_ops = ops(write_begin::<T, true>, Some(write_end::<T>));
    const DONE: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(end_io::<T>),
        // SAFETY: a table of pointers: all zeroes are `None` and NULL.
        ..unsafe { core::mem::zeroed() }
    };
}

impl<T: DirectOps> Kiocb<'_, T> {
    /// Reads around the page cache, until user memory has to be faulted in (EFAULT if there is
    /// nothing before it). `done` bytes were read by earlier calls; they are part of the result.
    pub fn read_direct(&mut self, _lock: &InodeLockShared<'_, T>, done: usize) -> Result<usize> {
        // SAFETY: the objects are valid, the table is static.
        count(unsafe { bindings::dio_read(self.iocb, self.iter, &DirectTables::<T>::READ, done) })
    }

    /// Writes aligned blocks inside of the file around the page cache, or with `overwrite_only`
    /// other things if there are blocks for all of them. As [`Self::read_direct`]. ENOTBLK: the
    /// page cache could not be dropped.
    pub fn write_direct_shared(
        &mut self,
        _lock: &InodeLockShared<'_, T>,
        overwrite_only: bool,
        done: usize,
    ) -> Result<usize> {
        let flags = if overwrite_only {
            bindings::IOMAP_DIO_OVERWRITE_ONLY
        } else {
            0
        };
        // SAFETY: the lock is held shared.
        unsafe { self.write_direct(&DirectTables::<T>::WRITE_SHARED, flags, done) }
    }

    /// Writes anything around the page cache. With `wait` no other direct I/O is in flight, and it
    /// waits for the end: needed where a part of a block, or the size, may change. As
    /// [`Self::write_direct_shared`].
    pub fn write_direct_excl(
        &mut self,
        _lock: &InodeLock<'_, T>,
        wait: bool,
        done: usize,
    ) -> Result<usize> {
        let flags = if wait {
            bindings::IOMAP_DIO_FORCE_WAIT
        } else {
            0
        };
        // SAFETY: the lock is held exclusively.
        unsafe { self.write_direct(&DirectTables::<T>::WRITE_EXCL, flags, done) }
    }

    /// # Safety
    ///
    /// `i_rwsem` is held as the table wants it.
    unsafe fn write_direct(
        &mut self,
        ops: &'static bindings::iomap_ops,
        flags: u32,
        done: usize,
    ) -> Result<usize> {
        let dops = &DirectTables::<T>::DONE;
        // SAFETY: the objects are valid, the tables are static.
        count(unsafe { bindings::dio_write(self.iocb, self.iter, ops, dops, flags, done) })
    }
}

impl<T: FileSystem> Kiocb<'_, T> {
    /// Brings the next user memory that a read wants to write to into memory. May sleep, and
    /// fault on files: no lock but `i_rwsem` may be held. Whether it did something is seen when
    /// the transfer is tried again.
    pub fn fault_in_writeable(&self) {
        let len = self.remaining().min(WINDOW);
        // SAFETY: the iterator is valid.
        unsafe { bindings::fault_in_iov_iter_writeable(self.iter, len) };
    }

    /// [`Self::fault_in_writeable`] for a write, which reads it.
    pub fn fault_in_readable(&self) {
        let len = self.remaining().min(WINDOW);
        // SAFETY: the iterator is valid.
        unsafe { bindings::fault_in_iov_iter_readable(self.iter, len) };
    }

    /// Reads what is left through the page cache, whatever the file is opened for; `done` bytes
    /// were read before and are part of the result.
    pub fn read_rest(&mut self, done: usize) -> Result<usize> {
        // SAFETY: the objects are valid. The count came from C, so it fits.
        count(unsafe { bindings::filemap_read(self.iocb, self.iter, done as isize) })
    }

    /// Ends a direct write whose rest went through the page cache: writes that to the device and
    /// drops the cache, so that both kinds of I/O see the same. Returns how much was written in
    /// all, `done` bytes of it directly.
    pub fn direct_fallback(&mut self, done: usize, rest: Result<usize>) -> Result<usize> {
        let rest = answer(rest);
        // SAFETY: the objects are valid. The count came from C, so it fits.
        count(unsafe { bindings::direct_write_fallback(self.iocb, self.iter, done as isize, rest) })
    }
}

unsafe extern "C" fn read_begin<T: DirectOps>(
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
            T::direct_read(inode, pos, len, nowait)
        })
    }
}

unsafe extern "C" fn write_begin<T: DirectOps, const EXCL: bool>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    let how = WriteHow {
        nowait: flags & bindings::IOMAP_NOWAIT != 0,
        overwrite_only: flags & bindings::IOMAP_OVERWRITE_ONLY != 0,
    };
    // SAFETY: these are the arguments of this callback, and this table is used under the lock
    // that `EXCL` says.
    unsafe {
        begin::<T>(inode, pos, len, iomap, |inode, pos, len| {
            if EXCL {
                let lock = assume::iolock_excl(inode);
                T::direct_write(inode, Some(&lock), pos, len, how)
            } else {
                T::direct_write(inode, None, pos, len, how)
            }
        })
    }
}

unsafe extern "C" fn write_end<T: DirectOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    written: isize,
    _flags: c_uint,
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
    T::direct_write_end(inode, pos as u64, len as u64, written, new);
    0
}

unsafe extern "C" fn end_io<T: DirectOps>(
    iocb: *mut bindings::kiocb,
    size: isize,
    error: c_int,
    flags: c_uint,
) -> c_int {
    from_result(|| {
        // SAFETY: iomap passes the request of a write to an open file of this file system; its
        // position is moved after this.
        let (inode, pos) = unsafe {
            let inode = bindings::file_inode((*iocb).ki_filp);
            (Inode::<T>::from_raw(inode), (*iocb).ki_pos as u64)
        };
        let size = u64::try_from(size).unwrap_or(0);
        let unwritten = flags & bindings::IOMAP_DIO_UNWRITTEN != 0;
        let failed = (error != 0).then(|| Error::from_errno(error));
        T::direct_write_done(inode, pos, size, unwritten, failed)?;
        match failed {
            Some(e) => Err(e),
            None => Ok(0),
        }
    })
}
