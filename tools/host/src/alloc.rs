// SPDX-License-Identifier: GPL-2.0

//! Memory: fallible `try_*` and infallible `must_*`.
//!
//! `try_*` is GFP_KERNEL (NOFS inside a [`NofsScope`](crate::NofsScope)) and is for everything
//! before the first change. `must_*` is GFP_NOFS|__GFP_NOFAIL: writeback, ordered completion and
//! commit use nothing else, a few KiB at most and never under a spinlock. Here `try_*` fails when a
//! test asks for it ([`fail_after`]); `must_*` never does.

use crate::{Errno, SysResult, BLOCK_BYTES};
use core::ops::{Deref, DerefMut};
use std::cell::Cell;

pub use std::boxed::Box;
pub use std::sync::Arc;

std::thread_local! {
    static FAIL_IN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes the `n`-th fallible allocation of this thread from now fail, and all after it, until
/// `fail_after(None)`. Zero fails the next one.
pub fn fail_after(n: Option<u64>) {
    FAIL_IN.with(|f| f.set(n));
}

fn may_alloc() -> SysResult<()> {
    crate::might_sleep();
    FAIL_IN.with(|f| match f.get() {
        None => Ok(()),
        Some(0) => Err(Errno::NOMEM),
        Some(n) => {
            f.set(Some(n - 1));
            Ok(())
        }
    })
}

/// A reference-counted `value`, or ENOMEM. May sleep.
pub fn try_arc<T>(value: T) -> SysResult<Arc<T>> {
    may_alloc()?;
    Ok(Arc::new(value))
}

/// A reference-counted `value`. May sleep.
pub fn must_arc<T>(value: T) -> Arc<T> {
    crate::might_sleep();
    Arc::new(value)
}

/// `value` on the heap, or ENOMEM. May sleep.
pub fn try_box<T>(value: T) -> SysResult<Box<T>> {
    may_alloc()?;
    Ok(Box::new(value))
}

/// `value` on the heap. May sleep.
pub fn must_box<T>(value: T) -> Box<T> {
    crate::might_sleep();
    Box::new(value)
}

/// `N` copies of `value` on the heap; in the kernel made there: an array argument would pass
/// through the stack. May sleep.
pub fn must_box_filled<T: Copy, const N: usize>(value: T) -> Box<[T; N]> {
    crate::might_sleep();
    Box::new([value; N])
}

/// Objects that nobody uses, at most one for each CPU; here, at most [`SPARES`]. For what is made
/// and dropped all the time, with memory of its own that the next user has a use for.
///
/// Not one of the primitives that a model watches: what is in it makes no difference to anybody.
pub struct Spares<T>(std::sync::Mutex<std::vec::Vec<Box<T>>>);

/// Most objects in a [`Spares`].
const SPARES: usize = 2;

impl<T: Send> Spares<T> {
    /// None yet; ENOMEM. May sleep.
    pub fn new() -> SysResult<Self> {
        may_alloc()?;
        Ok(Self(std::sync::Mutex::default()))
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, std::vec::Vec<Box<T>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// One of them, as it was when it came back, or what `make` makes; whose errors. Sleeps only if
    /// `make` does.
    pub fn lend(&self, make: impl FnOnce() -> SysResult<Box<T>>) -> SysResult<Lent<'_, T>> {
        let spare = self.objects().pop();
        let object = match spare {
            Some(object) => object,
            None => make()?,
        };
        Ok(Lent {
            spares: self,
            object: Some(object),
        })
    }
}

/// An object of [`Spares`] in use. Goes back when this is dropped, as it is then.
pub struct Lent<'a, T: Send> {
    spares: &'a Spares<T>,
    /// [`Some`] until it is dropped.
    object: Option<Box<T>>,
}

impl<T: Send> Deref for Lent<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.object.as_deref().expect("not dropped")
    }
}

impl<T: Send> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.object.as_deref_mut().expect("not dropped")
    }
}

impl<T: Send> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        let mut objects = self.spares.objects();
        if objects.len() < SPARES {
            objects.extend(self.object.take());
        }
    }
}

