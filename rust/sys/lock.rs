// SPDX-License-Identifier: GPL-2.0

//! Spinlock, mutex and rw_semaphore, each around its data and with its class in the type.
//!
//! `new` makes an unlocked lock anywhere; an unlocked lock may be moved. So ring 1 never pins
//! anything: a mutex or rw_semaphore holds, beside the C lock, the address at which it was
//! initialised, and every acquisition compares that with where it is now (`helpers/lock.c`). A
//! spinlock has no pointer to itself and needs no such word.
//!
//! Nobody can be inside or waiting for a lock that moves, because both borrow it.

use super::rank::LockClass;
use crate::bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use kernel::types::Opaque;

/// A spinlock: `spinlock_t`, never taken in interrupt context. Nothing below it may sleep.
pub(crate) struct Spin<T, C: LockClass> {
    raw: RawSpin,
    data: UnsafeCell<T>,
    _class: PhantomData<fn() -> C>,
}

/// A sleeping mutex: `struct mutex`.
pub(crate) struct Mutex<T, C: LockClass> {
    raw: RawMutex,
    data: UnsafeCell<T>,
    _class: PhantomData<fn() -> C>,
}

/// A reader/writer semaphore: `struct rw_semaphore`.
pub(crate) struct RwSem<T, C: LockClass> {
    raw: RawRwSem,
    data: UnsafeCell<T>,
    _class: PhantomData<fn() -> C>,
}

/// The C spinlock.
#[repr(transparent)]
struct RawSpin(Opaque<bindings::spinlock_t>);

/// The C mutex with its home address.
#[repr(transparent)]
struct RawMutex(Opaque<bindings::latchfs_mutex>);

/// The C rw_semaphore with its home address.
#[repr(transparent)]
struct RawRwSem(Opaque<bindings::latchfs_rwsem>);

impl RawSpin {
    fn new<C: LockClass>() -> Self {
        let raw = Self(Opaque::zeroed());
        // Without debugging, a free spinlock is a word of zeroes.
        if cfg!(CONFIG_DEBUG_SPINLOCK) || cfg!(CONFIG_PREEMPT_RT) {
            // SAFETY: The memory is a `spinlock_t` that nobody else knows, and the class is static.
            unsafe { bindings::spin_init(raw.0.get(), C::class().as_ptr()) };
        }
        raw
    }

    #[inline]
    fn lock<C: LockClass>(&self, nest: u32) {
        // SAFETY: `new` made it a valid spinlock.
        unsafe { bindings::spin_lock_nested(self.0.get(), nest) };
    }

    #[inline]
    fn try_lock<C: LockClass>(&self) -> bool {
        // SAFETY: `new` made it a valid spinlock.
        unsafe { bindings::spin_trylock(self.0.get()) != 0 }
    }

    /// # Safety
    ///
    /// The caller holds the lock, and what it protects is not used afterwards.
    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: Held, as the caller promises.
        unsafe { bindings::spin_unlock(self.0.get()) };
    }
}

impl RawMutex {
    fn new<C: LockClass>() -> Self {
        // A home of zero is no address: the first acquisition initialises the rest.
        Self(Opaque::zeroed())
    }

    #[inline]
    fn lock<C: LockClass>(&self, nest: u32) {
        // SAFETY: The memory was zeroed by `new`, the home word guards the C lock, and the class is
        // static.
        unsafe { bindings::home_mutex_lock(self.0.get(), C::class().as_ptr(), nest) };
    }

    #[inline]
    fn try_lock<C: LockClass>(&self) -> bool {
        // SAFETY: As in `lock`.
        unsafe { bindings::home_mutex_trylock(self.0.get(), C::class().as_ptr()) }
    }

    /// # Safety
    ///
    /// The caller holds the lock, and what it protects is not used afterwards.
    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: Held, so initialised at this address.
        unsafe { bindings::mutex_unlock(&raw mut (*self.0.get()).lock) };
    }
}

impl RawRwSem {
    /// # Safety
    ///
    /// The caller holds the lock shared and does not use what it protects afterwards.
    #[inline]
    unsafe fn up_read(&self) {
        // SAFETY: Held, so initialised at this address.
        unsafe { bindings::up_read(&raw mut (*self.0.get()).lock) };
    }

