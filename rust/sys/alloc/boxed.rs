// SPDX-License-Identifier: GPL-2.0

//! One object on the heap.

use super::{allocate, free, Mode};
use crate::sys::SysResult;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// An owned `T` on the heap.
///
/// # Invariants
///
/// `at` points to a `T` in memory from `allocate`, owned by this.
pub(crate) struct Box<T> {
    at: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: The box is its value, elsewhere.
unsafe impl<T: Send> Send for Box<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for Box<T> {}

impl<T> Box<T> {
    pub(super) fn with_mode(value: T, mode: Mode) -> SysResult<Self> {
        let at = allocate(Layout::new::<T>(), mode)?.cast::<T>();
        // SAFETY: Fresh memory for one `T`.
        unsafe { at.write(value) };
        Ok(Self {
            at,
            _owns: PhantomData,
        })
    }

    /// The object, for a journey without a type; lost if nobody takes it back.
    pub(super) fn into_raw(self) -> NonNull<T> {
        core::mem::ManuallyDrop::new(self).at
    }

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// `at` is from [`Self::into_raw`] and was not taken back yet.
    pub(super) unsafe fn from_raw(at: NonNull<T>) -> Self {
        // INVARIANT: That of the box it was.
        Self {
            at,
            _owns: PhantomData,
        }
    }
}

impl<T: Copy, const N: usize> Box<[T; N]> {
    pub(super) fn filled(value: T, mode: Mode) -> SysResult<Self> {
        let at = allocate(Layout::new::<[T; N]>(), mode)?.cast::<[T; N]>();
        for i in 0..N {
            // SAFETY: Inside fresh memory for `N` elements, of which the last makes it a `[T; N]`.
            unsafe { at.cast::<T>().add(i).write(value) };
        }
        Ok(Self {
            at,
            _owns: PhantomData,
        })
    }
}

impl<T> Deref for Box<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the invariant.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for Box<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the invariant.
        unsafe { self.at.as_mut() }
    }
}

impl<T> Drop for Box<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant; this is the last use.
        unsafe {
            self.at.drop_in_place();
            free(self.at.cast(), core::mem::size_of::<T>());
        }
    }
}

impl<T: core::fmt::Debug> core::fmt::Debug for Box<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}
