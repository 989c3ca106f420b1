// SPDX-License-Identifier: GPL-2.0

//! Directory entries of the VFS.
//!
//! C header: `include/linux/dcache.h`.

use super::fs::FileSystem;
use super::inode::Inode;
use crate::bindings;
use core::marker::PhantomData;
use kernel::types::Opaque;

/// A `struct dentry` in a directory operation.
///
/// # Invariants
///
/// The `i_rwsem` of the parent directory is held for as long as the reference lives, so that name
/// and inode are stable.
#[repr(transparent)]
pub struct Dentry<T: FileSystem>(Opaque<bindings::dentry>, PhantomData<T>);

impl<T: FileSystem> Dentry<T> {
    /// The wrapper of a C object.
    ///
    /// # Safety
    ///
    /// `ptr` is a dentry of file system `T`, and the caller holds its parent's `i_rwsem` for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// The name, 1 to 255 bytes.
    pub fn name(&self) -> &[u8] {
        // SAFETY: the name is stable by the invariant; `name` points to `len` bytes.
        unsafe {
            let name = &(*self.as_ptr()).__bindgen_anon_1.d_name;
            let len = name.__bindgen_anon_1.__bindgen_anon_1.len;
            core::slice::from_raw_parts(name.name, len as usize)
        }
    }

    /// The inode, [`None`] for a negative entry.
    pub fn inode(&self) -> Option<&Inode<T>> {
        // SAFETY: stable by the invariant; the dentry holds a reference to its inode.
        unsafe {
            let inode = (*self.as_ptr()).d_inode;
            if inode.is_null() {
                None
            } else {
                Some(Inode::from_raw(inode))
            }
        }
    }
}
