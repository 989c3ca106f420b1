// SPDX-License-Identifier: GPL-2.0

//! Spinlock, mutex and rw_semaphore, each around its data and with its class in the type.
//!
//! `new` makes an unlocked lock anywhere; an unlocked lock may be moved. In the kernel the C lock
//! inside is initialised at its first acquisition at an address, so ring 1 never pins anything.

use crate::prim;
use crate::rank::{self, HeldLock, Kind, LockClass};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A spinlock: `spinlock_t`, never taken in interrupt context. Nothing below it may sleep.
pub struct Spin<T, C: LockClass> {
    inner: prim::Mutex<T>,
    _class: PhantomData<fn() -> C>,
}

/// A sleeping mutex: `struct mutex`.
pub struct Mutex<T, C: LockClass> {
    inner: prim::Mutex<T>,
    _class: PhantomData<fn() -> C>,
}

/// A reader/writer semaphore: `struct rw_semaphore`.
pub struct RwSem<T, C: LockClass> {
    inner: prim::RwLock<T>,
    _class: PhantomData<fn() -> C>,
}

macro_rules! mutex_like {
    ($lock:ident, $guard:ident, $wait:expr, $try:expr, $what:literal) => {
        #[doc = concat!("Guard of a [`", stringify!($lock), "`]; unlocks when dropped.")]
        pub struct $guard<'a, T> {
            g: prim::MutexGuard<'a, T>,
            _held: HeldLock,
        }

        impl<T, C: LockClass> $lock<T, C> {
            #[doc = concat!("An unlocked ", $what, ".")]
            pub fn new(value: T) -> Self {
                Self {
                    inner: prim::Mutex::new(value),
                    _class: PhantomData,
                }
            }

            /// Takes the lock.
            pub fn lock(&self) -> $guard<'_, T> {
                self.lock_nested(0)
            }

            /// Takes the lock while another of the same class with a smaller `nest` is held
            /// (lockdep subclass; at most 7).
            pub fn lock_nested(&self, nest: u32) -> $guard<'_, T> {
                rank::check::<C>(nest, $wait);
                let g = prim::lock(&self.inner);
                $guard {
                    g,
                    _held: rank::acquired::<C>(nest, $wait),
                }
            }

            /// Takes the lock if that needs no waiting. Exempt from the lock order.
            pub fn try_lock(&self) -> Option<$guard<'_, T>> {
                rank::check::<C>(0, $try);
                let g = self.inner.try_lock().ok()?;
                Some($guard {
                    g,
                    _held: rank::acquired::<C>(0, $try),
                })
            }

            /// The data, without locking: `&mut self` proves that nobody else can.
            pub fn get_mut(&mut self) -> &mut T {
                self.inner.get_mut().unwrap_or_else(|e| e.into_inner())
            }
        }

        impl<T> Deref for $guard<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                &self.g
            }
        }

        impl<T> DerefMut for $guard<'_, T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.g
            }
        }
    };
}

mutex_like!(
    Spin,
    SpinGuard,
    Kind::Spin,
    Kind::Try { spin: true },
    "spinlock"
);
mutex_like!(
    Mutex,
    MutexGuard,
    Kind::Sleep,
    Kind::Try { spin: false },
    "mutex"
);

/// Shared guard of a [`RwSem`].
pub struct RwSemReadGuard<'a, T> {
    g: prim::RwLockReadGuard<'a, T>,
    _held: HeldLock,
}

/// Exclusive guard of a [`RwSem`].
pub struct RwSemWriteGuard<'a, T> {
    g: prim::RwLockWriteGuard<'a, T>,
    _held: HeldLock,
}

impl<T, C: LockClass> RwSem<T, C> {
    /// An unlocked rw_semaphore.
    pub fn new(value: T) -> Self {
        Self {
            inner: prim::RwLock::new(value),
            _class: PhantomData,
        }
    }

    /// Takes it shared: `down_read`.
    pub fn read(&self) -> RwSemReadGuard<'_, T> {
        self.read_nested(0)
    }

    /// `down_read_nested`.
    pub fn read_nested(&self, nest: u32) -> RwSemReadGuard<'_, T> {
        rank::check::<C>(nest, Kind::Sleep);
        let g = self.inner.read().unwrap_or_else(|e| e.into_inner());
        RwSemReadGuard {
            g,
            _held: rank::acquired::<C>(nest, Kind::Sleep),
        }
    }

    /// Takes it shared if that needs no waiting: `down_read_trylock`.
    pub fn try_read(&self) -> Option<RwSemReadGuard<'_, T>> {
        rank::check::<C>(0, Kind::Try { spin: false });
        let g = self.inner.try_read().ok()?;
        Some(RwSemReadGuard {
            g,
            _held: rank::acquired::<C>(0, Kind::Try { spin: false }),
        })
    }

    /// Takes it exclusively: `down_write`.
    pub fn write(&self) -> RwSemWriteGuard<'_, T> {
        self.write_nested(0)
    }

    /// `down_write_nested`.
    pub fn write_nested(&self, nest: u32) -> RwSemWriteGuard<'_, T> {
        rank::check::<C>(nest, Kind::Sleep);
        let g = self.inner.write().unwrap_or_else(|e| e.into_inner());
        RwSemWriteGuard {
            g,
            _held: rank::acquired::<C>(nest, Kind::Sleep),
        }
    }

    /// Takes it exclusively if that needs no waiting: `down_write_trylock`.
    pub fn try_write(&self) -> Option<RwSemWriteGuard<'_, T>> {
        rank::check::<C>(0, Kind::Try { spin: false });
        let g = self.inner.try_write().ok()?;
        Some(RwSemWriteGuard {
            g,
            _held: rank::acquired::<C>(0, Kind::Try { spin: false }),
        })
    }

    /// The data, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut().unwrap_or_else(|e| e.into_inner())
    }
}

impl<T> Deref for RwSemReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.g
    }
}

impl<T> Deref for RwSemWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.g
    }
}

impl<T> DerefMut for RwSemWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.g
    }
}
