// SPDX-License-Identifier: GPL-2.0

//! File attributes of chattr(1) and FS_IOC_FSGETXATTR.
//!
//! C header: `include/linux/fileattr.h`.

use crate::bindings;
use kernel::types::Opaque;

/// A `struct file_kattr`.
#[repr(transparent)]
pub struct FileAttr(Opaque<bindings::file_kattr>);

impl FileAttr {
    /// The wrapper of a C object.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and used by this task only for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::file_kattr) -> &'a mut Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Reports `flags` (`FS_*_FL`) and the project id.
    pub fn fill(&mut self, flags: u32, projid: u32) {
        let fa = self.0.get();
        // SAFETY: the structure is valid and ours.
        unsafe {
            bindings::fileattr_fill_flags(fa, flags);
            (*fa).fsx_projid = projid;
        }
    }

    /// The flags (`FS_*_FL`) to set; VFS translated FS_XFLAG_* into them.
    pub fn flags(&self) -> u32 {
        // SAFETY: the structure is valid.
        unsafe { (*self.0.get()).flags }
    }

    /// Whether the caller asks for something that the flags do not express: extent size hints,
    /// a project id.
    pub fn has_fsx(&self) -> bool {
        // SAFETY: the structure is valid.
        unsafe { bindings::fileattr_has_fsx(self.0.get()) }
    }
}
