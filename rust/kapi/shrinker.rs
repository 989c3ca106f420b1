// SPDX-License-Identifier: GPL-2.0

//! Memory reclaim.
//!
//! C header: `include/linux/shrinker.h`.

use crate::bindings;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::ffi::c_ulong;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::str::CStrExt as _;

/// What `scan_objects` answers if there is nothing to do (`SHRINK_STOP`).
const STOP: c_ulong = c_ulong::MAX;
/// What `count_objects` answers if the cache is empty (`SHRINK_EMPTY`).
const EMPTY: c_ulong = c_ulong::MAX - 1;

/// A cache that can give memory back.
///
/// Both may be called by any allocation anywhere, also in a NOFS scope and with locks of the file
/// system held: they take spinlocks or try, do no I/O and wait for nothing.
pub trait Shrink: Send + Sync + 'static {
    /// How many objects could be freed.
    fn count(&self) -> usize;

    /// Frees about `n` objects and returns how many.
    fn scan(&self, n: usize) -> usize;
}

/// A registered shrinker. Drop waits for callbacks that run.
pub struct Shrinker<S: Shrink> {
    ptr: NonNull<bindings::shrinker>,
    /// What `private_data` points at.
    data: NonNull<S>,
    _owned: PhantomData<S>,
}

// SAFETY: the C object is used by drop only, the data may be shared.
unsafe impl<S: Shrink> Send for Shrinker<S> {}
// SAFETY: as above.
unsafe impl<S: Shrink> Sync for Shrinker<S> {}

impl<S: Shrink> Shrinker<S> {
    /// Registers a shrinker, which debugfs calls `latchfs-ID`. May sleep. ENOMEM.
    pub fn new(id: &CStr, data: S) -> Result<Self> {
        let data = KBox::new(data, GFP_KERNEL)?;
        // SAFETY: the format has one string, which is terminated.
        let ptr =
            unsafe { bindings::shrinker_alloc(0, c"latchfs-%s".as_char_ptr(), id.as_char_ptr()) };
        let ptr = NonNull::new(ptr).ok_or(ENOMEM)?;
        let data = NonNull::from(KBox::leak(data));
        // SAFETY: the shrinker is ours until it is registered; the data outlives it.
        unsafe {
            let shrinker = ptr.as_ptr();
            (*shrinker).count_objects = Some(count::<S>);
            (*shrinker).scan_objects = Some(scan::<S>);
            (*shrinker).private_data = data.as_ptr().cast();
            bindings::shrinker_register(shrinker);
        }
        Ok(Self {
            ptr,
            data,
            _owned: PhantomData,
        })
    }
}

impl<S: Shrink> Drop for Shrinker<S> {
    fn drop(&mut self) {
        // SAFETY: the shrinker is registered; after this no callback runs, so that the data, which
        // new() leaked, is ours again.
        unsafe {
            bindings::shrinker_free(self.ptr.as_ptr());
            drop(KBox::from_raw(self.data.as_ptr()));
        }
    }
}

unsafe extern "C" fn count<S: Shrink>(
    shrinker: *mut bindings::shrinker,
    _sc: *mut bindings::shrink_control,
) -> c_ulong {
    // SAFETY: new() put the data there, and it lives as long as callbacks run.
    match unsafe { &*(*shrinker).private_data.cast::<S>() }.count() {
        0 => EMPTY,
        n => n,
    }
}

unsafe extern "C" fn scan<S: Shrink>(
    shrinker: *mut bindings::shrinker,
    sc: *mut bindings::shrink_control,
) -> c_ulong {
    // SAFETY: as in count(); the control block is valid.
    unsafe {
        let data = &*(*shrinker).private_data.cast::<S>();
        match data.scan((*sc).nr_to_scan) {
            0 => STOP,
            n => n,
        }
    }
}
