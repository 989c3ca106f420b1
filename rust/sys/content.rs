// SPDX-License-Identifier: GPL-2.0

//! The content lock of a metadata buffer: shared or exclusive, with an ownership that can travel.
//!
//! A block is locked by the task that submits its I/O and unlocked by the worker that completes
//! it, which no rw_semaphore allows (`DEBUG_RWSEMS` warns when a non-owner unlocks). Here the hold
//! is a token: `Send`, not `Clone`, and given back to the very lock it came from. Writeback holds a
//! shared token, so that readers go on and only modifiers wait; a read holds an exclusive one.
//!
//! Guards are for the task itself, tokens for the I/O. A waiting writer keeps new readers out, so a
//! task must not take the same lock twice, shared or not.
//!
//! The lock is one atomic word; who has to wait sleeps in the hashed wait queues. lockdep sees the
//! guards through a map by hand. A token is no task's, so lockdep sees only its acquisition.

use super::alloc::Block;
use super::atomic::{AtomicU64, Ordering};
use super::rank::LockClass;
use super::wait;
use crate::bindings;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use kernel::types::Opaque;

/// A writer holds it.
const WRITER: u64 = 1 << 63;
/// One reader that waits. 20 bits: a million waiting tasks have 16 GiB of stacks.
const WAITING_READER: u64 = 1 << 43;
const WAITING_READERS: u64 = 0xf_ffff << 43;
/// One writer that waits. 20 bits.
const WAITING_WRITER: u64 = 1 << 23;
const WAITING_WRITERS: u64 = 0xf_ffff << 23;
/// One reader that holds it. 23 bits: the kernel has at most 2^22 tasks.
const READER: u64 = 1;
const READERS: u64 = (1 << 23) - 1;

/// Where the numbers of the locks come from. 64 bits do not wrap.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A lock around the content of one block.
pub(crate) struct ContentLock<T, C: LockClass> {
    raw: Raw,
    data: UnsafeCell<T>,
    _class: PhantomData<fn() -> C>,
}

// SAFETY: The data goes with the lock.
unsafe impl<T: Send, C: LockClass> Send for ContentLock<T, C> {}
// SAFETY: The lock gives the data to one writer, or to several readers, which share it.
unsafe impl<T: Send + Sync, C: LockClass> Sync for ContentLock<T, C> {}

/// A shared hold that may be given to another task. Must be returned by [`ContentLock::unshare`].
///
/// # Invariants
///
/// The lock with this number counts it as a reader.
#[must_use]
#[derive(Debug)]
pub(crate) struct SharedToken(u64);

/// An exclusive hold that may be given to another task. Must be returned by
/// [`ContentLock::unlock`] or turned into a shared one by [`ContentLock::downgrade`].
///
/// # Invariants
///
/// The lock with this number has its writer bit set for it.
#[must_use]
#[derive(Debug)]
pub(crate) struct ExclToken(u64);

/// The word, without the data and the class.
struct Raw {
    state: AtomicU64,
    // Tells the lock's tokens from those of others, wherever the lock is.
    id: u64,
    // No bytes without lockdep. It has no pointer to itself, so the lock may move.
    dep: Opaque<bindings::lockdep_map>,
}

impl Raw {
    fn new<C: LockClass>() -> Self {
        let raw = Self {
            state: AtomicU64::new(0),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            dep: Opaque::zeroed(),
        };
        // SAFETY: A map that nobody else knows, and a static class.
        unsafe { bindings::dep_init(raw.dep.get(), C::class().as_ptr()) };
        raw
    }

    fn dep_acquire(&self, nest: u32, trylock: bool, shared: bool) {
        // SAFETY: `new` made it a valid map.
        unsafe { bindings::dep_acquire(self.dep.get(), nest, trylock, shared) };
    }

    fn dep_release(&self) {
        // SAFETY: As above; the task acquired it.
        unsafe { bindings::dep_release(self.dep.get()) };
    }