    /// # Safety
    ///
    /// The caller holds the lock exclusively and does not use what it protects afterwards.
    #[inline]
    unsafe fn up_write(&self) {
        // SAFETY: Held, so initialised at this address.
        unsafe { bindings::up_write(&raw mut (*self.0.get()).lock) };
    }
}

/// What a guard is bound to: the lifetime and access of a reference, and the task.
type Held<R> = PhantomData<(R, *const ())>;

macro_rules! mutex_like {
    ($lock:ident, $raw:ident, $guard:ident, $what:literal) => {
        // SAFETY: The data goes with the lock.
        unsafe impl<T: Send, C: LockClass> Send for $lock<T, C> {}

        // SAFETY: The lock gives the data to one task at a time.
        unsafe impl<T: Send, C: LockClass> Sync for $lock<T, C> {}

        #[doc = concat!("Guard of a [`", stringify!($lock), "`]; unlocks when dropped.")]
        #[must_use]
        pub(crate) struct $guard<'a, T> {
            raw: &'a $raw,
            data: *mut T,
            _held: Held<&'a mut T>,
        }

        impl<T, C: LockClass> $lock<T, C> {
            #[doc = concat!("An unlocked ", $what, ".")]
            #[inline]
            pub(crate) fn new(value: T) -> Self {
                Self {
                    raw: $raw::new::<C>(),
                    data: UnsafeCell::new(value),
                    _class: PhantomData,
                }
            }

            #[inline]
            fn guard(&self) -> $guard<'_, T> {
                $guard {
                    raw: &self.raw,
                    data: self.data.get(),
                    _held: PhantomData,
                }
            }

            /// Takes the lock.
            #[inline]
            pub(crate) fn lock(&self) -> $guard<'_, T> {
                self.lock_nested(0)
            }

            /// Takes the lock while another of the same class with a smaller `nest` is held
            /// (lockdep subclass; at most 7).
            #[inline]
            pub(crate) fn lock_nested(&self, nest: u32) -> $guard<'_, T> {
                self.raw.lock::<C>(nest);
                self.guard()
            }

            /// Takes the lock if that needs no waiting. Exempt from the lock order.
            #[inline]
            pub(crate) fn try_lock(&self) -> Option<$guard<'_, T>> {
                self.raw.try_lock::<C>().then(|| self.guard())
            }

            /// The data, without locking: `&mut self` proves that nobody else can.
            #[inline]
            pub(crate) fn get_mut(&mut self) -> &mut T {
                self.data.get_mut()
            }
        }

        impl<T> Deref for $guard<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: The lock is held for as long as the guard lives.
                unsafe { &*self.data }
            }
        }

        impl<T> DerefMut for $guard<'_, T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: The lock is held for as long as the guard lives, and there is one guard.
                unsafe { &mut *self.data }
            }
        }

        impl<T> Drop for $guard<'_, T> {
            #[inline]
            fn drop(&mut self) {
                // SAFETY: A guard is a held lock, and this was its last use.
                unsafe { self.raw.unlock() };
            }
        }

        // SAFETY: A shared guard gives shared access to the data only.
        unsafe impl<T: Sync> Sync for $guard<'_, T> {}
    };
}

mutex_like!(Spin, RawSpin, SpinGuard, "spinlock");
mutex_like!(Mutex, RawMutex, MutexGuard, "mutex");

// SAFETY: The data goes with the lock.
unsafe impl<T: Send, C: LockClass> Send for RwSem<T, C> {}

// SAFETY: The lock gives the data to one writer, or to several readers, which share it.
unsafe impl<T: Send + Sync, C: LockClass> Sync for RwSem<T, C> {}

/// Shared guard of a [`RwSem`].
#[must_use]
pub(crate) struct RwSemReadGuard<'a, T> {
    raw: &'a RawRwSem,
    data: *const T,
    _held: Held<&'a T>,
}

/// Exclusive guard of a [`RwSem`].
#[must_use]
pub(crate) struct RwSemWriteGuard<'a, T> {
    raw: &'a RawRwSem,
    data: *mut T,
    _held: Held<&'a mut T>,
}

