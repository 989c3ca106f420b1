// SPDX-License-Identifier: GPL-2.0

//! Super blocks and their operations.
//!
//! C headers: `include/linux/fs/super_types.h`, `include/linux/fs/super.h`.

use super::fs::FileSystem;
use super::inode;
use super::inode::Inode;
use super::inode::Inodes;
use super::seq_file::SeqFile;
use super::statfs::StatFs;
use super::sysfs::Dir;
use super::sysfs::Directory;
use super::xattr;
use super::xattr::XattrOps;
use crate::bindings;
use crate::sys::device::Device;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::error::from_result;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::str::CStrExt as _;
use kernel::types::Opaque;

/// A `struct super_block` of file system `T` whose private part is in place.
///
/// # Invariants
///
/// `s_fs_info` is the address of an initialised `T::Super`, from before the first inode exists
/// until after the last one is gone.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem>(Opaque<bindings::super_block>, PhantomData<T>);

// SAFETY: a super block is shared between tasks; every method is either read only or says which
// lock of the C object protects what it does.
unsafe impl<T: FileSystem> Send for SuperBlock<T> {}
// SAFETY: as above.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// The wrapper of a C super block.
    ///
    /// # Safety
    ///
    /// `ptr` is a super block of file system `T` with its private part in place, valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The private part of the file system.
    pub fn data(&self) -> &T::Super {
        // SAFETY: by the invariant of the type.
        unsafe { &*(*self.as_ptr()).s_fs_info.cast::<T::Super>() }
    }

    /// Whether the file system is mounted read-only (`SB_RDONLY`).
    pub fn rdonly(&self) -> bool {
        // SAFETY: the super block is valid.
        unsafe { bindings::sb_rdonly(self.as_ptr()) }
    }

    /// Makes the file system read-only at once, as `errors=remount-ro` asks for.
    ///
    /// Takes no lock, as ext4 does not: callers may hold anything.
    pub fn set_rdonly(&self) {
        // SAFETY: the super block is valid; the flag is only ever set here without s_umount,
        // which the C file systems do in the same way on an error.
        unsafe { (*self.as_ptr()).s_flags |= bindings::SB_RDONLY as usize };
    }

    /// What the mount is called in messages: the name of the device.
    pub fn id(&self) -> Id<'_> {
        // SAFETY: the name is terminated; it does not change while the device is mounted.
        Id(unsafe { CStr::from_char_ptr((*self.as_ptr()).s_id.as_ptr().cast()) })
    }

    /// Tells fanotify(7) that metadata is damaged. Does not sleep.
    pub fn report_damage(&self, inode: Option<&Inode<T>>, error: Error) {
        let inode = inode.map_or(core::ptr::null_mut(), Inode::as_ptr);
        // SAFETY: super block and inode are valid.
        unsafe { bindings::report_damage(self.as_ptr(), inode, error.to_errno()) };
    }

    /// Bytes of the device's discards, or `None` if it cannot discard.
    pub fn discard_granularity(&self) -> Option<u32> {
        // SAFETY: a mounted file system of a type with FS_REQUIRES_DEV has a device.
        match unsafe { bindings::discard_granularity((*self.as_ptr()).s_bdev) } {
            0 => None,
            bytes => Some(bytes),
        }
    }

    /// Programs that read the device itself see what was written to it behind the back of its page
    /// cache: for changes that they look for, such as a new label. As `xfs_ioc_setlabel()`. May
    /// sleep.
    pub fn forget_read_device(&self) {
        // SAFETY: a mounted file system of a type with FS_REQUIRES_DEV has a device.
        unsafe { bindings::invalidate_bdev((*self.as_ptr()).s_bdev) };
    }

    /// Runs `f` while the file system is frozen: all writers are stopped, everything is written
    /// ([`SuperOps::freeze_fs`]). May sleep; no lock is held, not even as a writer.
    ///
    /// EBUSY and what [`SuperOps::freeze_fs`] returns; `f` has not run then.
    pub fn with_frozen(&self, f: impl FnOnce()) -> Result {
        // SAFETY: a mounted file system of a type with FS_REQUIRES_DEV has a device. The caller
        // works on a file of it, so that it stays mounted.
        unsafe {
            let bdev = (*self.as_ptr()).s_bdev;
            kernel::error::to_result(bindings::bdev_freeze(bdev))?;
            f();
            kernel::error::to_result(bindings::bdev_thaw(bdev))
        }
    }

    /// Writes everything back and waits, ending in [`SuperOps::sync_fs`]. The caller holds
    /// s_umount (remount does).
    pub fn sync_filesystem(&self) -> Result {
        // SAFETY: the super block is valid.
        kernel::error::to_result(unsafe { bindings::sync_filesystem(self.as_ptr()) })
    }

    /// Writes back the data of all inodes and waits. May sleep; takes s_umount shared if free.
    ///
    /// The caller holds no lock below the freeze levels.
    pub fn try_to_writeback_inodes(&self) {
        // SAFETY: the super block is valid and active: the caller works on an inode of it.
        unsafe {
            bindings::try_to_writeback_inodes_sb(
                self.as_ptr(),
                bindings::wb_reason_WB_REASON_FS_FREE_SPACE,
            );
        };
    }
}

