// SPDX-License-Identifier: GPL-2.0

//! Inodes: allocation, life cycle, fields.
//!
//! C headers: `include/linux/fs.h`, `include/linux/iversion.h`.
//!
//! An inode of latchfs is one slab object: the C inode, the queue of its finished writeback I/O,
//! and the private part of ring 3. The private part is put in before `I_NEW` is cleared and taken
//! out when VFS has unhashed the inode (`destroy_inode`); nothing else writes it.

use super::acl::AclOps;
use super::assume;
use super::direct::DirectOps;
use super::exportfs::ExportOps;
use super::fallocate::FallocOps;
use super::file::FileOps;
use super::fs::FileSystem;
use super::ioctl::IoctlOps;
use super::ioend::IoendQueue;
use super::iomap::IomapOps;
use super::namei::DirOps;
use super::pagemap::MappingOps;
use super::stat;
use super::super_types::SuperBlock;
use super::super_types::SuperOps;
use super::writeback::WritebackOps;
use super::xattr::XattrOps;
use crate::bindings;
use crate::sys::witness::IolockExcl;
use crate::sys::Time;
use core::cell::Cell;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::types::Opaque;

mod new;
pub use new::Iget;
pub use new::InodeAttrs;
pub use new::NewInode;
pub use new::ReadyInode;
pub use new::UnhashedInode;

/// All operations of a file system: what [`NewInode::ready`] needs to choose the tables.
pub trait Inodes:
    SuperOps
    + InodeOps
    + DirOps
    + FileOps
    + IoctlOps
    + MappingOps
    + IomapOps
    + DirectOps
    + WritebackOps
    + ExportOps
    + FallocOps
    + XattrOps
    + AclOps
{
}

impl<T> Inodes for T where
    T: SuperOps
        + InodeOps
        + DirOps
        + FileOps
        + IoctlOps
        + MappingOps
        + IomapOps
        + DirectOps
        + WritebackOps
        + ExportOps
        + FallocOps
        + XattrOps
        + AclOps
{
}

/// Operations that every inode has.
pub trait InodeOps: FileSystem {
    /// What stat(2) reports beyond the fields of the C inode.
    fn getattr(inode: &Inode<Self>, stat: &mut stat::KStat) -> Result;

    /// chmod, chown, utimes, truncate. The `i_rwsem` is held exclusively.
    fn setattr(args: &mut super::namei::SetAttr<'_, Self>) -> Result;

    /// The target of a symbolic link that is not kept in memory. Returned in `out`; may sleep.
    fn readlink(inode: &Inode<Self>, out: &mut KVec<u8>) -> Result;

    /// The `FS_*_FL` flags and the project id.
    fn fileattr_get(inode: &Inode<Self>) -> Result<(u32, u32)>;

    /// Sets the `FS_*_FL` flags. The `i_rwsem` is held exclusively.
    fn fileattr_set(inode: &Inode<Self>, fa: &super::fileattr::FileAttr) -> Result;

    /// Logs times that VFS kept in memory (`I_DIRTY_TIME`). May sleep.
    fn sync_lazytime(inode: &Inode<Self>);
}

/// What is allocated for each inode.
#[repr(C)]
pub(super) struct InodeCell<T: FileSystem> {
    /// First, so that the C inode's address is the object's.
    vfs: Opaque<bindings::inode>,
    /// Finished writeback I/O that waits for its transaction.
    pub(super) ioends: IoendQueue,
    /// Whether `data` is initialised.
    live: Cell<bool>,
    data: UnsafeCell<MaybeUninit<T::Inode>>,
}

/// A `struct inode` of file system `T`.
///
/// # Invariants
///
/// It is the `vfs` of an [`InodeCell`] whose private part is initialised.
#[repr(transparent)]
pub struct Inode<T: FileSystem>(Opaque<bindings::inode>, PhantomData<T>);

// SAFETY: inodes are shared between tasks; each method says which lock of the C object it relies
// on, or uses C functions that take their own.
unsafe impl<T: FileSystem> Send for Inode<T> {}
// SAFETY: as above.
unsafe impl<T: FileSystem> Sync for Inode<T> {}

impl<T: FileSystem> Inode<T> {
    /// The wrapper of a C inode.
    ///
    /// # Safety
    ///
    /// `ptr` is an inode of file system `T` whose private part is in place, valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The slab object around the inode.
    pub(super) fn cell(&self) -> &InodeCell<T> {
        // SAFETY: by the invariant of the type.
        unsafe { &*self.as_ptr().cast() }
    }

