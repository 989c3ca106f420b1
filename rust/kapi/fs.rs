// SPDX-License-Identifier: GPL-2.0

//! The file system type: registration and the cache of its inodes.
//!
//! C header: `include/linux/fs.h`.

use super::fs_context;
use super::fs_context::ContextOps;
use super::inode;
use super::inode::Inodes;
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

    /// The slab cache of the inodes.
    fn inode_cache() -> &'static InodeCache;
}

/// The slab cache of a file system's inodes. A static, because inodes are freed by RCU callbacks
/// that run after the super block is gone.
pub struct InodeCache(AtomicPtr<bindings::kmem_cache>);

impl InodeCache {
    /// A cache that is not there yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The C object, null before [`Registration::new`].
    pub(super) fn as_ptr(&self) -> *mut bindings::kmem_cache {
        self.0.load(Ordering::Acquire)
    }
}

impl Default for InodeCache {
    fn default() -> Self {
        Self::new()
    }
}

/// A registered file system type. Unregistered on drop, when the module is unloaded: by then no
/// super block of it exists, since each holds the module.
pub struct Registration<T: Inodes> {
    fs_type: Pin<KBox<Opaque<bindings::file_system_type>>>,
    _fs: PhantomData<T>,
}

// SAFETY: nothing but drop uses the C object.
unsafe impl<T: Inodes> Send for Registration<T> {}
// SAFETY: as above.
unsafe impl<T: Inodes> Sync for Registration<T> {}

impl<T: Inodes + ContextOps> Registration<T> {
    /// Makes the inode cache and registers the type. May sleep. EBUSY if the name is taken.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let cache = inode::new_cache::<T>()?;
        T::inode_cache().0.store(cache, Ordering::Release);
        let init = bindings::file_system_type {
            name: T::NAME.as_char_ptr(),
            fs_flags: (bindings::FS_REQUIRES_DEV | bindings::FS_ALLOW_IDMAP | bindings::FS_MGTIME)
                as i32,
            init_fs_context: Some(fs_context::init::<T>),
            // SAFETY: the helper returns a static table.
            parameters: unsafe { bindings::parameters() },
            kill_sb: Some(fs_context::kill_sb::<T>),
            owner: module.as_ptr(),
            // SAFETY: C wants the rest zeroed.
            ..unsafe { core::mem::zeroed() }
        };
        let boxed = KBox::new(Opaque::new(init), GFP_KERNEL).map(KBox::into_pin);
        // From here on drop undoes everything, also the registration that did not happen: C
        // answers EINVAL to that.
        let this = match boxed {
            Ok(fs_type) => Self {
                fs_type,
                _fs: PhantomData,
            },
            Err(e) => {
                destroy_cache::<T>();
                return Err(e.into());
            }
        };
        // SAFETY: the type is initialised, pinned, and lives until drop unregisters it.
        kernel::error::to_result(unsafe { bindings::register_filesystem(this.fs_type.get()) })?;
        Ok(this)
    }
}

impl<T: Inodes> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: the type is the one that new() registered, or was never registered.
        unsafe { bindings::unregister_filesystem(self.fs_type.get()) };
        destroy_cache::<T>();
    }
}

/// Waits for inodes whose RCU callbacks are pending and frees the cache.
fn destroy_cache<T: FileSystem>() {
    let cache = T::inode_cache().0.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: no super block exists, so no inode can be allocated; all that are on the way to be
    // freed are gone after the barrier.
    unsafe {
        bindings::rcu_barrier();
        bindings::kmem_cache_destroy(cache);
    }
}
