// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: everything committed reaches the disk.
//!
//! A checkpoint takes the gate exclusively, so that no transaction is open, and so that what it
//! writes is a state between transactions. Under the gate dirty inodes are copied into their slots
//! and all dirty buffers are submitted; a buffer under writeback keeps its content locked against
//! change, so the gate can be opened before the I/O is done. Then come the superblock's counters,
//! a flush of the device, and the blocks that were freed before the gate may be used again.
//!
//! Nothing here needs a folio, its writeback or an ordered extent.

use super::*;
use crate::format::{Lsn, BLOCK_SIZE};
use crate::sys::{self, Work};
use zerocopy::little_endian::U64;

/// Dirty buffers that start a checkpoint in the background.
const MANY_DIRTY: u64 = 4096;

/// What is known about checkpoints; under the checkpoint lock.
pub(super) struct Checkpoints {
    lsn: u64,
    /// The newest one that is durable, counted as in [`Mount::closed`].
    durable: u64,
}

impl Checkpoints {
    pub(super) fn new(lsn: u64) -> Self {
        Self { lsn, durable: 0 }
    }
}

/// Counters as of one moment with no transaction open.
struct Counts {
    free: u64,
    inodes: u64,
    free_inodes: u64,
    orphans: u64,
}

/// The target of the background work.
struct Background(Arc<Mount>);

impl Work for Background {
    fn run(&self) {
        if let Err(error) = self.0.checkpoint() {
            sys::pr_err!("background checkpoint: {}\n", error);
        }
    }
}

impl Mount {
    /// Brings everything that was committed before this call to the disk, durably. May sleep; at
    /// most a folio lock may be held, and no transaction be open. Callers that come while one runs
    /// share the next.
    ///
    /// Errors: EIO, and after it what could not be written is still dirty; EUCLEAN if a block in
    /// memory is damaged; EIO after a shutdown. On a read-only mount there is nothing to do.
    pub(crate) fn checkpoint(&self) -> Result {
        self.check_live()?;
        if self.read_only() {
            return Ok(());
        }
        let before = self.closed.load(Ordering::Acquire);
        let mut checkpoints = self.checkpoints.lock();
        if checkpoints.durable > before {
            // It passed the gate after this call began.
            return Ok(());
        }
        self.run_checkpoint(&mut checkpoints)
    }

    fn run_checkpoint(&self, checkpoints: &mut Checkpoints) -> Result {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let gate = self.gate.write();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let number = self.closed.fetch_add(1, Ordering::AcqRel) + 1;

        let _nofs = sys::NofsScope::enter();
        let lsn = Lsn(checkpoints.lsn.saturating_add(BLOCK_SIZE as u64));
        checkpoints.lsn = lsn.get();
        let flushed = hooks::flush_inodes(self);
        self.alloc.close()?;
        let counts = self.take_counts();
        #[cfg(debug_assertions)]
        self.check_space()?;
        let written = self.buf.write_dirty(lsn);
        drop(gate);

        let waited = self.buf.wait_writes();
        flushed?;
        let stats = written?;
        waited?;
        self.stats.count_checkpoint(stats.submitted);
        self.store_counts(&counts, lsn)?;
        self.buf.device().flush()?;
        self.alloc.release()?;
        checkpoints.durable = number;
        Ok(())
    }

    fn take_counts(&self) -> Counts {
        Counts {
            free: self.alloc.free(),
            inodes: self.counts.inodes.load(Ordering::Relaxed),
            free_inodes: self.counts.free.load(Ordering::Relaxed),
            orphans: self.counts.orphans.load(Ordering::Relaxed),
        }
    }

    fn store_counts(&self, counts: &Counts, lsn: Lsn) -> Result {
        self.write_super(|sb| {
            sb.free_blocks = U64::new(counts.free);
            sb.inodes = U64::new(counts.inodes);
            sb.free_inodes = U64::new(counts.free_inodes);
            sb.orphans = U64::new(counts.orphans);
            sb.lsn = U64::new(lsn.get());
        })
    }

    /// Debug builds: what the allocator believes against the bitmaps. No transaction is open.
    #[cfg(debug_assertions)]
    fn check_space(&self) -> Result {
        self.alloc.check(false)
    }

    /// Position of changes committed now: that of the next checkpoint.
    pub(crate) fn commit_lsn(&self) -> Lsn {
        Lsn(self.closed.load(Ordering::Relaxed))
    }

    /// Starts the background work.
    pub(super) fn start_background(self: &Arc<Self>) -> Result {
        let target = sys::try_arc(Background(self.clone()))?;
        let item = sys::try_arc(WorkItem::new("latchfs-checkpoint", target)?)?;
        *self.background.lock() = Some(item);
        Ok(())
    }

    /// Asks for a checkpoint in the background if much is dirty. Does not sleep.
    pub(crate) fn kick_checkpoint(&self) {
        if self.buf.dirty_count() > MANY_DIRTY {
            if let Some(item) = &*self.background.lock() {
                item.kick();
            }
        }
    }
}