    /// The private part.
    pub fn data(&self) -> &T::Inode {
        // SAFETY: initialised by the invariant of the type, and not written while shared.
        unsafe { (*self.cell().data.get()).assume_init_ref() }
    }

    /// The super block.
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: an inode keeps its super block alive, and inodes exist only beside its private
        // part.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// A counted reference.
    pub fn get(&self) -> IRef<T> {
        // SAFETY: the reference proves that the count is not zero.
        unsafe {
            bindings::ihold(self.as_ptr());
            IRef::from_raw(self.as_ptr())
        }
    }

    /// Inode number.
    pub fn ino(&self) -> u64 {
        // SAFETY: constant once the inode is hashed.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// Type and permissions. Stable under `i_rwsem`, else a snapshot.
    pub fn mode(&self) -> u16 {
        // SAFETY: the inode is valid; a racy read of an integer is what C does, too.
        unsafe { core::ptr::addr_of!((*self.as_ptr()).i_mode).read_volatile() }
    }

    /// Whether the inode is of type `fmt` (`S_IFREG`, ...).
    pub fn is(&self, fmt: u32) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == fmt
    }

    /// Owner, as a number of the initial user namespace.
    pub fn uid(&self) -> u32 {
        // SAFETY: the inode is valid.
        unsafe { bindings::i_uid_read(self.as_ptr()) }
    }

    /// Group, as a number of the initial user namespace.
    pub fn gid(&self) -> u32 {
        // SAFETY: the inode is valid.
        unsafe { bindings::i_gid_read(self.as_ptr()) }
    }

    /// The `S_*` flags.
    pub fn flags(&self) -> u32 {
        // SAFETY: the inode is valid.
        unsafe { core::ptr::addr_of!((*self.as_ptr()).i_flags).read_volatile() }
    }

    /// Whether a write has no privileges of the file to take away (`IS_NOSEC`).
    pub fn is_nosec(&self) -> bool {
        self.flags() & bindings::S_NOSEC != 0
    }

    /// Replaces the `S_*` flags of `mask`. Atomic.
    pub fn set_flags(&self, flags: u32, mask: u32) {
        // SAFETY: the inode is valid; inode_set_flags() uses cmpxchg.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags, mask) };
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        // SAFETY: the inode is valid. C never stores a negative size.
        unsafe { bindings::i_size_read(self.as_ptr()) as u64 }
    }

    /// Sets the size that VFS sees, of a directory for instance. The caller holds `i_rwsem`.
    pub fn set_size(&self, size: u64) {
        // SAFETY: the inode is valid; the helper takes i_lock.
        unsafe { bindings::i_size_write(self.as_ptr(), size as i64) };
    }

    /// Sets `i_blocks`, sectors of 512 bytes. Takes `i_lock`.
    pub fn set_sectors(&self, sectors: u64) {
        // SAFETY: the inode is valid; the helper takes i_lock.
        unsafe { bindings::i_blocks_write(self.as_ptr(), sectors) };
    }

