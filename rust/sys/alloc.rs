// SPDX-License-Identifier: GPL-2.0

//! Memory: fallible `try_*` and infallible `must_*`.
//!
//! `try_*` is GFP_KERNEL (NOFS inside a [`NofsScope`](super::NofsScope)) and is for everything
//! before the first change. `must_*` is GFP_NOFS|__GFP_NOFAIL: writeback, ordered completion and
//! commit use nothing else, a few KiB at most and never under a spinlock. The allocators of the
//! kernel crate know neither flag, hence the containers here.

mod arc;
mod block;
mod boxed;
mod spares;
mod vec;

pub(crate) use arc::Arc;
pub(crate) use block::Block;
pub(crate) use boxed::Box;
pub(crate) use spares::{Lent, Spares};
pub(crate) use vec::Vec;

use super::{Errno, SysResult};
use crate::bindings;
use core::alloc::Layout;
use core::ptr::NonNull;

/// How an allocation may end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// With ENOMEM.
    Try,
    /// With memory.
    Must,
}

/// Memory for `layout`, from kvmalloc: aligned for any type, because its size is padded to its
/// alignment and kmalloc aligns to the largest power of two that divides the size. A layout of no
/// bytes gets a pointer that must not be used. May sleep.
fn allocate(layout: Layout, mode: Mode) -> SysResult<NonNull<u8>> {
    let size = layout.pad_to_align().size();
    if size == 0 {
        let aligned = core::ptr::without_provenance_mut(layout.align());
        return NonNull::new(aligned).ok_or(Errno::NOMEM);
    }
    let p = match mode {
        // SAFETY: No requirements.
        Mode::Try => unsafe { bindings::try_alloc(size) },
        // SAFETY: No requirements.
        Mode::Must => unsafe { bindings::must_alloc(size) },
    };
    NonNull::new(p.cast()).ok_or(Errno::NOMEM)
}

/// Frees what [`allocate`] gave for a layout of `size` bytes. Allowed under a spinlock.
///
/// # Safety
///
/// `p` came from [`allocate`] and is not used any more.
unsafe fn free(p: NonNull<u8>, size: usize) {
    if size != 0 {
        // SAFETY: From kvmalloc, as the caller promises.
        unsafe { bindings::kvfree_atomic(p.as_ptr().cast()) };
    }
}

/// What `must_*` returns: its allocation cannot fail, and an object cannot be too large for an
/// address.
fn infallible<T>(r: SysResult<T>) -> T {
    match r {
        Ok(v) => v,
        Err(_) => super::bug("an allocation with __GFP_NOFAIL failed"),
    }
}

/// A reference-counted `value`, or ENOMEM. May sleep.
pub(crate) fn try_arc<T>(value: T) -> SysResult<Arc<T>> {
    Arc::with_mode(value, Mode::Try)
}

/// A reference-counted `value`. May sleep.
pub(crate) fn must_arc<T>(value: T) -> Arc<T> {
    infallible(Arc::with_mode(value, Mode::Must))
}

/// `value` on the heap, or ENOMEM. May sleep.
pub(crate) fn try_box<T>(value: T) -> SysResult<Box<T>> {
    Box::with_mode(value, Mode::Try)
}

/// `value` on the heap. May sleep.
pub(crate) fn must_box<T>(value: T) -> Box<T> {
    infallible(Box::with_mode(value, Mode::Must))
}

/// `N` copies of `value` on the heap, made there: an array argument would pass through the stack.
/// May sleep.
pub(crate) fn must_box_filled<T: Copy, const N: usize>(value: T) -> Box<[T; N]> {
    infallible(Box::filled(value, Mode::Must))
}
