// SPDX-License-Identifier: GPL-2.0

//! The content lock of a metadata buffer: shared or exclusive, with an ownership that can travel.
//!
//! A block is locked by the task that submits its I/O and unlocked by the worker that completes
//! it, which no rw_semaphore allows (`DEBUG_RWSEMS` warns when a non-owner unlocks). Here the hold
//! is a token: `Send`, not `Clone`, and given back to the very lock it came from. Writeback holds a
//! shared token, so that readers go on and only modifiers wait; a read holds an exclusive one.
//!
//! Guards are for the task itself, tokens for the I/O. A waiting writer keeps new readers out, so a
//! task must not take the same lock twice, shared or not. Kernel: own word and hashed wait queue.

use crate::prim::{self, Condvar};
use crate::rank::{self, HeldLock, Kind, LockClass};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct State {
    readers: u32,
    writer: bool,
    waiting_writers: u32,
}

/// A lock around the content of one block.
pub struct ContentLock<T, C: LockClass> {
    id: u64,
    state: prim::Mutex<State>,
    changed: Condvar,
    data: prim::RwLock<T>,
    _class: PhantomData<fn() -> C>,
}

/// A shared hold that may be given to another task. Must be returned by [`ContentLock::unshare`].
#[must_use]
#[derive(Debug)]
pub struct SharedToken(u64);

/// An exclusive hold that may be given to another task. Must be returned by
/// [`ContentLock::unlock`] or turned into a shared one by [`ContentLock::downgrade`].
#[must_use]
#[derive(Debug)]
pub struct ExclToken(u64);

/// Shared access to the content.
pub struct ContentRead<'a, T> {
    g: Option<prim::RwLockReadGuard<'a, T>>,
    release: Option<&'a dyn Release>,
    _held: Option<HeldLock>,
}

/// Exclusive access to the content.
pub struct ContentWrite<'a, T> {
    g: Option<prim::RwLockWriteGuard<'a, T>>,
    release: Option<&'a dyn Release>,
    _held: Option<HeldLock>,
}

macro_rules! bomb {
    ($token:ident) => {
        impl Drop for $token {
            fn drop(&mut self) {
                // A lost token is a block that stays locked for ever; the kernel warns once.
                if !std::thread::panicking() {
                    panic!(concat!(
                        stringify!($token),
                        " dropped instead of given back"
                    ));
                }
            }
        }
    };
}

bomb!(SharedToken);
bomb!(ExclToken);

trait Release {
    fn release_shared(&self);
    fn release_excl(&self);
}

impl<T, C: LockClass> Release for ContentLock<T, C> {
    fn release_shared(&self) {
        let mut s = prim::lock(&self.state);
        assert!(s.readers > 0, "content lock released but not held");
        s.readers -= 1;
        drop(s);
        self.changed.notify_all();
    }

    fn release_excl(&self) {
        let mut s = prim::lock(&self.state);
        assert!(s.writer, "content lock released but not held");
        s.writer = false;
        drop(s);
        self.changed.notify_all();
    }
}