    /// Which of the lives of its number this is.
    pub fn generation(&self) -> u32 {
        // SAFETY: the inode is valid; the field does not change.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Link count.
    pub fn nlink(&self) -> u32 {
        // SAFETY: the inode is valid.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.i_nlink }
    }

    /// Sets the link count. The caller holds the `i_rwsem` of the inode, or of the directory
    /// whose operation changes it.
    pub fn set_nlink(&self, nlink: u32) {
        // SAFETY: the inode is valid.
        unsafe { bindings::set_nlink(self.as_ptr(), nlink) };
    }

    /// Time of last access.
    pub fn atime(&self) -> Time {
        let inode = self.as_ptr();
        // SAFETY: the inode is valid.
        unsafe {
            Time {
                secs: (*inode).i_atime_sec,
                nanos: (*inode).i_atime_nsec,
            }
        }
    }

    /// Time of last modification.
    pub fn mtime(&self) -> Time {
        let inode = self.as_ptr();
        // SAFETY: the inode is valid.
        unsafe {
            Time {
                secs: (*inode).i_mtime_sec,
                nanos: (*inode).i_mtime_nsec,
            }
        }
    }

    /// Time of last change.
    pub fn ctime(&self) -> Time {
        let mut ts = bindings::timespec64::default();
        // SAFETY: the inode is valid. The helper hides the bit of multigrain timestamps.
        unsafe { bindings::inode_get_ctime(self.as_ptr(), &mut ts) };
        stat::from_timespec(&ts)
    }

    /// Sets the time of last modification. The caller holds `i_rwsem`.
    pub fn set_mtime(&self, time: Time) {
        let inode = self.as_ptr();
        // SAFETY: the inode is valid.
        unsafe {
            (*inode).i_mtime_sec = time.secs;
            (*inode).i_mtime_nsec = time.nanos;
        }
    }

    /// Sets the time of last change, to one that this file system handed out.
    pub fn set_ctime(&self, time: Time) {
        // SAFETY: the inode is valid.
        unsafe { bindings::inode_set_ctime(self.as_ptr(), time.secs, time.nanos) };
    }

    /// Sets all times. The caller holds `i_rwsem`.
    pub fn set_times(&self, atime: Time, mtime: Time, ctime: Time) {
        let inode = self.as_ptr();
        // SAFETY: the inode is valid.
        unsafe {
            (*inode).i_atime_sec = atime.secs;
            (*inode).i_atime_nsec = atime.nanos;
        }
        self.set_mtime(mtime);
        self.set_ctime(ctime);
    }

    /// Sets type and permissions. The caller holds `i_rwsem`.
    pub fn set_mode(&self, mode: u16) {
        // SAFETY: the inode is valid.
        unsafe { (*self.as_ptr()).i_mode = mode };
    }

    /// Sets mode, owner and group. The caller holds `i_rwsem`.
    pub fn set_owner(&self, mode: u16, uid: u32, gid: u32) {
        let inode = self.as_ptr();
        // SAFETY: the inode is valid.
        unsafe {
            (*inode).i_mode = mode;
            bindings::i_uid_write(inode, uid);
            bindings::i_gid_write(inode, gid);
        }
    }

    /// Whether changes of the inode must be durable when they return.
    pub fn is_sync(&self) -> bool {
        // SAFETY: the inode is valid.
        unsafe { bindings::is_sync(self.as_ptr()) }
    }

    /// Whether changes of a directory's entries must be durable when they return.
    pub fn is_dirsync(&self) -> bool {
        // SAFETY: the inode is valid.
        unsafe { bindings::is_dirsync(self.as_ptr()) }
    }

    /// Sets the time of last change to now and returns it.
    pub fn touch_ctime(&self) -> Time {
        // SAFETY: the inode is valid; C uses cmpxchg.
        stat::from_timespec(&unsafe { bindings::inode_set_ctime_current(self.as_ptr()) })
    }

    /// Sets change and modification time to now and returns it: a directory whose entries change.
    /// The caller holds `i_rwsem`.
    pub fn touch_cmtime(&self) -> Time {
        let now = self.touch_ctime();
        self.set_mtime(now);
        now
    }

    /// Counts the version up if somebody looked at it since. Any context.
    pub fn inc_version(&self) {
        // SAFETY: the inode is valid.
        unsafe { bindings::inode_maybe_inc_iversion(self.as_ptr(), true) };
    }

    /// The version, as it is to be stored.
    pub fn version(&self) -> u64 {
        // SAFETY: the inode is valid.
        unsafe { bindings::peek_iversion(self.as_ptr()) }
    }

    /// Device number of a special file, as it is stored.
    pub fn rdev(&self) -> u32 {
        // SAFETY: constant after the inode was set up.
        unsafe { bindings::new_encode_dev((*self.as_ptr()).i_rdev) }
    }

    /// Takes `i_rwsem` exclusively. May sleep. Order: before the invalidate lock and everything
    /// of the engine.
    pub fn lock(&self) -> InodeLock<'_, T> {
        // SAFETY: the inode is valid; the guard unlocks.
        unsafe { bindings::inode_lock(self.as_ptr()) };
        InodeLock(self)
    }

    /// Takes `i_rwsem` exclusively if that needs no waiting.
    pub fn try_lock(&self) -> Option<InodeLock<'_, T>> {
        // SAFETY: the inode is valid; the guard unlocks.
        unsafe { bindings::inode_trylock(self.as_ptr()) }.then(|| InodeLock(self))
    }

    /// Takes `i_rwsem` shared. May sleep.
    pub fn lock_shared(&self) -> InodeLockShared<'_, T> {
        // SAFETY: the inode is valid; the guard unlocks.
        unsafe { bindings::inode_lock_shared(self.as_ptr()) };
        InodeLockShared(self)
    }

    /// Takes `i_rwsem` shared if that needs no waiting.
    pub fn try_lock_shared(&self) -> Option<InodeLockShared<'_, T>> {
        // SAFETY: the inode is valid; the guard unlocks.
        unsafe { bindings::inode_trylock_shared(self.as_ptr()) }.then(|| InodeLockShared(self))
    }
}

/// `i_rwsem` held exclusively.
pub struct InodeLock<'a, T: FileSystem>(&'a Inode<T>);

