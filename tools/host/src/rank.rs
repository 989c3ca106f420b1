// SPDX-License-Identifier: GPL-2.0

//! Lock classes and the checker of their order.
//!
//! A class is a type: its name, its rank in the lock hierarchy (Documentation/locking.rst) and
//! whether it spins. Every acquisition checks that all locks the thread holds rank below the new
//! one, or have the same class and a smaller nest level; and that nothing that may sleep is taken
//! under a spinlock. A violation panics with both names. In the kernel lockdep and
//! DEBUG_ATOMIC_SLEEP do this; a class there also carries its static `lock_class_key`.

use crate::prim::thread_local;
use std::cell::RefCell;

/// A class of locks. Declared with [`lock_class!`](crate::lock_class) only.
pub trait LockClass: 'static {
    /// Name as lockdep prints it.
    const NAME: &'static str;
    /// Place in the hierarchy: a lock may be taken while only lower ranks are held.
    const RANK: u32;
}

/// Declares lock classes: `lock_class! { /// doc \n pub Ilock = "ilock", rank 80; }`.
#[macro_export]
macro_rules! lock_class {
    ($($(#[$meta:meta])* $vis:vis $name:ident = $text:literal, rank $rank:expr;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            $vis enum $name {}
            impl $crate::LockClass for $name {
                const NAME: &'static str = $text;
                const RANK: u32 = $rank;
            }
        )*
    };
}

#[derive(Clone, Copy)]
struct Held {
    id: u64,
    rank: u32,
    nest: u32,
    spin: bool,
    name: &'static str,
}

thread_local! {
    static HELD: RefCell<(u64, Vec<Held>)> = const_held();
}

fn const_held() -> RefCell<(u64, Vec<Held>)> {
    RefCell::new((0, Vec::new()))
}

/// One held lock; dropping it takes the lock off the thread's list.
#[derive(Debug)]
pub struct HeldLock {
    id: u64,
    // A guard belongs to its thread.
    _not_send: core::marker::PhantomData<*const ()>,
}

/// How a lock is about to be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Spin,
    Sleep,
    /// Never waits: exempt from the order (the legal inversions are all try-only).
    Try {
        spin: bool,
    },
}

/// Checks the order without recording anything.
pub(crate) fn check<C: LockClass>(nest: u32, kind: Kind) {
    HELD.with(|h| {
        let h = h.borrow();
        let waits = !matches!(kind, Kind::Try { .. });
        for held in h.1.iter() {
            if kind == Kind::Sleep && held.spin {
                panic!(
                    "sleeping lock {} taken under spinlock {}",
                    C::NAME,
                    held.name
                );
            }
            let ordered = held.rank < C::RANK || (held.rank == C::RANK && held.nest < nest);
            if waits && !ordered {
                panic!(
                    "lock order: {} (rank {}.{}) taken while holding {} (rank {}.{})",
                    C::NAME,
                    C::RANK,
                    nest,
                    held.name,
                    held.rank,
                    held.nest
                );
            }
        }
    });
}

/// Records an acquired lock.
pub(crate) fn acquired<C: LockClass>(nest: u32, kind: Kind) -> HeldLock {
    let spin = matches!(kind, Kind::Spin | Kind::Try { spin: true });
    HELD.with(|h| {
        let mut h = h.borrow_mut();
        h.0 += 1;
        let id = h.0;
        h.1.push(Held {
            id,
            rank: C::RANK,
            nest,
            spin,
            name: C::NAME,
        });
        HeldLock {
            id,
            _not_send: core::marker::PhantomData,
        }
    })
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // Thread-local data may be gone while a thread unwinds at its end.
        let _ = HELD.try_with(|h| h.borrow_mut().1.retain(|l| l.id != self.id));
    }
}

/// Panics if the thread holds a spinlock. The kernel's `might_sleep()`.
pub fn might_sleep() {
    HELD.with(|h| {
        if let Some(l) = h.borrow().1.iter().find(|l| l.spin) {
            panic!("may sleep, but spinlock {} is held", l.name);
        }
    });
}

/// Names of the locks this thread holds, outermost first. For assertions in tests.
pub fn held() -> Vec<&'static str> {
    HELD.with(|h| h.borrow().1.iter().map(|l| l.name).collect())
}
