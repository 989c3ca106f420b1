// SPDX-License-Identifier: GPL-2.0

//! The memory of one block.

use super::{infallible, Mode};
use crate::bindings;
use crate::sys::{Errno, SysResult, BLOCK_BYTES};
use core::ffi::c_void;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// 4096 bytes that a device can read and write in place: one page.
///
/// # Invariants
///
/// `at` is the start of `BLOCK_BYTES` initialised bytes, aligned to their size, owned by this.
pub(crate) struct Block {
    at: NonNull<[u8; BLOCK_BYTES]>,
}

// SAFETY: Plain bytes that this owns.
unsafe impl Send for Block {}
// SAFETY: As above.
unsafe impl Sync for Block {}

impl Block {
    fn zeroed(mode: Mode) -> SysResult<Self> {
        // SAFETY: No requirements.
        let p = unsafe { bindings::block_alloc(mode == Mode::Must) };
        Ok(Self {
            at: NonNull::new(p.cast()).ok_or(Errno::NOMEM)?,
        })
    }

    /// A block of zeroes, or ENOMEM. May sleep.
    pub(crate) fn try_zeroed() -> SysResult<Self> {
        Self::zeroed(Mode::Try)
    }

    /// A block of zeroes. May sleep.
    pub(crate) fn must_zeroed() -> Self {
        infallible(Self::zeroed(Mode::Must))
    }

    /// The bytes, for C to read, or to write if nobody else looks at them.
    pub(in crate::sys) fn memory(&self) -> *mut c_void {
        self.at.as_ptr().cast()
    }
}

impl Deref for Block {
    type Target = [u8; BLOCK_BYTES];

    #[inline]
    fn deref(&self) -> &[u8; BLOCK_BYTES] {
        // SAFETY: By the invariant.
        unsafe { self.at.as_ref() }
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        // SAFETY: By the invariant.
        unsafe { self.at.as_mut() }
    }
}

impl Clone for Block {
    /// Never fails: `must_zeroed`. May sleep.
    fn clone(&self) -> Self {
        let mut copy = Self::must_zeroed();
        copy.copy_from_slice(&self[..]);
        copy
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: From `block_alloc`; this is the last use.
        unsafe { bindings::block_free(self.at.as_ptr().cast()) };
    }
}