impl<T, C: LockClass> ContentLock<T, C> {
    /// An unlocked lock around `value`.
    pub fn new(value: T) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            state: prim::Mutex::new(State::default()),
            changed: Condvar::new(),
            data: prim::RwLock::new(value),
            _class: PhantomData,
        }
    }

    fn wait_shared(&self) {
        rank::check::<C>(0, Kind::Sleep);
        let mut s = prim::lock(&self.state);
        while s.writer || s.waiting_writers > 0 {
            s = self.changed.wait(s).unwrap_or_else(|e| e.into_inner());
        }
        s.readers += 1;
    }

    fn wait_excl(&self, nest: u32) {
        rank::check::<C>(nest, Kind::Sleep);
        let mut s = prim::lock(&self.state);
        s.waiting_writers += 1;
        while s.writer || s.readers > 0 {
            s = self.changed.wait(s).unwrap_or_else(|e| e.into_inner());
        }
        s.waiting_writers -= 1;
        s.writer = true;
    }

    fn data_read(&self) -> prim::RwLockReadGuard<'_, T> {
        self.data.read().unwrap_or_else(|e| e.into_inner())
    }

    fn data_write(&self) -> prim::RwLockWriteGuard<'_, T> {
        self.data.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for shared access. May sleep.
    pub fn read(&self) -> ContentRead<'_, T> {
        self.wait_shared();
        ContentRead {
            g: Some(self.data_read()),
            release: Some(self),
            _held: Some(rank::acquired::<C>(0, Kind::Sleep)),
        }
    }

    /// Waits for exclusive access. May sleep; waits for writeback of the block.
    pub fn write(&self) -> ContentWrite<'_, T> {
        self.write_nested(0)
    }

    /// [`Self::write`] while another block of the class with a smaller `nest` is held.
    pub fn write_nested(&self, nest: u32) -> ContentWrite<'_, T> {
        self.wait_excl(nest);
        ContentWrite {
            g: Some(self.data_write()),
            release: Some(self),
            _held: Some(rank::acquired::<C>(nest, Kind::Sleep)),
        }
    }

    /// Exclusive access if that needs no waiting.
    pub fn try_write(&self) -> Option<ContentWrite<'_, T>> {
        let mut s = prim::lock(&self.state);
        if s.writer || s.readers > 0 {
            return None;
        }
        s.writer = true;
        drop(s);
        Some(ContentWrite {
            g: Some(self.data_write()),
            release: Some(self),
            _held: Some(rank::acquired::<C>(0, Kind::Try { spin: false })),
        })
    }

    /// Waits for an exclusive hold that may travel. May sleep.
    pub fn lock_owned(&self) -> ExclToken {
        self.wait_excl(0);
        ExclToken(self.id)
    }

    /// An exclusive hold that may travel, if that needs no waiting.
    pub fn try_lock_owned(&self) -> Option<ExclToken> {
        let mut s = prim::lock(&self.state);
        if s.writer || s.readers > 0 {
            return None;
        }
        s.writer = true;
        Some(ExclToken(self.id))
    }

    /// Gives an exclusive hold back and wakes the waiters. Does not sleep.
    pub fn unlock(&self, token: ExclToken) {
        assert_eq!(token.0, self.id, "token of another lock");
        core::mem::forget(token);
        self.release_excl();
    }

    /// Turns an exclusive hold into a shared one without letting a writer in between.
    pub fn downgrade(&self, token: ExclToken) -> SharedToken {
        assert_eq!(token.0, self.id, "token of another lock");
        core::mem::forget(token);
        let mut s = prim::lock(&self.state);
        assert!(s.writer, "content lock downgraded but not held");
        s.writer = false;
        s.readers += 1;
        drop(s);
        self.changed.notify_all();
        SharedToken(self.id)
    }

    /// Gives a shared hold back and wakes the waiters. Does not sleep.
    pub fn unshare(&self, token: SharedToken) {
        assert_eq!(token.0, self.id, "token of another lock");
        core::mem::forget(token);
        self.release_shared();
    }

    /// The content, under an exclusive hold.
    pub fn access<'a>(&'a self, token: &'a mut ExclToken) -> ContentWrite<'a, T> {
        assert_eq!(token.0, self.id, "token of another lock");
        ContentWrite {
            g: Some(self.data_write()),
            release: None,
            _held: None,
        }
    }

    /// The content, under a shared hold.
    pub fn peek<'a>(&'a self, token: &'a SharedToken) -> ContentRead<'a, T> {
        assert_eq!(token.0, self.id, "token of another lock");
        ContentRead {
            g: Some(self.data_read()),
            release: None,
            _held: None,
        }
    }
}

impl<T> Deref for ContentRead<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.g.as_ref().expect("guard in use")
    }
}

impl<T> Deref for ContentWrite<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.g.as_ref().expect("guard in use")
    }
}

impl<T> DerefMut for ContentWrite<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.g.as_mut().expect("guard in use")
    }
}

impl<T> Drop for ContentRead<'_, T> {
    fn drop(&mut self) {
        self.g = None;
        if let Some(r) = self.release {
            r.release_shared();
        }
    }
}

impl<T> Drop for ContentWrite<'_, T> {
    fn drop(&mut self) {
        self.g = None;
        if let Some(r) = self.release {
            r.release_excl();
        }
    }
}
