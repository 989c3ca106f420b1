// SPDX-License-Identifier: GPL-2.0

//! A reference-counted object.

use super::{allocate, free, Mode};
use crate::sys::SysResult;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::sync::Refcount;

/// A counted reference to a shared `T`. `clone` takes another, the last drop drops the object.
///
/// The counter is a `refcount_t`: it saturates instead of wrapping.
///
/// # Invariants
///
/// `inner` points to an object that lives at least as long as this, and owns one of its count.
pub(crate) struct Arc<T> {
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<Inner<T>>,
}

#[repr(C)]
struct Inner<T> {
    refs: Refcount,
    value: T,
}

// SAFETY: References on several threads share the value and one of them drops it.
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: As above: a `&Arc` can be cloned.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    pub(super) fn with_mode(value: T, mode: Mode) -> SysResult<Self> {
        let inner = allocate(Layout::new::<Inner<T>>(), mode)?.cast::<Inner<T>>();
        // SAFETY: Fresh memory for one `Inner<T>`, whose fields are written one by one, so that the
        // value need not be copied on the stack.
        unsafe {
            (&raw mut (*inner.as_ptr()).refs).write(Refcount::new(1));
            (&raw mut (*inner.as_ptr()).value).write(value);
        }
        // INVARIANT: The count is 1 and this is the reference.
        Ok(Self {
            inner,
            _owns: PhantomData,
        })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the invariant.
        unsafe { self.inner.as_ref() }
    }

    /// Whether both refer to the same object.
    pub(crate) fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.inner == other.inner
    }

    /// Address of the object, for comparisons and messages.
    pub(crate) fn as_ptr(this: &Self) -> *const T {
        &raw const this.inner().value
    }

    /// Gives the reference away as a pointer, to be taken back by [`Arc::from_raw`] once.
    pub(in crate::sys) fn into_raw(this: Self) -> *const () {
        let this = core::mem::ManuallyDrop::new(this);
        this.inner.as_ptr().cast_const().cast()
    }

    /// Takes back a reference given away.
    ///
    /// # Safety
    ///
    /// `p` came from [`Arc::into_raw`] of the same `T` and was not taken back yet.
    pub(in crate::sys) unsafe fn from_raw(p: *const ()) -> Self {
        Self {
            // SAFETY: A pointer from `into_raw` is not null.
            inner: unsafe { NonNull::new_unchecked(p.cast_mut().cast()) },
            _owns: PhantomData,
        }
    }
}

impl<T> Clone for Arc<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.inner().refs.inc();
        // INVARIANT: The count went up for it.
        Self {
            inner: self.inner,
            _owns: PhantomData,
        }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> AsRef<T> for Arc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T> Drop for Arc<T> {
    #[inline]
    fn drop(&mut self) {
        if self.inner().refs.dec_and_test() {
            // SAFETY: The last reference is gone, so the object is ours alone, and it came from
            // `allocate`.
            unsafe {
                self.inner.drop_in_place();
                free(self.inner.cast(), core::mem::size_of::<Inner<T>>());
            }
        }
    }
}

impl<T: core::fmt::Debug> core::fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}
