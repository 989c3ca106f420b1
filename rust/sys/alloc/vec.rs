// SPDX-License-Identifier: GPL-2.0

//! A growable array.

use super::{allocate, free, infallible, Mode};
use crate::sys::{Errno, SysResult};
use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::{size_of, ManuallyDrop};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

/// A growable array that only grows through `try_*` and `must_*`. Derefs to a slice. Large ones
/// are vmalloc'ed.
///
/// # Invariants
///
/// `at` is memory from `allocate` for `cap` elements (dangling when it takes no bytes), of which
/// the first `len` are initialised; `len <= cap`.
pub(crate) struct Vec<T> {
    at: NonNull<T>,
    cap: usize,
    len: usize,
    _owns: PhantomData<T>,
}

// SAFETY: The array is its elements, elsewhere.
unsafe impl<T: Send> Send for Vec<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for Vec<T> {}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Vec<T> {
    /// An empty array; allocates nothing.
    pub(crate) const fn new() -> Self {
        Self {
            at: NonNull::dangling(),
            // Elements without a size need no memory.
            cap: if size_of::<T>() == 0 { usize::MAX } else { 0 },
            len: 0,
            _owns: PhantomData,
        }
    }

    /// An empty array with room for `n`.
    pub(crate) fn try_with_capacity(n: usize) -> SysResult<Self> {
        let mut v = Self::new();
        v.try_reserve(n)?;
        Ok(v)
    }

    /// Makes room for `n` more. At least doubles, so that pushing is constant on average.
    fn reserve(&mut self, n: usize, mode: Mode) -> SysResult<()> {
        let need = self.len.checked_add(n).ok_or(Errno::NOMEM)?;
        if need <= self.cap {
            return Ok(());
        }
        let cap = need.max(self.cap.saturating_mul(2)).max(4);
        let layout = Layout::array::<T>(cap).map_err(|_| Errno::NOMEM)?;
        let at = allocate(layout, mode)?.cast::<T>();
        // SAFETY: Both are at least `len` elements, and the new memory is nobody else's. The old
        // one came from `allocate` for `cap` elements; its elements live on in the new one.
        unsafe {
            ptr::copy_nonoverlapping(self.at.as_ptr(), at.as_ptr(), self.len);
            free(self.at.cast(), self.cap.wrapping_mul(size_of::<T>()));
        }
        self.at = at;
        self.cap = cap;
        Ok(())
    }

    /// Makes room for `n` more.
    pub(crate) fn try_reserve(&mut self, n: usize) -> SysResult<()> {
        self.reserve(n, Mode::Try)
    }

    /// Makes room for `n` more.
    pub(crate) fn must_reserve(&mut self, n: usize) {
        infallible(self.reserve(n, Mode::Must));
    }

    /// Appends, or ENOMEM.
    pub(crate) fn try_push(&mut self, value: T) -> SysResult<()> {
        self.try_reserve(1)?;
        self.push_reserved(value);
        Ok(())
    }

    /// Appends.
    pub(crate) fn must_push(&mut self, value: T) {
        self.must_reserve(1);
        self.push_reserved(value);
    }

    /// Appends without allocating; gives the value back when there is no room. Never sleeps.
    pub(crate) fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
        if self.len == self.cap {
            return Err(value);
        }
        self.push_reserved(value);
        Ok(())
    }

    /// Appends; there is room. Straight from the argument to its place, without a copy on the
    /// stack.
    #[inline]
    fn push_reserved(&mut self, value: T) {
        if self.len == self.cap {
            crate::sys::bug("push to a full array");
        }
        // SAFETY: `len < cap`, so the element is inside the memory and not initialised.
        unsafe { self.at.add(self.len).write(value) };
        // INVARIANT: One more is initialised.
        self.len += 1;
    }

    /// Inserts at `at`, at most at the end. There is room.
    fn insert(&mut self, at: usize, value: T) {
        let at = at.min(self.len);
        if self.len == self.cap {
            crate::sys::bug("insert into a full array");
        }
        // SAFETY: `at <= len < cap`: the elements behind `at` move up by one inside the memory, and
        // the gap is written.
        unsafe {
            let p = self.at.add(at);
            ptr::copy(p.as_ptr(), p.add(1).as_ptr(), self.len - at);
            p.write(value);
        }
        // INVARIANT: One more is initialised.
        self.len += 1;
    }

    /// Inserts at `at` (clamped to the length), or ENOMEM.
    pub(crate) fn try_insert(&mut self, at: usize, value: T) -> SysResult<()> {
        self.try_reserve(1)?;
        self.insert(at, value);
        Ok(())
    }

    /// Inserts at `at` (clamped to the length).
    pub(crate) fn must_insert(&mut self, at: usize, value: T) {
        self.must_reserve(1);
        self.insert(at, value);
    }

    /// Removes and returns the element at `at`, if there is one.
    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        if at >= self.len {
            return None;
        }
        // INVARIANT: One fewer is initialised, once the gap is closed below.
        self.len -= 1;
        // SAFETY: `at` was initialised; the elements behind it move down over it.
        unsafe {
            let p = self.at.add(at);
            let value = p.read();
            ptr::copy(p.add(1).as_ptr(), p.as_ptr(), self.len - at);
            Some(value)
        }
    }

    /// Removes the element at `at` by putting the last one in its place.
    pub(crate) fn swap_remove(&mut self, at: usize) -> Option<T> {
        if at >= self.len {
            return None;
        }
        let last = self.len - 1;
        self.swap(at, last);
        self.pop()
    }

    /// Removes and returns the last element.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        // INVARIANT: One fewer is initialised.
        self.len = last;
        // SAFETY: It was initialised, and is now outside of `len`.
        Some(unsafe { self.at.add(last).read() })
    }

    /// Drops all elements beyond `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let n = self.len - len;
        // INVARIANT: Shortened before the elements go, so that a drop that looks sees none of them.
        self.len = len;
        // SAFETY: The `n` elements from `len` on were initialised and are now outside of `len`.
        unsafe { ptr::slice_from_raw_parts_mut(self.at.add(len).as_ptr(), n).drop_in_place() };
    }

    /// Drops all elements, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.truncate(0);
    }

    /// Elements there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.cap
    }
}

