// SPDX-License-Identifier: GPL-2.0

//! Reproducers of races: one interleaving, forced by sync points, on the real build and on a mutant.
//!
//! A reproducer passes when the interleaving was reached in both runs, the real build did no damage,
//! and the mutant did. `make races` makes a table of them.

use super::race_table::{panic_text, Row};
use crate::sys::{
    device::{Backend, Done, MemDisk, Queue},
    sync_point::{
        points::Mutant,
        table::{self, State},
        Session, //
    },
    SysResult, //
};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One line of the table.
pub(crate) struct Race {
    /// Its name in the design, `T-000-A`.
    pub(crate) name: &'static str,
    /// The version without the protection.
    pub(crate) mutant: Mutant,
}

/// What was seen in one run.
#[derive(Debug)]
pub(crate) struct Seen {
    reached: bool,
    damage: Vec<String>,
}

impl Seen {
    /// Nothing is wrong so far, and everything was reached.
    pub(crate) fn new() -> Self {
        Self {
            reached: true,
            damage: Vec::new(),
        }
    }

    /// The interleaving is the one that was wanted only if `cond`.
    pub(crate) fn reached(&mut self, cond: bool) {
        self.reached &= cond;
    }

    /// Somebody was held at this point, and left because he was released.
    pub(crate) fn passed(&mut self, s: &Session, point: &str) {
        self.reached(s.state(point) == State::Passed);
    }

    /// It is damage if not `cond`.
    pub(crate) fn must(&mut self, cond: bool, damage: &str) {
        if !cond {
            self.damage.push(damage.into());
        }
    }
}

/// Hits of the point called `name` since the session began.
pub(crate) fn hits(name: &str) -> u32 {
    table::find(name).map_or(0, table::hits)
}

fn once(mutant: Option<Mutant>, run: impl Fn(&Session) -> Seen) -> Seen {
    let session = Session::begin(mutant);
    let mut seen = catch_unwind(AssertUnwindSafe(|| run(&session))).unwrap_or_else(|e| {
        let mut seen = Seen::new();
        seen.must(false, &panic_text(&*e));
        seen
    });
    let noted = session.damage();
    if !noted.is_empty() {
        seen.damage.push(noted);
    }
    seen
}

/// Runs the interleaving `run` on the real build and on the mutant.
///
/// # Panics
///
/// If the reproducer does not pass.
pub(crate) fn reproduce(race: &Race, run: impl Fn(&Session) -> Seen) {
    let real = once(None, &run);
    let mutant = once(Some(race.mutant), &run);
    let reached = real.reached && mutant.reached;
    Row {
        mutant: race.mutant,
        name: race.name,
        with: "host",
        reached,
        real: real.damage.is_empty(),
        damage: mutant.damage.join("; "),
    }
    .write();
    assert!(reached, "not reached: real {real:?}, mutant {mutant:?}");
    assert!(real.damage.is_empty(), "the real build: {real:?}");
    assert!(!mutant.damage.is_empty(), "the mutant was missed");
}

/// Waits until `cond` holds; gives up after twenty seconds. Returns whether it held.
pub(crate) fn until(mut cond: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while !cond() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// A disk whose asynchronous requests end in a thread of their own, as in the kernel.
pub(crate) struct Slow(pub(crate) Arc<MemDisk>);

impl Backend for Slow {
    fn blocks(&self) -> u64 {
        self.0.blocks()
    }
    fn read(&self, block: u64, buf: &mut [u8; 4096]) -> SysResult<()> {
        self.0.read(block, buf)
    }
    fn write(&self, block: u64, buf: &[u8; 4096]) -> SysResult<()> {
        self.0.write(block, buf)
    }
    fn flush(&self) -> SysResult<()> {
        self.0.flush()
    }
    fn discard(&self, start: u64, len: u64) -> SysResult<()> {
        self.0.discard(start, len)
    }
    fn queue(&self) -> Option<&dyn Queue> {
        Some(self)
    }
}

impl Queue for Slow {
    fn start_read(&self, block: u64, done: Done<Box<[u8; 4096]>>) {
        let disk = self.0.clone();
        std::thread::spawn(move || {
            let mut data = Box::new([0; 4096]);
            let result = disk.read(block, &mut data);
            done(result.map(|()| data));
        });
    }
    fn start_write(&self, block: u64, buf: &[u8; 4096], done: Done<()>) {
        let disk = self.0.clone();
        let data = Box::new(*buf);
        std::thread::spawn(move || done(disk.write(block, &data)));
    }
}
