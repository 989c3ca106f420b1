// SPDX-License-Identifier: GPL-2.0

//! Writing dirty buffers: delayed writes, sorted by block, asynchronous.
//!
//! A write owns a [`WbToken`] from the step that takes DIRTY away to the end of its I/O: the buffer
//! and the shared hold on its content travel together, and neither can be left behind.

use super::*;
use crate::engine::sort::sort_by_key;
use crate::format::{header::seal, verify_block, Lsn};
use crate::sys::{ExclToken, SharedToken, SysResult};

/// Buffers handled between two sorts when there is no memory to sort all at once.
const SMALL_BATCH: usize = 256;

/// Writes in flight, and what became of those that ended.
pub(super) struct Writes {
    inflight: AtomicU64,
    done: WaitQueue,
    /// First errno since the last [`BufCache::wait_writes`]; 0 if none.
    error: AtomicU32,
}

impl Writes {
    pub(super) fn new() -> Self {
        Self {
            inflight: AtomicU64::new(0),
            done: WaitQueue::new(),
            error: AtomicU32::new(0),
        }
    }
}

/// What a round of writing did.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteStats {
    /// Buffers given to the device.
    pub submitted: u64,
    /// Buffers found clean or freed.
    pub skipped: u64,
}

/// One write between [`BufState::start_writeback`] and its completion.
#[must_use = "a write that was begun has to be submitted"]
struct WbToken {
    buf: Arc<Buf>,
    hold: SharedToken,
}

impl Buf {
    /// Takes DIRTY away, seals and verifies the block. [`None`] if there is nothing to write.
    /// Errors: the block would not pass its own verifier; it stays dirty and must not be written.
    fn begin_write(self: Arc<Self>, lsn: Lsn) -> Result<Option<WbToken>> {
        let mut excl: ExclToken = self.content.lock_owned();
        if !self.state.start_writeback() {
            self.content.unlock(excl);
            return Ok(None);
        }
        self.cache.dirty.fetch_sub(1, Ordering::Relaxed);

        let verdict = {
            let mut content = self.content.access(&mut excl);
            seal(&mut content, self.kind(), &self.cache.context, lsn);
            verify_block(
                &content,
                self.kind(),
                &self.cache.context,
                self.block,
                Some(self.owner()),
            )
        };
        if let Err(defect) = verdict {
            let error = self.damaged("write", defect);
            self.end_write(false);
            self.content.unlock(excl);
            return Err(error);
        }
        let hold = self.content.downgrade(excl);
        Ok(Some(WbToken { buf: self, hold }))
    }

    /// The state part of the end of a write; the content lock is still held.
    fn end_write(self: &Arc<Self>, ok: bool) {
        if !ok {
            self.cache.dirty.fetch_add(1, Ordering::Relaxed);
        }
        let dead = self.state.end_writeback(ok);
        if !ok {
            self.cache.link_dirty(self);
        }
        if let Some(token) = dead {
            self.cache.bury(self, token);
        }
    }

    /// The end of a write's I/O. In task context; does not wait for anything.
    pub(super) fn write_done(self: Arc<Self>, hold: SharedToken, result: SysResult<()>) {
        let result = result.and(sys::fail_point!("buf.write.submit", self.block.get()));
        if let Err(errno) = result {
            sys::pr_err!(
                "block {} ({}) could not be written: {}\n",
                self.block,
                self.kind().as_str(),
                errno
            );
            let error = Error::new(errno);
            self.cache.faults.note(&error, 0, self.block.get());
            let _ = self.cache.writes.error.compare_exchange(
                0,
                errno.raw() as u32,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        self.end_write(result.is_ok());
        self.content.unshare(hold);

        let cache = self.cache.clone();
        // The buffer may be freed here; the cache counts it as in flight until it is done with.
        drop(self);
        if cache.writes.inflight.fetch_sub(1, Ordering::Release) == 1 {
            cache.writes.done.wake_all();
        }
    }
}

impl BufCache {
    /// Starts writing all buffers that are dirty now, ascending by block number, stamped with
    /// `lsn`. Buffers that an open transaction has changed are left dirty.
    ///
    /// May sleep: waits for modifiers of a block and for memory, not for the I/O. Errors: EUCLEAN
    /// if a block in memory does not pass its verifier; the others are written.
    pub fn write_dirty(self: &Arc<Self>, lsn: Lsn) -> Result<WriteStats> {
        let mut stats = WriteStats::default();
        let mut verdict = Ok(());

        // Buffers that fail go back on the list: two passes are enough to see each of them.
        let mut left = self.dirty_linked();
        while left > 0 {
            let mut batch = self.collect(left)?;
            if batch.is_empty() {
                break;
            }
            left = left.saturating_sub(batch.len());
            sort_by_key(&mut batch, |buf| buf.block);
            sys::plugged(|| {
                for buf in batch {
                    match self.submit(buf, lsn) {
                        Ok(true) => stats.submitted += 1,
                        Ok(false) => stats.skipped += 1,
                        Err(error) => verdict = Err(error),
                    }
                }
            });
        }
        verdict.map(|()| stats)
    }

    fn submit(&self, buf: Arc<Buf>, lsn: Lsn) -> Result<bool> {
        if buf.pins.load(Ordering::Acquire) != 0 {
            self.link_dirty(&buf);
            return Ok(false);
        }
        let Some(WbToken { buf, hold }) = buf.begin_write(lsn)? else {
            return Ok(false);
        };
        self.writes.inflight.fetch_add(1, Ordering::Relaxed);
        let block = buf.block.get();
        self.dev.submit_write(block, buf, hold);
        Ok(true)
    }

    /// Waits until no write is in flight; gives the first error since the last call. May sleep.
    pub fn wait_writes(&self) -> Result<()> {
        self.writes
            .done
            .wait(|| self.writes.inflight.load(Ordering::Acquire) == 0);
        match self.writes.error.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            errno => Err(Error::new(Errno::from_raw(errno as i32))),
        }
    }

    /// Buffers on dirty lists.
    fn dirty_linked(&self) -> usize {
        self.shards.iter().fold(0, |sum: usize, shard| {
            sum.saturating_add(shard.lock().dirty())
        })
    }

    /// Takes up to `want` buffers off the dirty lists.
    fn collect(&self, want: usize) -> Result<sys::Vec<Arc<Buf>>> {
        let mut batch = sys::Vec::new();
        if batch.try_reserve(want).is_err() {
            batch.must_reserve(want.min(SMALL_BATCH));
        }
        for shard in self.shards.iter() {
            let mut shard = shard.lock();
            while batch.len() < batch.capacity() {
                let Some(buf) = shard.pop_dirty() else { break };
                // There is room: looked at above, under the same lock.
                let _ = batch.push_within_capacity(buf);
            }
        }
        Ok(batch)
    }
}
