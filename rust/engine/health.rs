// SPDX-License-Identifier: GPL-2.0

//! Whether the file system is alive: one atomic word.
//!
//! XFS has two shutdown states, of the mount and of its log, with different rules who may throw
//! changes away in between, and got them wrong for years. Here there is one step, from live to
//! down. After it nothing is written to the log or to metadata any more; I/O under way ends as it
//! ends. To throw a committed change away without writing it takes a [`LogDown`], which only this
//! word gives, and only after the step.

use crate::sys::atomic::{AtomicU32, Ordering};

const LIVE: u32 = 0;
const DOWN: u32 = 1;

/// The word of one mount.
#[derive(Debug, Default)]
pub struct Health(AtomicU32);

/// Proof that the log is down: what it has not written will never be, so changes may be thrown
/// away.
#[derive(Clone, Copy, Debug)]
pub struct LogDown(());

impl Health {
    /// Live.
    pub fn new() -> Self {
        Self(AtomicU32::new(LIVE))
    }

    /// The only step. Returns whether this call made it. Any context.
    pub fn go_down(&self) -> bool {
        self.0.swap(DOWN, Ordering::AcqRel) == LIVE
    }

    /// Whether it was made. Any context.
    pub fn is_down(&self) -> bool {
        self.0.load(Ordering::Acquire) == DOWN
    }

    /// The proof, after the step.
    pub fn log_down(&self) -> Option<LogDown> {
        self.is_down().then_some(LogDown(()))
    }
}
