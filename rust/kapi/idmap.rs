// SPDX-License-Identifier: GPL-2.0

//! Idmapped mounts.
//!
//! C header: `include/linux/mnt_idmapping.h`.

use crate::bindings;
use kernel::types::Opaque;

/// The mapping of user and group ids of a mount.
#[repr(transparent)]
pub struct Idmap(Opaque<bindings::mnt_idmap>);

impl Idmap {
    /// The wrapper of a C object.
    ///
    /// # Safety
    ///
    /// `ptr` is valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::mnt_idmap) -> &'a Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C object.
    pub(super) fn as_ptr(&self) -> *mut bindings::mnt_idmap {
        self.0.get()
    }
}
