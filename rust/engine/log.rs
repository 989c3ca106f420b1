// SPDX-License-Identifier: GPL-2.0

//! The log: what is committed reaches the disk here first, together or not at all.
//!
//! A commit puts copies of what it changed into the open *context* ([`cil`]). From time to time, or
//! when somebody needs it, the context is closed and becomes a *checkpoint*: one sequential write
//! that has all of it or, after a crash, nothing ([`checkpoint`]). When it is durable its objects go
//! into the AIL, from where they are written to their places, which moves the tail of the log.
//!
//! * [`item`]: what the log keeps in every object that can be logged;
//! * [`cil`]: the open context;
//! * [`space`]: who may still write how much;
//! * [`checkpoint`]: closing a context, writing it, what follows;
//! * [`force`]: waiting until something is durable, group commit;
//! * [`grant`]: log space of a transaction, and what is done if there is none;
//! * [`worker`]: checkpoints in the background, by size and time.
//!
//! There is one checkpoint in flight at a time, and the next is begun when the one before is in the
//! AIL. Compare XFS's CIL (`xfs_log_cil.c`) and jbd2's running and committing transaction.

pub mod checkpoint;
pub mod cil;
pub mod force;
pub mod grant;
pub mod item;
pub mod space;
pub mod worker;

#[cfg(test)]
mod tests;

use crate::engine::locks::{CilLock, LogTurn};
use crate::format::{BlockRange, Lsn};
use crate::sys::{
    self,
    atomic::{AtomicU32, AtomicU64, Ordering},
    Block,
    Spin,
    WaitQueue, //
};
use cil::Ctx;
use space::LogSpace;

pub use grant::Grant;

/// Seconds between a commit and the checkpoint that has it, if nothing else makes one.
pub const COMMIT_SECS: u32 = 5;

/// Who makes the checkpoint.
struct Turn {
    /// Somebody does.
    taken: bool,
    /// The memory for blocks that whoever had the last turn left.
    blocks: sys::Vec<Block>,
}

/// The log of one mount.
pub struct Log {
    log: BlockRange,
    epoch: AtomicU32,
    /// Number of the last checkpoint of the epoch before.
    base: AtomicU64,
    ctx: Spin<Ctx, CilLock>,
    space: LogSpace,
    turn: Spin<Turn, LogTurn>,
    /// Ends of turns, and durable checkpoints.
    turns: WaitQueue,
    /// Number of the open context. Changes with the gate held exclusively.
    current: AtomicU64,
    /// Number of the newest durable checkpoint.
    durable: AtomicU64,
    /// Milliseconds of the timer.
    interval: AtomicU64,
    /// Whether freed blocks are discarded.
    discard: AtomicU32,
}

impl Log {
    /// The log in the blocks `log`, which ends at `head`; not written to before [`Self::start`].
    pub fn new(log: BlockRange, head: Lsn) -> Self {
        let space = LogSpace::new(log.len);
        space.start(head);
        Self {
            log,
            epoch: AtomicU32::new(0),
            base: AtomicU64::new(0),
            ctx: Spin::new(Ctx::new(1)),
            space,
            turn: Spin::new(Turn {
                taken: false,
                blocks: sys::Vec::new(),
            }),
            turns: WaitQueue::new(),
            current: AtomicU64::new(1),
            durable: AtomicU64::new(0),
            interval: AtomicU64::new(u64::from(COMMIT_SECS).saturating_mul(1000)),
            discard: AtomicU32::new(0),
        }
    }

    /// Writing begins: nothing in the log is needed any more, the next checkpoint goes to `head`,
    /// and the superblock on the device says `epoch`. No transaction was opened in this epoch.
    pub fn start(&self, head: Lsn, epoch: u32) {
        self.space.start(head);
        self.epoch.store(epoch, Ordering::Release);
        // On the device numbers begin with 1 in each epoch. In memory they go on: items remember
        // those of their last context.
        let before = self.current_seq().saturating_sub(1);
        self.base.store(before, Ordering::Release);
    }

    /// Its space.
    pub fn space(&self) -> &LogSpace {
        &self.space
    }

    /// Number of the open context: what is committed now is in the checkpoint of this number.
    pub fn current_seq(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    /// Number of the newest durable checkpoint.
    pub fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Position behind the newest durable checkpoint.
    pub fn head(&self) -> Lsn {
        self.space.head()
    }

    /// Whether nothing was committed since the last checkpoint was closed.
    pub fn is_idle(&self) -> bool {
        self.ctx.lock().is_empty()
    }

    /// After a shutdown: wakes everybody who waits for the log. Never sleeps.
    pub fn wake_all(&self) {
        self.turns.wake_all();
        self.space.wake();
    }

    /// Changes the interval of the timer; 0 means the default.
    pub fn set_interval(&self, secs: u32) {
        let secs = if secs == 0 { COMMIT_SECS } else { secs };
        self.interval
            .store(u64::from(secs).saturating_mul(1000), Ordering::Relaxed);
    }

    /// Whether freed blocks are discarded when their checkpoint is durable.
    pub fn discards(&self) -> bool {
        self.discard.load(Ordering::Relaxed) != 0
    }

    /// Says whether freed blocks are discarded, from now on.
    pub fn set_discard(&self, on: bool) {
        self.discard.store(u32::from(on), Ordering::Relaxed);
    }
}
