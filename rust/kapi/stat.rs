// SPDX-License-Identifier: GPL-2.0

//! What stat(2) and statx(2) report, and the times of inodes.
//!
//! C headers: `include/linux/stat.h`, `include/linux/time64.h`.

use crate::bindings;
use crate::sys::Time;
use kernel::types::Opaque;

/// The C form of a time.
pub(super) fn to_timespec(time: Time) -> bindings::timespec64 {
    bindings::timespec64 {
        tv_sec: time.secs,
        // CAST: below 10^9.
        tv_nsec: time.nanos as isize,
    }
}

/// The engine's form of a time. C keeps `tv_nsec` in 0..10^9.
pub(super) fn from_timespec(time: &bindings::timespec64) -> Time {
    Time {
        secs: time.tv_sec,
        nanos: u32::try_from(time.tv_nsec).unwrap_or(0),
    }
}

/// A `struct kstat` that `getattr` fills, after `generic_fillattr()` did its part.
#[repr(transparent)]
pub struct KStat(Opaque<bindings::kstat>);

impl KStat {
    /// The wrapper of a C object.
    ///
    /// # Safety
    ///
    /// `ptr` is valid and used by this task only for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::kstat) -> &'a mut Self {
        // SAFETY: by the contract of this function; the type is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Sets the time of creation.
    pub fn set_btime(&mut self, time: Time) {
        let stat = self.0.get();
        // SAFETY: the structure is valid and ours.
        unsafe {
            (*stat).btime = to_timespec(time);
            (*stat).result_mask |= bindings::STATX_BTIME;
        }
    }

    /// Sets the space the file takes, in sectors of 512 bytes.
    pub fn set_blocks(&mut self, sectors: u64) {
        // SAFETY: the structure is valid and ours.
        unsafe { (*self.0.get()).blocks = sectors };
    }

    /// Sets the attribute bits (`STATX_ATTR_*`) and which of them can ever be set.
    pub fn set_attributes(&mut self, attributes: u64, mask: u64) {
        let stat = self.0.get();
        // SAFETY: the structure is valid and ours.
        unsafe {
            (*stat).attributes |= attributes;
            (*stat).attributes_mask |= mask;
        }
    }

    /// Sets the alignment of memory and file offset that direct I/O needs, in bytes.
    pub fn set_dio_align(&mut self, memory: u32, offset: u32) {
        let stat = self.0.get();
        // SAFETY: the structure is valid and ours.
        unsafe {
            (*stat).dio_mem_align = memory;
            (*stat).dio_offset_align = offset;
            (*stat).dio_read_offset_align = offset;
            (*stat).result_mask |= bindings::STATX_DIOALIGN | bindings::STATX_DIO_READ_ALIGN;
        }
    }
}