/// A growable array that only grows through `try_*` and `must_*`. Derefs to a slice.
/// Kernel: kvmalloc'ed, so large arrays are fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vec<T>(std::vec::Vec<T>);

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Vec<T> {
    /// An empty array; allocates nothing.
    pub const fn new() -> Self {
        Self(std::vec::Vec::new())
    }

    /// An empty array with room for `n`.
    pub fn try_with_capacity(n: usize) -> SysResult<Self> {
        let mut v = Self::new();
        v.try_reserve(n)?;
        Ok(v)
    }

    /// Makes room for `n` more.
    pub fn try_reserve(&mut self, n: usize) -> SysResult<()> {
        if self.0.capacity() - self.0.len() >= n {
            return Ok(());
        }
        may_alloc()?;
        self.0.try_reserve(n).map_err(|_| Errno::NOMEM)
    }

    /// Makes room for `n` more.
    pub fn must_reserve(&mut self, n: usize) {
        if self.0.capacity() - self.0.len() < n {
            crate::might_sleep();
            self.0.reserve(n);
        }
    }

    /// Appends, or ENOMEM.
    pub fn try_push(&mut self, value: T) -> SysResult<()> {
        self.try_reserve(1)?;
        self.0.push(value);
        Ok(())
    }

    /// Appends.
    pub fn must_push(&mut self, value: T) {
        self.must_reserve(1);
        self.0.push(value);
    }

    /// Appends without allocating; gives the value back when there is no room. Never sleeps.
    pub fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
        if self.0.len() < self.0.capacity() {
            self.0.push(value);
            Ok(())
        } else {
            Err(value)
        }
    }

    /// Inserts at `at` (clamped to the length), or ENOMEM.
    pub fn try_insert(&mut self, at: usize, value: T) -> SysResult<()> {
        self.try_reserve(1)?;
        self.0.insert(at.min(self.0.len()), value);
        Ok(())
    }

    /// Inserts at `at` (clamped to the length).
    pub fn must_insert(&mut self, at: usize, value: T) {
        self.must_reserve(1);
        self.0.insert(at.min(self.0.len()), value);
    }

    /// Removes and returns the element at `at`, if there is one.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        (at < self.0.len()).then(|| self.0.remove(at))
    }

    /// Removes the element at `at` by putting the last one in its place.
    pub fn swap_remove(&mut self, at: usize) -> Option<T> {
        (at < self.0.len()).then(|| self.0.swap_remove(at))
    }

    /// Removes and returns the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Drops all elements beyond `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Drops all elements, keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Elements there is room for.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<T: Clone> Vec<T> {
    /// Appends copies of all of `s`, or ENOMEM and nothing appended.
    pub fn try_extend_from_slice(&mut self, s: &[T]) -> SysResult<()> {
        self.try_reserve(s.len())?;
        self.0.extend_from_slice(s);
        Ok(())
    }

    /// Appends copies of all of `s`.
    pub fn must_extend_from_slice(&mut self, s: &[T]) {
        self.must_reserve(s.len());
        self.0.extend_from_slice(s);
    }

    /// Grows with copies of `value`, or shrinks, to `len`.
    pub fn try_resize(&mut self, len: usize, value: T) -> SysResult<()> {
        if len > self.0.len() {
            self.try_reserve(len - self.0.len())?;
        }
        self.0.resize(len, value);
        Ok(())
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Vec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Vec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// 4096 bytes on the heap, aligned so that a device can read and write them in place.
/// Kernel: one page.
#[derive(Clone)]
pub struct Block(Box<[u8; BLOCK_BYTES]>);

impl Block {
    /// A block of zeroes, or ENOMEM. May sleep.
    pub fn try_zeroed() -> SysResult<Self> {
        may_alloc()?;
        Ok(Self(Box::new([0; BLOCK_BYTES])))
    }

    /// A block of zeroes. May sleep.
    pub fn must_zeroed() -> Self {
        crate::might_sleep();
        Self(Box::new([0; BLOCK_BYTES]))
    }
}

impl Deref for Block {
    type Target = [u8; BLOCK_BYTES];
    fn deref(&self) -> &[u8; BLOCK_BYTES] {
        &self.0
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        &mut self.0
    }
}