impl<T: FileSystem> InodeLock<'_, T> {
    /// The proof for the engine.
    pub fn witness(&self) -> IolockExcl<'_> {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { assume::iolock_excl(self.0) }
    }
}

impl<T: FileSystem> Drop for InodeLock<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::inode_unlock(self.0.as_ptr()) };
    }
}

/// `i_rwsem` held shared.
pub struct InodeLockShared<'a, T: FileSystem>(&'a Inode<T>);

impl<T: FileSystem> Drop for InodeLockShared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard proves that this task holds the lock.
        unsafe { bindings::inode_unlock_shared(self.0.as_ptr()) };
    }
}

/// A counted reference to an inode. Its drop may evict the inode: it may sleep, start writeback,
/// and must not happen with a lock of the file system held.
pub struct IRef<T: FileSystem>(NonNull<Inode<T>>);

// SAFETY: see `Inode`; iput() may be called by any task.
unsafe impl<T: FileSystem> Send for IRef<T> {}
// SAFETY: as above.
unsafe impl<T: FileSystem> Sync for IRef<T> {}

impl<T: FileSystem> IRef<T> {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` is an inode as [`Inode`] wants it, and the caller owns one reference.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::inode) -> Self {
        // SAFETY: C inodes are not at address zero.
        Self(unsafe { NonNull::new_unchecked(ptr.cast()) })
    }

    /// Gives the reference to C.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        let ptr = self.as_ptr();
        core::mem::forget(self);
        ptr
    }
}

impl<T: FileSystem> Deref for IRef<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: the reference keeps the inode alive.
        unsafe { self.0.as_ref() }
    }
}

impl<T: FileSystem> Drop for IRef<T> {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { bindings::iput(self.as_ptr()) };
    }
}

/// Makes the slab cache. The constructor runs once for each object of a new slab.
pub(super) fn new_cache<T: Inodes>() -> Result<*mut bindings::kmem_cache> {
    let size = core::mem::size_of::<InodeCell<T>>() as u32;
    // SAFETY: the name is static, the constructor initialises an object of this size.
    let cache = unsafe {
        bindings::inode_cache(c"latchfs_inode".as_char_ptr(), size, Some(init_once::<T>))
    };
    if cache.is_null() {
        return Err(ENOMEM);
    }
    Ok(cache)
}

unsafe extern "C" fn init_once<T: Inodes>(object: *mut kernel::ffi::c_void) {
    let cell = object.cast::<InodeCell<T>>();
    // SAFETY: a fresh object of the cache; `vfs` is its first member.
    unsafe {
        bindings::inode_init_once(cell.cast());
        IoendQueue::init::<T>(core::ptr::addr_of_mut!((*cell).ioends));
        core::ptr::addr_of_mut!((*cell).live).write(Cell::new(false));
    }
}

pub(super) unsafe extern "C" fn alloc_inode<T: FileSystem>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    // SAFETY: the cache exists as long as a super block does.
    unsafe { bindings::alloc_inode_sb(sb, T::statics().inode_cache()).cast() }
}

pub(super) unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
    // SAFETY: VFS evicts an inode that nobody can look up any more. This waits for writeback,
    // hence for all ioends of the inode.
    unsafe {
        bindings::truncate_inode_pages_final(core::ptr::addr_of_mut!((*inode).i_data));
        bindings::clear_inode(inode);
    }
}

pub(super) unsafe extern "C" fn destroy_inode<T: SuperOps>(inode: *mut bindings::inode) {
    // SAFETY: VFS owns the inode: it is unhashed and unreferenced. RCU walkers may still read
    // fields of the C inode, never the private part.
    let (cell, sb) = unsafe { (&*inode.cast::<InodeCell<T>>(), (*inode).i_sb) };
    if cell.live.replace(false) {
        // SAFETY: `live` says that it is initialised, and it is taken out only here.
        let data = unsafe { (*cell.data.get()).assume_init_read() };
        // SAFETY: the super block is alive: its inodes are being evicted.
        T::destroy_inode(unsafe { SuperBlock::from_raw(sb) }, data);
    }
}

pub(super) unsafe extern "C" fn free_inode<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: after a grace period nobody reads the inode; a cached link was made by kmalloc().
    unsafe {
        if u32::from((*inode).i_mode) & bindings::S_IFMT == bindings::S_IFLNK {
            bindings::kfree((*inode).__bindgen_anon_5.i_link.cast());
        }
        bindings::kmem_cache_free(T::statics().inode_cache(), inode.cast());
    }
}
