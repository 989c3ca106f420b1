// SPDX-License-Identifier: GPL-2.0

//! Open files and directories.
//!
//! C header: `include/linux/fs.h` (`struct file_operations`, `struct kiocb`).

use super::fs::FileSystem;
use super::inode::Inode;
use super::inode::Inodes;
use super::iomap::IomapOps;
use super::iomap::IomapTables;
use crate::bindings;
use core::marker::PhantomData;
use core::ptr;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::prelude::*;

/// Operations on open files. No lock is held but where said; all may sleep.
pub trait FileOps: FileSystem {
    /// read(2) and everything like it. The number of bytes read.
    fn read(io: &mut Kiocb<'_, Self>) -> Result<usize>;

    /// write(2) and everything like it. The number of bytes written.
    fn write(io: &mut Kiocb<'_, Self>) -> Result<usize>;

    /// Makes bytes `start..=last` of a file durable, and of metadata what is needed to find them
    /// (`datasync`) or everything. Also for directories.
    fn fsync(file: &File<Self>, start: u64, last: u64, datasync: bool) -> Result;

    /// A file is opened; `writer` if it can be written through. [`FileOps::release`] follows.
    fn opened(inode: &Inode<Self>, writer: bool);

    /// An open file is closed for the last time; `writer` if it could be written through.
    fn release(inode: &Inode<Self>, writer: bool);

    /// Emits entries from the context's position on. `i_rwsem` is held shared.
    fn readdir(dir: &Inode<Self>, ctx: &mut DirContext) -> Result;

    /// Whether I/O on the file system is pointless.
    fn is_shutdown(inode: &Inode<Self>) -> bool;
}

/// An open `struct file`.
#[repr(transparent)]
pub struct File<T: FileSystem>(kernel::types::Opaque<bindings::file>, PhantomData<T>);

impl<T: FileSystem> File<T> {
    /// The wrapper of a C object.
    ///
    /// # Safety
    ///
    /// `ptr` is a file of file system `T`, open for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::file) -> &'a Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The inode.
    pub fn inode(&self) -> &Inode<T> {
        // SAFETY: an open file holds its inode.
        unsafe { Inode::from_raw(bindings::file_inode(self.0.get())) }
    }

    /// Writes the dirty folios of bytes `start..=last`, waits, and reports a writeback error that
    /// this file has not seen yet: the only channel of such errors (rules M17).
    pub fn write_and_wait(&self, start: u64, last: u64) -> Result {
        let (start, last) = (to_loff(start), to_loff(last));
        // SAFETY: the file is open.
        to_result(unsafe { bindings::file_write_and_wait_range(self.0.get(), start, last) })
    }
}

/// A byte position for C, which has no positions beyond `i64::MAX`.
fn to_loff(pos: u64) -> i64 {
    i64::try_from(pos).unwrap_or(i64::MAX)
}

/// The result of a C function that returns a count or a negative errno.
pub(super) fn count(ret: isize) -> Result<usize> {
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as c_int))
}

/// The answer of a callback that returns a count or a negative errno.
pub(super) fn answer(result: Result<usize>) -> isize {
    match result {
        Ok(n) => n as isize,
        Err(e) => e.to_errno() as isize,
    }
}

/// A read or write in progress.
pub struct Kiocb<'a, T: FileSystem> {
    pub(super) iocb: *mut bindings::kiocb,
    pub(super) iter: *mut bindings::iov_iter,
    file: &'a File<T>,
}

impl<'a, T: FileSystem> Kiocb<'a, T> {
    /// The wrapper of the arguments of read_iter and write_iter.
    ///
    /// # Safety
    ///
    /// They are, and the file is of file system `T`.
    unsafe fn from_raw(iocb: *mut bindings::kiocb, iter: *mut bindings::iov_iter) -> Self {
        Self {
            iocb,
            iter,
            // SAFETY: by the contract of this function.
            file: unsafe { File::from_raw((*iocb).ki_filp) },
        }
    }

