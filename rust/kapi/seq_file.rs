// SPDX-License-Identifier: GPL-2.0

//! Output of /proc files.
//!
//! C header: `include/linux/seq_file.h`.

use crate::bindings;
use kernel::str::CStr;
use kernel::str::CStrExt as _;
use kernel::types::Opaque;

/// A `struct seq_file` in a show callback.
#[repr(transparent)]
pub struct SeqFile(Opaque<bindings::seq_file>);

impl SeqFile {
    /// The wrapper of a C object.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and used by this task only for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::seq_file) -> &'a Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// Prints `text`. Does not fail: VFS retries with a larger buffer.
    pub fn puts(&self, text: &CStr) {
        // SAFETY: the file is valid and `text` is terminated.
        unsafe { bindings::seq_puts(self.0.get(), text.as_char_ptr()) };
    }

    /// Prints `name` and a number behind it.
    pub fn number(&self, name: &CStr, value: u64) {
        // SAFETY: the file is valid and `name` is terminated.
        unsafe { bindings::seq_u64(self.0.get(), name.as_char_ptr(), value) };
    }
}
