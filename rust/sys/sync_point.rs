// SPDX-License-Identifier: GPL-2.0

//! Sync points, where a test can force an interleaving, and mutants, versions of the code without
//! a protection.
//!
//! Both exist only with `--cfg latchfs_races` (`make races`). Without it the macros expand to
//! nothing, or to `false`: the module then has no trace of them, which `scripts/races-symbols.sh`
//! checks.
//!
//! * `sync_point!("name", key)`: a statement; [`points`] has the names;
//! * `fail_point!("name", key)`: the same as an expression of type `SysResult<()>`, which is an
//!   error when a test says so;
//! * `mutant!(Seed000)`: whether that mutant was chosen; `mutant!(Seed000 => stmts)`: statements
//!   for it;
//! * `damage!(DirtyFreed, key)`: notes what must never happen.

#[cfg(latchfs_races)]
pub(crate) mod points;
#[cfg(latchfs_races)]
pub(crate) mod table;

#[cfg(latchfs_races)]
mod machine {
    use super::super::wait;
    use crate::bindings;

    pub(super) use super::super::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        might_sleep, relax, Errno, SysResult,
    };

    /// Its address is where everybody sleeps who is held, or waits for somebody to be.
    static QUEUE: u8 = 0;

    fn queue() -> *const core::ffi::c_void {
        (&raw const QUEUE).cast()
    }

    pub(super) fn sleep_until(cond: impl FnMut() -> bool, millis: u64) -> bool {
        wait::wait_on_until(queue(), cond, millis)
    }

    pub(super) fn wake() {
        wait::wake(queue());
    }

    pub(super) fn monotonic_ms() -> u64 {
        // SAFETY: No requirements.
        let nanos = unsafe { bindings::ktime_get() };
        u64::try_from(nanos).unwrap_or(0) / 1_000_000
    }

    pub(super) fn task_id() -> u64 {
        u64::try_from(kernel::current!().pid()).unwrap_or(0)
    }
}

#[cfg(latchfs_races)]
use machine::*;

/// A place where a test can hold this task: `sync_point!("name", key)`.
#[cfg(latchfs_races)]
macro_rules! sync_point {
    ($name:literal, $key:expr) => {{
        // A point that is made to fail where nothing can fail only lets the task pass.
        let _ = $crate::sys::sync_point::table::hit(
            const { $crate::sys::sync_point::points::point($name) },
            $key,
        );
    }};
}

/// A place where a test can hold this task: `sync_point!("name", key)`. Not in this build.
#[cfg(not(latchfs_races))]
macro_rules! sync_point {
    ($name:literal, $key:expr) => {{}};
}

/// A sync point that may make the operation fail: `fail_point!("name", key)?`.
#[cfg(latchfs_races)]
macro_rules! fail_point {
    ($name:literal, $key:expr) => {
        $crate::sys::sync_point::table::hit(
            const { $crate::sys::sync_point::points::point($name) },
            $key,
        )
    };
}

/// A sync point that may make the operation fail: `fail_point!("name", key)?`. Not in this build.
#[cfg(not(latchfs_races))]
macro_rules! fail_point {
    ($name:literal, $key:expr) => {
        $crate::sys::SysResult::<()>::Ok(())
    };
}

/// Whether the mutant runs: `mutant!(Seed000)`, or what it does: `mutant!(Seed000 => return x)`.
#[cfg(latchfs_races)]
macro_rules! mutant {
    ($name:ident) => {
        $crate::sys::sync_point::table::selected($crate::sys::sync_point::points::Mutant::$name)
    };
    ($name:ident => $($what:tt)*) => {
        if $crate::sys::sync_point::mutant!($name) {
            $($what)*
        }
    };
}

/// Whether the mutant runs: `mutant!(Seed000)`. Not in this build.
#[cfg(not(latchfs_races))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
    ($name:ident => $($what:tt)*) => {};
}

/// Notes damage: `damage!(DirtyFreed, key)`.
#[cfg(latchfs_races)]
macro_rules! damage {
    ($name:ident, $key:expr) => {
        $crate::sys::sync_point::table::damaged(
            $crate::sys::sync_point::points::Damage::$name,
            $key,
        )
    };
}

/// Notes damage: `damage!(DirtyFreed, key)`. Not in this build.
#[cfg(not(latchfs_races))]
macro_rules! damage {
    ($name:ident, $key:expr) => {{}};
}

pub(crate) use {damage, fail_point, mutant, sync_point};
