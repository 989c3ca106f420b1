// SPDX-License-Identifier: GPL-2.0

//! The file system type: registration and the cache of its inodes.
//!
//! C header: `include/linux/fs.h`.

use super::fs_context;
use super::fs_context::ContextOps;
use super::inode;
use super::inode::Inodes;
use super::sysfs;
use crate::bindings;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::types::Opaque;

/// A file system type, and what it keeps beside the C objects.
pub trait FileSystem: Sized + Send + Sync + 'static {
    /// Name, as in mount -t.
    const NAME: &'static CStr;

    /// Beside each super block (`s_fs_info`).
    type Super: Send + Sync + 'static;

    /// Beside each inode.
    type Inode: Send + Sync + 'static;

    /// Mount options while they are parsed (`fs_private`).
    type Options: Send + 'static;

    /// Beside each pass of writeback over a file.
    type Writeback: Default;

    /// The type and the inode cache.
    fn statics() -> &'static Statics;
}

/// What a file system type needs for as long as the module is loaded.
///
/// A static: lockdep takes the lock classes that are in `struct file_system_type` from static
/// memory only, and inodes are freed by RCU callbacks that run after the super block is gone.
pub struct Statics {
    fs_type: Opaque<bindings::file_system_type>,
    inode_cache: AtomicPtr<bindings::kmem_cache>,
    /// `/sys/fs/NAME`.
    sysfs: AtomicPtr<bindings::kobject>,
}

// SAFETY: the C object is written by `Registration` only, and otherwise belongs to C.
unsafe impl Sync for Statics {}

impl Statics {
    /// For a static. Nothing is registered yet.
    pub const fn new() -> Self {
        Self {
            fs_type: Opaque::zeroed(),
            inode_cache: AtomicPtr::new(ptr::null_mut()),
            sysfs: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The slab cache of the inodes, null before [`Registration::new`].
    pub(super) fn inode_cache(&self) -> *mut bindings::kmem_cache {
        self.inode_cache.load(Ordering::Acquire)
    }

    /// The directory of the type in sysfs, from [`Registration::new`] on.
    pub(super) fn sysfs(&self) -> sysfs::Root {
        sysfs::Root(self.sysfs.load(Ordering::Acquire))
    }
}

impl Default for Statics {
    fn default() -> Self {
        Self::new()
    }
}

/// A registered file system type. Unregistered on drop, when the module is unloaded: by then no
/// super block of it exists, since each holds the module.
pub struct Registration<T: Inodes>(PhantomData<T>);

impl<T: Inodes + ContextOps> Registration<T> {
    /// Makes the inode cache and registers the type. May sleep. EBUSY if the name is taken.
    ///
    /// Called once for each load of the module.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let statics = T::statics();
        let cache = inode::new_cache::<T>()?;
        statics.inode_cache.store(cache, Ordering::Release);
        // If a later step fails, drop undoes the registration that did not happen, too: C answers
        // EINVAL to that.
        let this = Self(PhantomData);
        // SAFETY: the name is terminated; fs_kobj exists since boot.
        let dir =
            unsafe { bindings::kobject_create_and_add(T::NAME.as_char_ptr(), bindings::fs_kobj) };
        if dir.is_null() {
            return Err(ENOMEM);
        }
        statics.sysfs.store(dir, Ordering::Release);
        let fs_type = statics.fs_type.get();
        // SAFETY: nobody knows the type yet; C wants what is not set here zeroed, as it is. The
        // helper returns a static table.
        unsafe {
            (*fs_type).name = T::NAME.as_char_ptr();
            (*fs_type).fs_flags =
                (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP | bindings::FS_MGTIME) as i32;
            (*fs_type).init_fs_context = Some(fs_context::init::<T>);
            (*fs_type).parameters = bindings::parameters();
            (*fs_type).kill_sb = Some(fs_context::kill_sb::<T>);
            (*fs_type).owner = module.as_ptr();
        }
        // SAFETY: the type is initialised, static, and drop unregisters it.
        kernel::error::to_result(unsafe { bindings::register_filesystem(fs_type) })?;
        Ok(this)
    }
}

impl<T: Inodes> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: the type is the one that new() registered, or was never registered.
        unsafe { bindings::unregister_filesystem(T::statics().fs_type.get()) };
        let dir = T::statics().sysfs.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: no mount exists, so nobody uses the directory; the reference is that of new(). C
        // does nothing with null.
        unsafe { bindings::kobject_put(dir) };
        destroy_cache::<T>();
    }
}

/// Waits for inodes whose RCU callbacks are pending and frees the cache.
fn destroy_cache<T: FileSystem>() {
    let cache = T::statics()
        .inode_cache
        .swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: no super block exists, so no inode can be allocated; all that are on the way to be
    // freed are gone after the barrier.
    unsafe {
        bindings::rcu_barrier();
        bindings::kmem_cache_destroy(cache);
    }
}