impl<T: Copy> Vec<T> {
    /// Appends; there is room. One copy of memory: what transactions log goes through here.
    fn extend_reserved(&mut self, s: &[T]) {
        if self.cap.wrapping_sub(self.len) < s.len() {
            crate::sys::bug("extension of a full array");
        }
        // SAFETY: There is room for all of `s` behind the first `len`, and it is not ours to be
        // borrowed from: `s` cannot overlap what `&mut self` owns.
        unsafe { ptr::copy_nonoverlapping(s.as_ptr(), self.at.add(self.len).as_ptr(), s.len()) };
        // INVARIANT: So many more are initialised.
        self.len += s.len();
    }

    /// Appends copies of all of `s`, or ENOMEM and nothing appended.
    pub(crate) fn try_extend_from_slice(&mut self, s: &[T]) -> SysResult<()> {
        self.try_reserve(s.len())?;
        self.extend_reserved(s);
        Ok(())
    }

    /// Appends copies of all of `s`.
    pub(crate) fn must_extend_from_slice(&mut self, s: &[T]) {
        self.must_reserve(s.len());
        self.extend_reserved(s);
    }

    /// Grows with copies of `value`, or shrinks, to `len`.
    pub(crate) fn try_resize(&mut self, len: usize, value: T) -> SysResult<()> {
        if len <= self.len {
            self.truncate(len);
            return Ok(());
        }
        self.try_reserve(len - self.len)?;
        for at in self.len..len {
            // SAFETY: `at < len <= cap`: inside the memory.
            unsafe { self.at.add(at).write(value) };
        }
        // INVARIANT: All up to there are.
        self.len = len;
        Ok(())
    }
}

impl<T: Clone> Clone for Vec<T> {
    /// Never fails: the memory is `must_*`. May sleep.
    fn clone(&self) -> Self {
        let mut v = Self::new();
        v.must_reserve(self.len);
        for value in self.iter() {
            v.push_reserved(value.clone());
        }
        v
    }
}

impl<T> Drop for Vec<T> {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: From `allocate` for `cap` elements, none of which is left.
        unsafe { free(self.at.cast(), self.cap.wrapping_mul(size_of::<T>())) };
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: By the invariant.
        unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Vec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: By the invariant.
        unsafe { core::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T: core::fmt::Debug> core::fmt::Debug for Vec<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Vec<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Vec<T> {}

/// The elements of a [`Vec`], by value.
pub(crate) struct IntoIter<T> {
    // The elements from `next` to `end` are initialised, the array itself is empty.
    memory: Vec<T>,
    next: usize,
    end: usize,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: `next < end`: initialised, and passed over from here on.
        let value = unsafe { self.memory.at.add(self.next).read() };
        self.next += 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.end - self.next;
        (n, Some(n))
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    fn next_back(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        // SAFETY: It was initialised, and is outside of the range from here on.
        Some(unsafe { self.memory.at.add(self.end).read() })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        for value in self.by_ref() {
            drop(value);
        }
    }
}

impl<T> IntoIterator for Vec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        let this = ManuallyDrop::new(self);
        IntoIter {
            next: 0,
            end: this.len,
            // INVARIANT: No element is initialised as far as the array knows.
            memory: Vec {
                at: this.at,
                cap: this.cap,
                len: 0,
                _owns: PhantomData,
            },
        }
    }
}

impl<'a, T> IntoIterator for &'a Vec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Vec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