impl<T, C: LockClass> RwSem<T, C> {
    /// An unlocked rw_semaphore.
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        Self {
            // A home of zero is no address: the first acquisition initialises the rest.
            raw: RawRwSem(Opaque::zeroed()),
            data: UnsafeCell::new(value),
            _class: PhantomData,
        }
    }

    #[inline]
    fn read_guard(&self) -> RwSemReadGuard<'_, T> {
        RwSemReadGuard {
            raw: &self.raw,
            data: self.data.get(),
            _held: PhantomData,
        }
    }

    #[inline]
    fn write_guard(&self) -> RwSemWriteGuard<'_, T> {
        RwSemWriteGuard {
            raw: &self.raw,
            data: self.data.get(),
            _held: PhantomData,
        }
    }

    /// Takes it shared: `down_read`.
    #[inline]
    pub(crate) fn read(&self) -> RwSemReadGuard<'_, T> {
        self.read_nested(0)
    }

    /// `down_read_nested`.
    #[inline]
    pub(crate) fn read_nested(&self, nest: u32) -> RwSemReadGuard<'_, T> {
        // SAFETY: The memory was zeroed by `new`, the home word guards the C lock, and the class is
        // static.
        unsafe { bindings::home_down_read(self.raw.0.get(), C::class().as_ptr(), nest) };
        self.read_guard()
    }

    /// Takes it shared if that needs no waiting: `down_read_trylock`.
    #[inline]
    pub(crate) fn try_read(&self) -> Option<RwSemReadGuard<'_, T>> {
        // SAFETY: As in `read_nested`.
        unsafe { bindings::home_down_read_trylock(self.raw.0.get(), C::class().as_ptr()) }
            .then(|| self.read_guard())
    }

    /// Takes it exclusively: `down_write`.
    #[inline]
    pub(crate) fn write(&self) -> RwSemWriteGuard<'_, T> {
        self.write_nested(0)
    }

    /// `down_write_nested`.
    #[inline]
    pub(crate) fn write_nested(&self, nest: u32) -> RwSemWriteGuard<'_, T> {
        // SAFETY: As in `read_nested`.
        unsafe { bindings::home_down_write(self.raw.0.get(), C::class().as_ptr(), nest) };
        self.write_guard()
    }

    /// Takes it exclusively if that needs no waiting: `down_write_trylock`.
    #[inline]
    pub(crate) fn try_write(&self) -> Option<RwSemWriteGuard<'_, T>> {
        // SAFETY: As in `read_nested`.
        unsafe { bindings::home_down_write_trylock(self.raw.0.get(), C::class().as_ptr()) }
            .then(|| self.write_guard())
    }

    /// The data, without locking.
    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

impl<T> Deref for RwSemReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held for as long as the guard lives.
        unsafe { &*self.data }
    }
}

impl<T> Deref for RwSemWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held for as long as the guard lives.
        unsafe { &*self.data }
    }
}

impl<T> DerefMut for RwSemWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held exclusively for as long as the guard lives.
        unsafe { &mut *self.data }
    }
}

impl<T> Drop for RwSemReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: A read guard is a shared hold, and this was its last use.
        unsafe { self.raw.up_read() };
    }
}

impl<T> Drop for RwSemWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: A write guard is an exclusive hold, and this was its last use.
        unsafe { self.raw.up_write() };
    }
}

// SAFETY: A shared guard gives shared access to the data only.
unsafe impl<T: Sync> Sync for RwSemReadGuard<'_, T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for RwSemWriteGuard<'_, T> {}

/// Bytes that each lock has around its data, for the conformance tests: what C says the lock is,
/// and what the wrapper adds.
#[cfg(CONFIG_KUNIT)]
pub(super) const OVERHEADS: &[(&str, usize, usize)] = &[
    (
        "Spin",
        core::mem::size_of::<RawSpin>(),
        core::mem::size_of::<bindings::spinlock_t>(),
    ),
    (
        "Mutex",
        core::mem::size_of::<RawMutex>(),
        core::mem::size_of::<usize>() + core::mem::size_of::<bindings::mutex>(),
    ),
    (
        "RwSem",
        core::mem::size_of::<RawRwSem>(),
        core::mem::size_of::<usize>() + core::mem::size_of::<bindings::rw_semaphore>(),
    ),
];
