// SPDX-License-Identifier: GPL-2.0

//! Objects that are kept for their memory until somebody needs the next one.

use super::{Box, Vec};
use crate::bindings;
use crate::sys::SysResult;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

/// One place, alone in its cache line.
///
/// # Invariants
///
/// Null, or what [`Box::into_raw`] returned, which belongs to the place.
#[repr(align(64))]
struct Place<T>(AtomicPtr<T>);

/// Objects that nobody uses, at most one for each CPU. For what is made and dropped all the time,
/// with memory of its own that the next user has a use for.
///
/// No lock: a place is one exchange of a pointer. Which CPU the task is on is a hint only; a task
/// that is moved meanwhile takes or fills another CPU's place.
pub(crate) struct Spares<T> {
    places: Vec<Place<T>>,
    /// It owns objects, and drops them in any task.
    _owns: PhantomData<Box<T>>,
}

impl<T: Send> Spares<T> {
    /// None yet; ENOMEM. May sleep.
    pub(crate) fn new() -> SysResult<Self> {
        // SAFETY: No requirements.
        let cpus = unsafe { bindings::cpus() } as usize;
        let mut places = Vec::try_with_capacity(cpus)?;
        for _ in 0..cpus {
            // INVARIANT: Null.
            places.try_push(Place(AtomicPtr::new(ptr::null_mut())))?;
        }
        Ok(Self {
            places,
            _owns: PhantomData,
        })
    }

    fn place(&self) -> Option<&AtomicPtr<T>> {
        // SAFETY: No requirements.
        let cpu = unsafe { bindings::this_cpu() } as usize;
        self.places.get(cpu).map(|place| &place.0)
    }

    /// One of them, as it was when it came back, or what `make` makes; whose errors. Sleeps only if
    /// `make` does.
    pub(crate) fn lend(&self, make: impl FnOnce() -> SysResult<Box<T>>) -> SysResult<Lent<'_, T>> {
        let object = match self.take() {
            Some(object) => object,
            None => make()?,
        };
        Ok(Lent {
            spares: self,
            object: ManuallyDrop::new(object),
        })
    }

    fn take(&self) -> Option<Box<T>> {
        // INVARIANT: Null again.
        let object = self.place()?.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: By the invariant of the place, which owns it no more.
        NonNull::new(object).map(|object| unsafe { Box::from_raw(object) })
    }

    fn give(&self, object: Box<T>) {
        let Some(place) = self.place() else { return };
        let object = object.into_raw();
        // INVARIANT: The place owns it if it was empty.
        let kept = place.compare_exchange(
            ptr::null_mut(),
            object.as_ptr(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if kept.is_err() {
            // SAFETY: From `into_raw` just now, and the place did not take it.
            drop(unsafe { Box::from_raw(object) });
        }
    }
}

/// An object of [`Spares`] in use. Goes back when this is dropped, as it is then.
pub(crate) struct Lent<'a, T: Send> {
    spares: &'a Spares<T>,
    object: ManuallyDrop<Box<T>>,
}

impl<T: Send> Deref for Lent<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: Send> DerefMut for Lent<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<T: Send> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The last use.
        self.spares
            .give(unsafe { ManuallyDrop::take(&mut self.object) });
    }
}

impl<T> Drop for Spares<T> {
    fn drop(&mut self) {
        for place in self.places.iter_mut() {
            // SAFETY: By the invariant of the place, which goes now.
            drop(NonNull::new(*place.0.get_mut()).map(|object| unsafe { Box::from_raw(object) }));
        }
    }
}
