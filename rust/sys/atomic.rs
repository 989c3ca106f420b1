// SPDX-License-Identifier: GPL-2.0

//! Atomic words with the interface of `core`, on the kernel's atomics (LKMM).
//!
//! Ring 1 uses `new, load, store, swap, compare_exchange, compare_exchange_weak, fetch_add,
//! fetch_sub, fetch_or, fetch_and` with `Relaxed`, `Acquire`, `Release` and `AcqRel` only. What is
//! weaker in C11 than what the kernel has is rounded up: `AcqRel` and `SeqCst` are fully ordered. A
//! failed compare-and-exchange orders as [`Ordering::Relaxed`] in the kernel, so a stronger failure
//! ordering makes the whole operation fully ordered and adds a barrier on failure.

use kernel::sync::atomic::{self as lkmm, Atomic, Full};
use kernel::sync::barrier::smp_mb;

/// Memory orderings by the names of `core`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// No order.
    Relaxed,
    /// Nothing behind a store moves before it.
    Release,
    /// Nothing behind a load moves before it.
    Acquire,
    /// Both.
    AcqRel,
    /// Both, and one order of all such operations.
    SeqCst,
}

/// On x86 a plain load is an acquire and a plain store a release, as far as the processor goes. The
/// kernel crate calls a C function for each.
const STRONG: bool = cfg!(CONFIG_X86_64);

/// Keeps the compiler from moving accesses to memory across it: `barrier()`.
#[inline(always)]
fn barrier() {
    // SAFETY: No instruction.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}

/// A fence. Any ordering is a full barrier.
pub(crate) fn fence(_: Ordering) {
    smp_mb(Full);
}

macro_rules! atomic_base {
    ($name:ident, $int:ty, $what:literal) => {
        #[doc = concat!("An atomic ", $what, ".")]
        #[repr(transparent)]
        pub(crate) struct $name(Atomic<$int>);

        impl $name {
            #[doc = concat!("An atomic ", $what, " with this value.")]
            #[inline]
            pub(crate) const fn new(value: $int) -> Self {
                Self(Atomic::new(value))
            }

            /// The value.
            #[inline(always)]
            pub(crate) fn load(&self, order: Ordering) -> $int {
                if order == Ordering::SeqCst {
                    smp_mb(Full);
                }
                if STRONG {
                    // SAFETY: The word is valid and aligned; this is READ_ONCE().
                    let value = unsafe { self.0.as_ptr().read_volatile() };
                    if order != Ordering::Relaxed {
                        barrier();
                    }
                    return value;
                }
                match order {
                    Ordering::Relaxed => self.0.load(lkmm::Relaxed),
                    _ => self.0.load(lkmm::Acquire),
                }
            }

            /// Sets the value.
            #[inline(always)]
            pub(crate) fn store(&self, value: $int, order: Ordering) {
                if STRONG {
                    if order != Ordering::Relaxed {
                        barrier();
                    }
                    // SAFETY: The word is valid and aligned; this is WRITE_ONCE().
                    unsafe { self.0.as_ptr().write_volatile(value) };
                } else if order == Ordering::Relaxed {
                    self.0.store(value, lkmm::Relaxed);
                } else {
                    self.0.store(value, lkmm::Release);
                }
                if order == Ordering::SeqCst {
                    smp_mb(Full);
                }
            }

            /// Sets the value and returns the old one.
            #[inline(always)]
            pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                match order {
                    Ordering::Relaxed => self.0.xchg(value, lkmm::Relaxed),
                    Ordering::Acquire => self.0.xchg(value, lkmm::Acquire),
                    Ordering::Release => self.0.xchg(value, lkmm::Release),
                    _ => self.0.xchg(value, Full),
                }
            }

            /// Sets the value to `new` if it is `current`; `Ok` or `Err` with the value found.
            #[inline(always)]
            pub(crate) fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                let found = match success {
                    Ordering::Relaxed => self.0.cmpxchg(current, new, lkmm::Relaxed),
                    Ordering::Acquire => self.0.cmpxchg(current, new, lkmm::Acquire),
                    Ordering::Release => self.0.cmpxchg(current, new, lkmm::Release),
                    _ => self.0.cmpxchg(current, new, Full),
                };
                if found.is_err() && failure != Ordering::Relaxed {
                    smp_mb(Full);
                }
                found
            }

            /// [`Self::compare_exchange`], which here never fails for no reason.
            #[inline(always)]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.compare_exchange(current, new, success, failure)
            }

            /// The value, without an atomic access: `&mut self` proves that nobody else has one.
            pub(crate) fn get_mut(&mut self) -> &mut $int {
                self.0.get_mut()
            }

            /// Replaces the value by `f` of it until nobody interferes or `f` says `None`.
            #[inline(always)]
            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut f: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                let mut old = self.load(failure);
                while let Some(new) = f(old) {
                    match self.compare_exchange(old, new, success, failure) {
                        Ok(_) => return Ok(old),
                        Err(found) => old = found,
                    }
                }
                Err(old)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$int>::default())
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.load(Ordering::Relaxed).fmt(f)
            }
        }
    };
}

macro_rules! atomic_int {
    ($name:ident, $int:ty, $what:literal) => {
        atomic_base!($name, $int, $what);

        impl $name {
            /// Adds, wrapping, and returns the old value.
            #[inline(always)]
            pub(crate) fn fetch_add(&self, n: $int, order: Ordering) -> $int {
                match order {
                    Ordering::Relaxed => self.0.fetch_add(n, lkmm::Relaxed),
                    Ordering::Acquire => self.0.fetch_add(n, lkmm::Acquire),
                    Ordering::Release => self.0.fetch_add(n, lkmm::Release),
                    _ => self.0.fetch_add(n, Full),
                }
            }

            /// Subtracts, wrapping, and returns the old value.
            #[inline(always)]
            pub(crate) fn fetch_sub(&self, n: $int, order: Ordering) -> $int {
                self.fetch_add(n.wrapping_neg(), order)
            }

            /// The or of the value and `n`; returns the old value.
            #[inline(always)]
            pub(crate) fn fetch_or(&self, n: $int, order: Ordering) -> $int {
                self.replace(order, |v| v | n)
            }

            /// The and of the value and `n`; returns the old value.
            #[inline(always)]
            pub(crate) fn fetch_and(&self, n: $int, order: Ordering) -> $int {
                self.replace(order, |v| v & n)
            }

            /// The greater of the value and `n`; returns the old value.
            #[inline(always)]
            pub(crate) fn fetch_max(&self, n: $int, order: Ordering) -> $int {
                self.replace(order, |v| v.max(n))
            }

            /// The smaller of the value and `n`; returns the old value.
            #[inline(always)]
            pub(crate) fn fetch_min(&self, n: $int, order: Ordering) -> $int {
                self.replace(order, |v| v.min(n))
            }

            /// x86 does or and and that return a value in the same way.
            #[inline(always)]
            fn replace(&self, order: Ordering, f: impl Fn($int) -> $int) -> $int {
                let mut old = self.load(Ordering::Relaxed);
                loop {
                    match self.compare_exchange(old, f(old), order, Ordering::Relaxed) {
                        Ok(_) => return old,
                        Err(found) => old = found,
                    }
                }
            }
        }
    };
}

atomic_int!(AtomicU32, u32, "`u32`");
atomic_int!(AtomicU64, u64, "`u64`");
atomic_int!(AtomicUsize, usize, "`usize`");
atomic_int!(AtomicI64, i64, "`i64`");
atomic_base!(AtomicBool, bool, "`bool`");