    /// The inode.
    pub fn inode(&self) -> &'a Inode<T> {
        self.file.inode()
    }

    fn flag(&self, flag: u32) -> bool {
        // SAFETY: the object is valid.
        unsafe { (*self.iocb).ki_flags as u32 & flag != 0 }
    }

    /// Whether this is direct I/O.
    pub fn direct(&self) -> bool {
        self.flag(bindings::IOCB_DIRECT)
    }

    /// Whether the caller wants EAGAIN rather than to sleep.
    pub fn nowait(&self) -> bool {
        self.flag(bindings::IOCB_NOWAIT)
    }

    /// Whether the write goes to the end of the file, wherever that is when it is locked.
    pub fn append(&self) -> bool {
        self.flag(bindings::IOCB_APPEND)
    }

    /// Position in the file.
    pub fn pos(&self) -> u64 {
        // SAFETY: the object is valid; VFS refuses negative positions.
        unsafe { (*self.iocb).ki_pos as u64 }
    }

    /// Bytes that are left to transfer.
    pub fn remaining(&self) -> usize {
        // SAFETY: the object is valid.
        unsafe { bindings::iov_iter_count(self.iter) }
    }

    /// Updates the access time.
    pub fn accessed(&self) {
        // SAFETY: the file is open.
        unsafe { bindings::file_accessed(self.file.0.get()) };
    }

    /// Reads through the page cache.
    pub fn read_cached(&mut self) -> Result<usize> {
        // SAFETY: the objects are valid.
        count(unsafe { bindings::generic_file_read_iter(self.iocb, self.iter) })
    }

    /// Checks limits and permissions of a write and cuts it to what is allowed. The caller holds
    /// `i_rwsem` exclusively. The number of bytes to write, 0 for none.
    pub fn write_checks(&mut self) -> Result<usize> {
        // SAFETY: the objects are valid.
        count(unsafe { bindings::generic_write_checks(self.iocb, self.iter) })
    }

    /// Removes set-id bits and capabilities and updates the times. The caller holds `i_rwsem`
    /// exclusively.
    pub fn modified(&mut self) -> Result {
        // SAFETY: the object is valid.
        to_result(unsafe { bindings::kiocb_modified(self.iocb) })
    }

    /// O_SYNC and O_DSYNC after a write of `n` bytes. No lock is held.
    pub fn write_sync(&mut self, n: usize) -> Result<usize> {
        // SAFETY: the object is valid. The count came from C, so it fits.
        count(unsafe { bindings::generic_write_sync(self.iocb, n as isize) })
    }
}

impl<T: IomapOps> Kiocb<'_, T> {
    /// Writes into the page cache. The caller holds `i_rwsem` exclusively.
    pub fn write_cached(&mut self) -> Result<usize> {
        // SAFETY: the objects are valid, the tables are static.
        count(unsafe {
            bindings::iomap_file_buffered_write(
                self.iocb,
                self.iter,
                &IomapTables::<T>::WRITE,
                &IomapTables::<T>::CHECK,
                ptr::null_mut(),
            )
        })
    }
}

/// Where readdir puts its entries.
///
/// The position is that of the next entry: 0 and 1 are `.` and `..`, everything else is a cookie
/// of the file system. It is what the *previous* entry reports as its `d_off`.
pub struct DirContext {
    ctx: *mut bindings::dir_context,
    file: *mut bindings::file,
    short: bool,
}

impl DirContext {
    /// The position.
    pub fn pos(&self) -> u64 {
        // SAFETY: the context is valid; VFS refuses negative positions.
        unsafe { (*self.ctx).pos as u64 }
    }

    /// Moves to a position.
    pub fn set_pos(&mut self, pos: u64) {
        // SAFETY: the context is valid.
        unsafe { (*self.ctx).pos = to_loff(pos) };
    }

    /// Whether the caller has positions of 32 bits: NFSv2, 32-bit programs.
    pub fn short(&self) -> bool {
        self.short
    }

    /// The number that [`Self::remember`] put into the open directory, 0 if none did or if lseek(2)
    /// moved since.
    pub fn remembered(&self) -> u64 {
        // SAFETY: the directory is open; its position lock, which readdir(3) and lseek(2) hold,
        // protects the field. CAST: it holds a number.
        unsafe { (*self.file).private_data as u64 }
    }