/// The name of a mount, to be printed.
pub struct Id<'a>(&'a CStr);

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or("?"))
    }
}

/// What [`NewSuper::set`] puts into a fresh super block.
pub struct SuperParams {
    /// `s_magic`: what statfs(2) reports as the type.
    pub magic: u32,
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Largest link count.
    pub max_links: u32,
}

/// A super block in `fill_super`: no private part yet, no inode.
pub struct NewSuper<'a, T: FileSystem> {
    sb: &'a Opaque<bindings::super_block>,
    _fs: PhantomData<T>,
}

impl<'a, T: XattrOps> NewSuper<'a, T> {
    /// The wrapper of a super block in `fill_super`.
    ///
    /// # Safety
    ///
    /// `ptr` is the super block that `fill_super` was given, valid for `'a`, s_umount is held.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::super_block) -> Self {
        Self {
            // SAFETY: by the contract of this function.
            sb: unsafe { &*ptr.cast() },
            _fs: PhantomData,
        }
    }

    /// Whether the mount is read-only.
    pub fn rdonly(&self) -> bool {
        // SAFETY: the super block is valid.
        unsafe { bindings::sb_rdonly(self.sb.get()) }
    }

    /// Sets the block size of the device and the super block.
    ///
    /// EINVAL if the device's logical blocks are larger.
    pub fn set_block_size(&self, size: u32) -> Result {
        // SAFETY: s_bdev is set by get_tree_bdev() before fill_super.
        if unsafe { bindings::sb_set_blocksize(self.sb.get(), size as c_int) } == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The device of the mount.
    pub fn device(&self) -> Result<Device> {
        // SAFETY: s_bdev_file is set by get_tree_bdev() before fill_super.
        let file = unsafe { (*self.sb.get()).s_bdev_file };
        let file = NonNull::new(file).ok_or(ENXIO)?;
        let sb = NonNull::new(self.sb.get()).ok_or(ENXIO)?;
        // SAFETY: the file is that of an open block device. The module holds the I/O engine until all
        // mounts, and with them all devices, are gone; `kill_sb` drops the private part, and with it
        // the device, while the super block exists.
        //
        // A read-only mount writes, too, if it has to replay the log: what counts is the device.
        unsafe {
            let read_only = bindings::bdev_read_only((*self.sb.get()).s_bdev);
            Device::from_file(file, sb, read_only)
        }
        .map_err(|_| ENOMEM)
    }

    /// Bytes of a logical block of the device.
    pub fn logical_block_size(&self) -> u32 {
        // SAFETY: s_bdev is set by get_tree_bdev() before fill_super.
        unsafe { bindings::logical_block_size((*self.sb.get()).s_bdev) }
    }

    /// Makes the directory of the mount in sysfs, `/sys/fs/TYPE/DEVICE`, whose name
    /// FS_IOC_GETFSSYSFSPATH tells. After [`Self::set`]. May sleep. ENOMEM.
    pub fn sysfs_dir<D: Directory>(&self, data: D) -> Result<Dir<D>> {
        // SAFETY: set() put the name there; it is terminated and does not change any more.
        let name = unsafe { CStr::from_char_ptr((*self.sb.get()).s_sysfs_name.as_ptr().cast()) };
        Dir::new(name, &T::statics().sysfs(), data)
    }

    /// What the mount is called in messages: the name of the device.
    pub fn id(&self) -> &CStr {
        // SAFETY: the name is terminated and does not change while fill_super runs.
        unsafe { CStr::from_char_ptr((*self.sb.get()).s_id.as_ptr().cast()) }
    }

    /// Fills in the fields that VFS reads: limits of sizes and times, identity, flags.
    pub fn set(&self, params: &SuperParams) {
        let sb = self.sb.get();
        // SAFETY: fill_super owns the super block.
        unsafe {
            (*sb).s_magic = params.magic as usize;
            (*sb).s_maxbytes = bindings::MAX_LFS_FILESIZE;
            (*sb).s_time_gran = 1;
            (*sb).s_time_min = i64::MIN;
            (*sb).s_time_max = i64::MAX;
            (*sb).s_max_links = params.max_links;
            (*sb).s_flags |= (bindings::SB_I_VERSION | bindings::SB_NOSEC) as usize;
            (*sb).s_iflags |= bindings::SB_I_CGROUPWB as usize;
            bindings::super_set_identity(sb, params.uuid.as_ptr());
            (*sb).s_flags |= bindings::SB_POSIXACL as usize;
            (*sb).s_xattr = xattr::table::<T>();
        }
    }
}