    /// Changes the word by `f` until it says `None` or nobody interferes.
    #[inline]
    fn update(&self, f: impl FnMut(u64) -> Option<u64>) -> bool {
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, f)
            .is_ok()
    }

    fn wait(&self, cond: impl FnMut() -> bool) {
        wait::wait_on((&raw const self.state).cast(), cond);
    }

    fn wake(&self) {
        wait::wake((&raw const self.state).cast());
    }

    fn lock_shared(&self) {
        let free = |s: u64| (s & (WRITER | WAITING_WRITERS) == 0).then_some(s.wrapping_add(READER));
        super::might_sleep();
        if self.update(free) {
            return;
        }
        // The count goes up before the look at the word in the wait, and whoever releases looks at
        // the count in the same operation: one of the two sees the other.
        self.state.fetch_add(WAITING_READER, Ordering::Relaxed);
        self.wait(|| self.update(|s| free(s).map(|s| s.wrapping_sub(WAITING_READER))));
    }

    fn try_excl(&self) -> bool {
        self.update(|s| (s & (WRITER | READERS) == 0).then_some(s | WRITER))
    }

    fn lock_excl(&self) {
        super::might_sleep();
        if self.try_excl() {
            return;
        }
        self.state.fetch_add(WAITING_WRITER, Ordering::Relaxed);
        self.wait(|| {
            self.update(|s| {
                (s & (WRITER | READERS) == 0).then_some((s | WRITER).wrapping_sub(WAITING_WRITER))
            })
        });
    }

    /// # Safety
    ///
    /// The caller owns one reader of the count and does not use the data afterwards.
    unsafe fn release_shared(&self) {
        let old = self.state.fetch_sub(READER, Ordering::Release);
        if old & READERS == READER && old & WAITING_WRITERS != 0 {
            self.wake();
        }
    }

    /// # Safety
    ///
    /// The caller owns the writer bit and does not use the data afterwards.
    unsafe fn release_excl(&self) {
        let old = self.state.fetch_and(!WRITER, Ordering::Release);
        if old & (WAITING_READERS | WAITING_WRITERS) != 0 {
            self.wake();
        }
    }

    /// Stops if a token is not one of this lock: to go on would let two owners in.
    fn check(&self, id: u64) {
        if id != self.id {
            super::bug("token of another content lock");
        }
    }
}

/// Shared access to the content.
#[must_use]
pub(crate) struct ContentRead<'a, T> {
    data: *const T,
    // The lock to release when dropped; a look under a token has none.
    release: Option<&'a Raw>,
    _held: PhantomData<(&'a T, *const ())>,
}

/// Exclusive access to the content.
#[must_use]
pub(crate) struct ContentWrite<'a, T> {
    data: *mut T,
    // As above.
    release: Option<&'a Raw>,
    _held: PhantomData<(&'a mut T, *const ())>,
}

impl<T, C: LockClass> ContentLock<T, C> {
    /// An unlocked lock around `value`.
    pub(crate) fn new(value: T) -> Self {
        Self {
            raw: Raw::new::<C>(),
            data: UnsafeCell::new(value),
            _class: PhantomData,
        }
    }

    fn read_guard<'a>(&'a self, release: Option<&'a Raw>) -> ContentRead<'a, T> {
        ContentRead {
            data: self.data.get(),
            release,
            _held: PhantomData,
        }
    }

    fn write_guard<'a>(&'a self, release: Option<&'a Raw>) -> ContentWrite<'a, T> {
        ContentWrite {
            data: self.data.get(),
            release,
            _held: PhantomData,
        }
    }

