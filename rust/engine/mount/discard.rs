// SPDX-License-Identifier: GPL-2.0

//! Telling the device about free blocks: the mount option `discard`, and FITRIM.
//!
//! A block that is being discarded is nobody's and cannot be allocated (rules M20): it leaves the
//! index of free runs, or does not get there when its checkpoint is durable, and comes back when the
//! discard has ended. The counters know it as free all the time; whoever has a promise and finds
//! nothing waits ([`Mount::release_busy`]).
//!
//! Discards are made by a worker of their own, so that a checkpoint does not wait for them.

use super::*;
use crate::format::{BlockRange, DiskBlock};
use crate::sys::{self, NofsScope, Work};

/// Blocks that one step of FITRIM takes out of a group at most.
const TRIM_STEP: u32 = 8192;

/// Freed blocks on their way to the device.
pub(super) struct Discards {
    list: Spin<sys::Vec<BlockRange>, DiscardLock>,
    worker: Spin<Option<Arc<WorkItem>>, DiscardLock>,
}

impl Discards {
    pub(super) fn new() -> Self {
        Self {
            list: Spin::new(sys::Vec::new()),
            worker: Spin::new(None),
        }
    }
}

/// The target of the background work.
struct Worker(Arc<Mount>);

impl Work for Worker {
    fn run(&self) {
        self.0.discard_all();
    }
}

impl Mount {
    /// Starts the worker.
    pub(super) fn start_discards(self: &Arc<Self>) -> Result {
        let target = sys::try_arc(Worker(self.clone()))?;
        let item = sys::try_arc(WorkItem::new("latchfs-discard", target)?)?;
        *self.discards.worker.lock() = Some(item);
        Ok(())
    }

    /// Stops the worker; what it has not done is not discarded. May sleep.
    pub(super) fn stop_discards(&self) {
        let item = self.discards.worker.lock().take();
        if let Some(item) = item {
            item.stop();
        }
        self.discard_all();
    }

    /// A checkpoint is durable: what was freed before it is discarded, and can be used afterwards.
    /// May sleep; with a worker not for the device.
    pub(crate) fn discard_freed(&self) -> Result {
        let freed = self.alloc.release_for_discard()?;
        if freed.is_empty() {
            return Ok(());
        }
        // Room is made outside of the lock: the larger of two lists stays.
        let mut list = freed;
        loop {
            let short = {
                let mut held = self.discards.list.lock();
                if held.is_empty() {
                    core::mem::swap(&mut *held, &mut list);
                    break;
                }
                let room = held.capacity().saturating_sub(held.len());
                if room >= list.len() {
                    while let Some(range) = list.pop() {
                        // There is room.
                        let _ = held.push_within_capacity(range);
                    }
                    break;
                }
                core::mem::take(&mut *held)
            };
            list.must_extend_from_slice(&short);
        }
        let item = self.discards.worker.lock().clone();
        match item {
            Some(item) => item.kick(),
            None => self.discard_all(),
        }
        Ok(())
    }

    fn discard_all(&self) {
        let list = core::mem::take(&mut *self.discards.list.lock());
        for range in list.iter() {
            self.discard_one(*range);
        }
    }

    /// Discards a run that was taken for that, and gives it back. That it fails is no error: the
    /// device did not want to know.
    fn discard_one(&self, range: BlockRange) -> bool {
        let live = !self.is_shutdown();
        let done = live
            && self
                .buf
                .device()
                .discard(range.start.get(), u64::from(range.len))
                .is_ok();
        if done {
            self.stats.add_discarded(u64::from(range.len));
        }
        self.alloc.discarded(range);
        done
    }

    /// Returns when what is being discarded now can be used. May sleep.
    pub(super) fn flush_discards(&self) {
        let item = self.discards.worker.lock().clone();
        if let Some(item) = item {
            item.flush();
        }
    }

    /// Discards free blocks: what FITRIM wants. Of the bytes `start .. start + len` those runs that
    /// have at least `minlen` bytes; `stop` is asked between them. Returns how many bytes were
    /// discarded. May sleep; nothing may be held.
    ///
    /// Errors: EOPNOTSUPP if the device cannot; EINVAL if `start` is beyond the file system; EROFS;
    /// EIO.
    pub fn trim(&self, start: u64, len: u64, minlen: u64, stop: &dyn Fn() -> bool) -> Result<u64> {
        const BLOCK: u64 = crate::format::BLOCK_SIZE as u64;

        self.check_writable()?;
        let end = start.saturating_add(len) / BLOCK;
        let start = start.div_ceil(BLOCK);
        let total = self.geo().block_count();
        if start >= total {
            return Err(Error::new(Errno::INVAL));
        }
        let minlen = u32::try_from(minlen.div_ceil(BLOCK)).unwrap_or(u32::MAX);
        let end = DiskBlock(end.min(total));
        let mut at = DiskBlock(start);
        let mut done = 0_u64;
        while at < end && !stop() {
            self.check_live()?;
            let next = {
                let _nofs = NofsScope::enter();
                self.alloc
                    .take_for_discard(at, end, minlen.max(1), TRIM_STEP)?
            };
            let Some(range) = next else { break };
            at = range.end();
            let verdict = self
                .buf
                .device()
                .discard(range.start.get(), u64::from(range.len));
            self.alloc.discarded(range);
            verdict?;
            self.stats.add_discarded(u64::from(range.len));
            done = done.saturating_add(u64::from(range.len));
        }
        Ok(done.saturating_mul(BLOCK))
    }
}