/// Super block operations of a file system, called by VFS.
///
/// None of them may be called with a lock of the file system held. All may sleep.
pub trait SuperOps: FileSystem {
    /// The last of the inode's VFS part is gone: `destroy_inode`. The inode is unhashed, its page
    /// cache is empty, nobody can find it. May run inside memory reclaim: no transactions.
    fn destroy_inode(sb: &SuperBlock<Self>, data: Self::Inode);

    /// Logs what only the VFS inode knows (times, version). `wait`: data integrity writeback.
    fn write_inode(inode: &Inode<Self>, wait: bool) -> Result;

    /// The super block has no inodes any more: write everything, stop everything.
    fn put_super(sb: &SuperBlock<Self>);

    /// Makes everything durable (sync(2), syncfs(2), freeze, unmount). `wait` is false in the
    /// first, asynchronous round.
    fn sync_fs(sb: &SuperBlock<Self>, wait: bool) -> Result;

    /// All writers are stopped: leave a clean image on the device.
    fn freeze_fs(sb: &SuperBlock<Self>) -> Result;

    /// The opposite of [`SuperOps::freeze_fs`].
    fn unfreeze_fs(sb: &SuperBlock<Self>) -> Result;

    /// The device is gone.
    fn shutdown(sb: &SuperBlock<Self>);

    /// Space and inode counters.
    fn statfs(sb: &SuperBlock<Self>) -> Result<StatFs>;

    /// Prints the options that differ from the defaults.
    fn show_options(sb: &SuperBlock<Self>, seq: &SeqFile);
}

/// The C table of a file system's [`SuperOps`].
pub(super) struct SuperTable<T>(PhantomData<T>);

impl<T: SuperOps + Inodes> SuperTable<T> {
    pub(super) const TABLE: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(inode::alloc_inode::<T>),
        destroy_inode: Some(inode::destroy_inode::<T>),
        free_inode: Some(inode::free_inode::<T>),
        evict_inode: Some(inode::evict_inode),
        write_inode: Some(write_inode::<T>),
        put_super: Some(put_super::<T>),
        sync_fs: Some(sync_fs::<T>),
        freeze_fs: Some(freeze_fs::<T>),
        unfreeze_fs: Some(unfreeze_fs::<T>),
        statfs: Some(statfs::<T>),
        show_options: Some(show_options::<T>),
        shutdown: Some(shutdown::<T>),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };
}

unsafe extern "C" fn write_inode<T: SuperOps>(
    inode: *mut bindings::inode,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: VFS passes an inode of this file system and a valid control block.
    let (inode, mode) = unsafe { (Inode::<T>::from_raw(inode), (*wbc).sync_mode) };
    from_result(|| {
        T::write_inode(inode, mode == bindings::writeback_sync_modes_WB_SYNC_ALL)?;
        Ok(0)
    })
}

unsafe extern "C" fn put_super<T: SuperOps>(sb: *mut bindings::super_block) {
    // SAFETY: VFS calls this for a super block that fill_super finished.
    T::put_super(unsafe { SuperBlock::from_raw(sb) });
}

unsafe extern "C" fn sync_fs<T: SuperOps>(sb: *mut bindings::super_block, wait: c_int) -> c_int {
    from_result(|| {
        // SAFETY: as for put_super().
        T::sync_fs(unsafe { SuperBlock::from_raw(sb) }, wait != 0)?;
        Ok(0)
    })
}

unsafe extern "C" fn freeze_fs<T: SuperOps>(sb: *mut bindings::super_block) -> c_int {
    from_result(|| {
        // SAFETY: as for put_super().
        T::freeze_fs(unsafe { SuperBlock::from_raw(sb) })?;
        Ok(0)
    })
}

unsafe extern "C" fn unfreeze_fs<T: SuperOps>(sb: *mut bindings::super_block) -> c_int {
    from_result(|| {
        // SAFETY: as for put_super().
        T::unfreeze_fs(unsafe { SuperBlock::from_raw(sb) })?;
        Ok(0)
    })
}

unsafe extern "C" fn shutdown<T: SuperOps>(sb: *mut bindings::super_block) {
    // SAFETY: as for put_super().
    T::shutdown(unsafe { SuperBlock::from_raw(sb) });
}

unsafe extern "C" fn statfs<T: SuperOps>(
    dentry: *mut bindings::dentry,
    buf: *mut kernel::bindings::kstatfs,
) -> c_int {
    from_result(|| {
        // SAFETY: the dentry is of a mounted file system of this type.
        let stat = T::statfs(unsafe { SuperBlock::from_raw((*dentry).d_sb) })?;
        // SAFETY: `buf` is VFS' own. The kernel crate only knows the name of the structure.
        unsafe { stat.fill(buf.cast()) };
        Ok(0)
    })
}

unsafe extern "C" fn show_options<T: SuperOps>(
    seq: *mut bindings::seq_file,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: the dentry is the root of a mounted file system of this type; `seq` is valid.
    let (sb, seq) = unsafe { (SuperBlock::from_raw((*dentry).d_sb), SeqFile::from_raw(seq)) };
    T::show_options(sb, seq);
    0
}
