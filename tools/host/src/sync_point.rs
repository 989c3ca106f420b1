// SPDX-License-Identifier: GPL-2.0

//! Sync points, where a test can force an interleaving, and mutants, versions of the code without
//! a protection.
//!
//! Both exist only with the feature `races` (`--cfg latchfs_races` in the kernel). Without it the
//! macros expand to nothing, or to `false`.
//!
//! * `sync_point!("name", key)`: a statement; [`points`] has the names;
//! * `fail_point!("name", key)`: the same as an expression of type `SysResult<()>`, which is an
//!   error when a test says so;
//! * `mutant!(Seed000)`: whether that mutant was chosen; `mutant!(Seed000 => stmts)`: statements
//!   for it;
//! * `damage!(DirtyFreed, key)`: notes what must never happen.
//!
//! Under shuttle and loom nothing can be armed: the scheduler tries the interleavings itself. A
//! point is a scheduling point there, the chosen mutant is one of the (OS) thread, so that models
//! run side by side, and damage is a panic.

#[cfg(latchfs_races)]
#[path = "../../../rust/sys/sync_point/points.rs"]
pub mod points;
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
#[path = "../../../rust/sys/sync_point/table.rs"]
pub mod table;

#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
mod machine {
    use std::sync::{Condvar, Mutex, MutexGuard};
    use std::time::{Duration, Instant};

    pub(super) use crate::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        might_sleep, relax, Errno, SysResult,
    };

    static WAKEUPS: Mutex<u64> = Mutex::new(0);
    static CHANGED: Condvar = Condvar::new();

    fn wakeups() -> MutexGuard<'static, u64> {
        WAKEUPS.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn sleep_until(mut cond: impl FnMut() -> bool, millis: u64) -> bool {
        let end = Instant::now() + Duration::from_millis(millis);
        loop {
            let seen = *wakeups();
            if cond() {
                return true;
            }
            let mut w = wakeups();
            while *w == seen {
                let now = Instant::now();
                if now >= end {
                    return cond();
                }
                (w, _) = CHANGED
                    .wait_timeout(w, end - now)
                    .unwrap_or_else(|e| e.into_inner());
            }
        }
    }

    pub(super) fn wake() {
        *wakeups() += 1;
        CHANGED.notify_all();
    }

    pub(super) fn monotonic_ms() -> u64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_millis() as u64
    }

    std::thread_local! {
        static ID: u64 = {
            static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
            NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        };
    }

    /// Number of this thread, for the filter `task`.
    pub fn task_id() -> u64 {
        ID.with(|id| *id)
    }
}

#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
pub use machine::task_id;
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
use machine::*;

/// One test's use of the table, which belongs to the whole process: tests wait for each other here.
/// Begins and ends with a reset.
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
pub struct Session(#[allow(dead_code, reason = "held")] std::sync::MutexGuard<'static, ()>);

#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
impl Session {
    /// Waits for the table, and runs `mutant` or the real build.
    pub fn begin(mutant: Option<points::Mutant>) -> Self {
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let session = Self(ONE.lock().unwrap_or_else(|e| e.into_inner()));
        table::reset();
        table::select(mutant);
        session
    }

    /// One command to the table.
    ///
    /// # Panics
    ///
    /// If it is none, or if nobody came to the point that was waited for.
    pub fn command(&self, line: &str) {
        if let Err(errno) = table::command(line) {
            let mut status = String::new();
            let _ = table::status(&mut status);
            panic!("{line}: {errno}\n{status}");
        }
    }

    /// How far the arm of the point `name` is.
    pub fn state(&self, name: &str) -> table::State {
        table::find(name).map_or(table::State::Unarmed, table::state)
    }

    /// What was damaged: `""`, or a list of kinds.
    pub fn damage(&self) -> String {
        let mut all = Vec::new();
        table::each_damage(|damage, _, _| all.push(damage.name()));
        all.join(", ")
    }
}

#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
impl Drop for Session {
    fn drop(&mut self) {
        table::reset();
    }
}

#[cfg(all(test, latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
mod tests;

/// [`table`] under the models: no arms, the scheduler does it.
#[cfg(all(latchfs_races, any(feature = "shuttle", feature = "loom")))]
pub mod table {
    use super::points::{Damage, Mutant};
    use crate::SysResult;
    use std::cell::Cell;

    std::thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
        static NEXT: Cell<u64> = const { Cell::new(1) };
    }

    /// A number that was not given out before: mutants name lives by it.
    pub fn serial() -> u64 {
        NEXT.replace(NEXT.get() + 1)
    }

    /// A scheduling point. Not a yield, which would change the thread's priority under PCT.
    pub fn hit(_point: usize, _key: u64) -> SysResult<()> {
        #[cfg(all(feature = "shuttle", not(feature = "loom")))]
        crate::atomic::AtomicBool::new(false).load(crate::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Chooses the mutant that runs in this (OS) thread from now on; [`None`] is the real build.
    pub fn select(mutant: Option<Mutant>) {
        CHOSEN.set(mutant);
    }

    /// Whether this mutant runs. Used by the macro.
    pub fn selected(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }

    /// Damage ends the schedule.
    pub fn damaged(damage: Damage, key: u64) {
        panic!("damage to {key}: {}", damage.name());
    }
}

/// A place where a test can hold this thread: `sync_point!("name", key)`.
#[cfg(latchfs_races)]
#[macro_export]
macro_rules! sync_point {
    ($name:literal, $key:expr) => {{
        // A point that is made to fail where nothing can fail only lets the thread pass.
        let _ = $crate::sync_point::table::hit(
            const { $crate::sync_point::points::point($name) },
            $key,
        );
    }};
}

/// A place where a test can hold this thread: `sync_point!("name", key)`. Not in this build.
#[cfg(not(latchfs_races))]
#[macro_export]
macro_rules! sync_point {
    ($name:literal, $key:expr) => {{}};
}

/// A sync point that may make the operation fail: `fail_point!("name", key)?`.
#[cfg(latchfs_races)]
#[macro_export]
macro_rules! fail_point {
    ($name:literal, $key:expr) => {
        $crate::sync_point::table::hit(const { $crate::sync_point::points::point($name) }, $key)
    };
}

/// A sync point that may make the operation fail: `fail_point!("name", key)?`. Not in this build.
#[cfg(not(latchfs_races))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal, $key:expr) => {
        $crate::SysResult::<()>::Ok(())
    };
}

/// Whether the mutant runs: `mutant!(Seed000)`, or what it does: `mutant!(Seed000 => return x)`.
#[cfg(latchfs_races)]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::sync_point::table::selected($crate::sync_point::points::Mutant::$name)
    };
    ($name:ident => $($what:tt)*) => {
        if $crate::mutant!($name) {
            $($what)*
        }
    };
}

/// Whether the mutant runs: `mutant!(Seed000)`. Not in this build.
#[cfg(not(latchfs_races))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
    ($name:ident => $($what:tt)*) => {};
}

/// Notes damage: `damage!(DirtyFreed, key)`.
#[cfg(latchfs_races)]
#[macro_export]
macro_rules! damage {
    ($name:ident, $key:expr) => {
        $crate::sync_point::table::damaged($crate::sync_point::points::Damage::$name, $key)
    };
}

/// Notes damage: `damage!(DirtyFreed, key)`. Not in this build.
#[cfg(not(latchfs_races))]
#[macro_export]
macro_rules! damage {
    ($name:ident, $key:expr) => {{}};
}