    /// Waits for shared access. May sleep.
    pub(crate) fn read(&self) -> ContentRead<'_, T> {
        self.raw.dep_acquire(0, false, true);
        self.raw.lock_shared();
        self.read_guard(Some(&self.raw))
    }

    /// Waits for exclusive access. May sleep; waits for writeback of the block.
    pub(crate) fn write(&self) -> ContentWrite<'_, T> {
        self.write_nested(0)
    }

    /// [`Self::write`] while another block of the class with a smaller `nest` is held.
    pub(crate) fn write_nested(&self, nest: u32) -> ContentWrite<'_, T> {
        self.raw.dep_acquire(nest, false, false);
        self.raw.lock_excl();
        self.write_guard(Some(&self.raw))
    }

    /// Exclusive access if that needs no waiting.
    pub(crate) fn try_write(&self) -> Option<ContentWrite<'_, T>> {
        if !self.raw.try_excl() {
            return None;
        }
        self.raw.dep_acquire(0, true, false);
        Some(self.write_guard(Some(&self.raw)))
    }

    /// Waits for an exclusive hold that may travel. May sleep.
    pub(crate) fn lock_owned(&self) -> ExclToken {
        // For the order only: the hold is no longer this task's when the token is.
        self.raw.dep_acquire(0, false, false);
        self.raw.lock_excl();
        self.raw.dep_release();
        // INVARIANT: Just taken.
        ExclToken(self.raw.id)
    }

    /// An exclusive hold that may travel, if that needs no waiting.
    pub(crate) fn try_lock_owned(&self) -> Option<ExclToken> {
        if !self.raw.try_excl() {
            return None;
        }
        // INVARIANT: Just taken.
        Some(ExclToken(self.raw.id))
    }

    /// Gives an exclusive hold back and wakes the waiters. Does not sleep.
    pub(crate) fn unlock(&self, token: ExclToken) {
        self.raw.check(token.0);
        // SAFETY: The token owned the bit and is gone.
        unsafe { self.raw.release_excl() };
    }

    /// Turns an exclusive hold into a shared one without letting a writer in between.
    pub(crate) fn downgrade(&self, token: ExclToken) -> SharedToken {
        self.raw.check(token.0);
        let old = self
            .raw
            .state
            .fetch_add(READER.wrapping_sub(WRITER), Ordering::Release);
        if old & WAITING_READERS != 0 {
            self.raw.wake();
        }
        // INVARIANT: The sum took the bit away and counted a reader.
        SharedToken(self.raw.id)
    }

    /// Gives a shared hold back and wakes the waiters. Does not sleep.
    pub(crate) fn unshare(&self, token: SharedToken) {
        self.raw.check(token.0);
        // SAFETY: The token owned its part of the count and is gone.
        unsafe { self.raw.release_shared() };
    }

    /// The content, under an exclusive hold.
    pub(crate) fn access<'a>(&'a self, token: &'a mut ExclToken) -> ContentWrite<'a, T> {
        self.raw.check(token.0);
        self.write_guard(None)
    }

    /// The content, under a shared hold.
    pub(crate) fn peek<'a>(&'a self, token: &'a SharedToken) -> ContentRead<'a, T> {
        self.raw.check(token.0);
        self.read_guard(None)
    }
}

impl<C: LockClass> ContentLock<Block, C> {
    /// The memory of the block, for I/O that owns the token. Only an exclusive hold allows the I/O to
    /// write to it.
    pub(super) fn memory<H: Hold>(&self, token: &H) -> *mut c_void {
        self.raw.check(token.id());
        // SAFETY: Held, so nobody has a `&mut Block`.
        unsafe { &*self.data.get() }.memory()
    }
}

/// A token as a number, for a journey through C.
pub(super) trait Hold: Sized {
    /// The number of the lock that is held.
    fn id(&self) -> u64;

    /// The token that is on its way through C with this number.
    ///
    /// # Safety
    ///
    /// The number is of a token of this type that was forgotten, and was not taken back yet.
    unsafe fn from_raw(id: u64) -> Self;

    /// The number; the hold is lost if nobody takes it back.
    fn into_raw(self) -> u64 {
        let id = self.id();
        core::mem::forget(self);
        id
    }
}

impl Hold for ExclToken {
    fn id(&self) -> u64 {
        self.0
    }

    /// # Safety
    ///
    /// As the trait says.
    unsafe fn from_raw(id: u64) -> Self {
        // INVARIANT: The hold of the token that went to C.
        Self(id)
    }
}

impl Hold for SharedToken {
    fn id(&self) -> u64 {
        self.0
    }

    /// # Safety
    ///
    /// As the trait says.
    unsafe fn from_raw(id: u64) -> Self {
        // INVARIANT: The hold of the token that went to C.
        Self(id)
    }
}

impl<T> Deref for ContentRead<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: Held shared for as long as the guard lives.
        unsafe { &*self.data }
    }
}

impl<T> Deref for ContentWrite<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: Held exclusively for as long as the guard lives.
        unsafe { &*self.data }
    }
}

impl<T> DerefMut for ContentWrite<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: Held exclusively for as long as the guard lives.
        unsafe { &mut *self.data }
    }
}

impl<T> Drop for ContentRead<'_, T> {
    fn drop(&mut self) {
        if let Some(raw) = self.release {
            raw.dep_release();
            // SAFETY: The guard owned a part of the count, and this was its last use.
            unsafe { raw.release_shared() };
        }
    }
}

impl<T> Drop for ContentWrite<'_, T> {
    fn drop(&mut self) {
        if let Some(raw) = self.release {
            raw.dep_release();
            // SAFETY: The guard owned the bit, and this was its last use.
            unsafe { raw.release_excl() };
        }
    }
}