    /// Keeps a number in the open directory, for short positions (64-bit kernels only).
    pub fn remember(&mut self, number: u64) {
        // SAFETY: as for remembered().
        unsafe { (*self.file).private_data = number as usize as *mut _ };
    }

    /// Emits `.` and `..` if the position is before them. False if the buffer is full.
    ///
    /// Writes to user memory: no lock of the file system may be held.
    pub fn emit_dots(&mut self) -> bool {
        // SAFETY: file and context are those of the call.
        unsafe { bindings::dir_emit_dots(self.file, self.ctx) }
    }

    /// Emits the entry at the position. `kind` is a `DT_*`. False if the buffer is full.
    ///
    /// Writes to user memory: no lock of the file system may be held.
    pub fn emit(&mut self, name: &[u8], ino: u64, kind: u8) -> bool {
        let (ptr, len) = (name.as_ptr().cast(), name.len() as c_int);
        // SAFETY: the context is valid, names have at most 255 bytes.
        unsafe { bindings::dir_emit(self.ctx, ptr, len, ino, c_uint::from(kind)) }
    }
}

struct FileTables<T>(PhantomData<T>);

impl<T: Inodes> FileTables<T> {
    const FILE: bindings::file_operations = bindings::file_operations {
        llseek: Some(llseek::<T>),
        read_iter: Some(read_iter::<T>),
        write_iter: Some(write_iter::<T>),
        splice_read: Some(splice_read::<T>),
        splice_write: Some(bindings::iter_file_splice_write),
        mmap_prepare: Some(mmap_prepare::<T>),
        open: Some(open::<T>),
        release: Some(release::<T>),
        fallocate: Some(super::fallocate::fallocate::<T>),
        unlocked_ioctl: Some(super::ioctl::ioctl::<T>),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(bindings::compat_ptr_ioctl),
        fsync: Some(fsync::<T>),
        #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        setlease: Some(bindings::generic_setlease),
        fop_flags: bindings::FOP_BUFFER_RASYNC
            | bindings::FOP_BUFFER_WASYNC
            | bindings::FOP_DONTCACHE,
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };

    const DIR: bindings::file_operations = bindings::file_operations {
        llseek: Some(dir_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(iterate::<T>),
        unlocked_ioctl: Some(super::ioctl::ioctl::<T>),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(bindings::compat_ptr_ioctl),
        fsync: Some(fsync::<T>),
        setlease: Some(bindings::generic_setlease),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };

    const VM: bindings::vm_operations_struct = bindings::vm_operations_struct {
        #[cfg(not(latchfs_races))]
        fault: Some(bindings::filemap_fault),
        #[cfg(latchfs_races)]
        fault: Some(fault::<T>),
        map_pages: Some(bindings::filemap_map_pages),
        page_mkwrite: Some(page_mkwrite::<T>),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };
}

pub(super) fn file_table<T: Inodes>() -> *const bindings::file_operations {
    &FileTables::<T>::FILE
}

pub(super) fn dir_table<T: Inodes>() -> *const bindings::file_operations {
    &FileTables::<T>::DIR
}

unsafe extern "C" fn open<T: FileOps>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS passes an inode of this file system and a file that is being opened.
        unsafe {
            if T::is_shutdown(Inode::from_raw(inode)) {
                return Err(EIO);
            }
            bindings::file_set_mode(file, bindings::FMODE_CAN_ODIRECT | bindings::FMODE_NOWAIT);
            to_result(bindings::generic_file_open(inode, file))?;
            let writer = bindings::file_mode(file) & bindings::FMODE_WRITE != 0;
            T::opened(Inode::from_raw(inode), writer);
        }
        Ok(0)
    })
}

unsafe extern "C" fn release<T: FileOps>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: VFS passes a file of this file system that is being closed, and its inode.
    unsafe {
        let writer = bindings::file_mode(file) & bindings::FMODE_WRITE != 0;
        T::release(Inode::from_raw(inode), writer);
    }
    0
}

unsafe extern "C" fn read_iter<T: FileOps>(
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: VFS passes the arguments of this callback.
    let mut io = unsafe { Kiocb::<T>::from_raw(iocb, iter) };
    answer(T::read(&mut io))
}

unsafe extern "C" fn write_iter<T: FileOps>(
    iocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: VFS passes the arguments of this callback.
    let mut io = unsafe { Kiocb::<T>::from_raw(iocb, iter) };
    answer(T::write(&mut io))
}

unsafe extern "C" fn splice_read<T: FileOps>(
    file: *mut bindings::file,
    pos: *mut i64,
    pipe: *mut bindings::pipe_inode_info,
    len: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: VFS passes valid objects.
    unsafe {
        let inode = File::<T>::from_raw(file).inode();
        if T::is_shutdown(inode) {
            return EIO.to_errno() as isize;
        }
        let _lock = inode.lock_shared();
        bindings::filemap_splice_read(file, pos, pipe, len, flags)
    }
}

unsafe extern "C" fn llseek<T: IomapOps>(
    file: *mut bindings::file,
    offset: i64,
    whence: c_int,
) -> i64 {
    // SAFETY: VFS passes an open file of this file system.
    unsafe {
        let inode = bindings::file_inode(file);
        let offset = match whence as u32 {
            bindings::SEEK_HOLE => {
                bindings::iomap_seek_hole(inode, offset, &IomapTables::<T>::REPORT)
            }
            bindings::SEEK_DATA => {
                bindings::iomap_seek_data(inode, offset, &IomapTables::<T>::REPORT)
            }
            _ => return bindings::generic_file_llseek(file, offset, whence),
        };
        if offset < 0 {
            return offset;
        }
        bindings::vfs_setpos(file, offset, (*(*inode).i_sb).s_maxbytes)
    }
}

/// Directories: any cookie is a position, so the whole range of 63 bits is.
unsafe extern "C" fn dir_llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
    // SAFETY: VFS passes an open directory, the position lock held.
    unsafe {
        if whence as u32 != bindings::SEEK_CUR || offset != 0 {
            (*file).private_data = ptr::null_mut();
        }
        bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, i64::MAX)
    }
}

unsafe extern "C" fn fsync<T: FileOps>(
    file: *mut bindings::file,
    start: i64,
    last: i64,
    datasync: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS passes an open file of this file system.
        let file = unsafe { File::<T>::from_raw(file) };
        let (start, last) = (start.max(0) as u64, last.max(0) as u64);
        T::fsync(file, start, last, datasync != 0)?;
        Ok(0)
    })
}

unsafe extern "C" fn iterate<T: FileOps>(
    file: *mut bindings::file,
    ctx: *mut bindings::dir_context,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS passes an open directory of this file system, its `i_rwsem` held shared.
        unsafe {
            let mode = bindings::file_mode(file);
            let short = mode & bindings::FMODE_32BITHASH != 0
                || mode & bindings::FMODE_64BITHASH == 0 && bindings::in_compat_syscall();
            let dir = File::<T>::from_raw(file).inode();
            T::readdir(dir, &mut DirContext { ctx, file, short })?;
        }
        Ok(0)
    })
}

unsafe extern "C" fn mmap_prepare<T: Inodes>(desc: *mut bindings::vm_area_desc) -> c_int {
    // SAFETY: VFS passes a description with an open file of this file system.
    unsafe {
        let file = (*desc).file;
        if T::is_shutdown(File::<T>::from_raw(file).inode()) {
            return EIO.to_errno();
        }
        bindings::file_accessed(file);
        (*desc).vm_ops = &FileTables::<T>::VM;
    }
    0
}

/// A place to hold a fault before it looks at the page cache.
#[cfg(latchfs_races)]
unsafe extern "C" fn fault<T: IomapOps>(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: the fault is on a mapping of a file of this file system.
    unsafe {
        let inode = File::<T>::from_raw((*(*vmf).__bindgen_anon_1.vma).vm_file).inode();
        crate::sys::sync_point!("fault.enter", inode.ino());
        bindings::filemap_fault(vmf)
    }
}

unsafe extern "C" fn page_mkwrite<T: IomapOps>(
    vmf: *mut bindings::vm_fault,
) -> bindings::vm_fault_t {
    // SAFETY: the fault is on a mapping of a file of this file system.
    unsafe { bindings::page_mkwrite(vmf, &IomapTables::<T>::MKWRITE) }
}
