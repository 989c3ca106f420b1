// SPDX-License-Identifier: GPL-2.0

//! The cache without its protections, and what tells that one was missing.
//!
//! Only in builds with `--cfg latchfs_races`.

use super::*;
use state::Reclaim;

impl Buf {
    /// Notes what is wrong with a buffer that is being torn down.
    pub(super) fn autopsy(&self) {
        if self.state.load().is_dirty() {
            sys::damage!(DirtyFreed, self.block.get());
        }
        self.autopsy_at_unmount();
    }

    /// [`Self::autopsy`] when nobody wants the content any more.
    pub(super) fn autopsy_at_unmount(&self) {
        let state = self.state.load();
        if state.refs() != 0 {
            sys::damage!(UsedFreed, self.block.get());
        }
        if state.is_writeback() || state.is_reading() {
            sys::damage!(BusyFreed, self.block.get());
        }
    }
}

impl BufCache {
    /// One sweep of the shrinker that chooses its victims under the lock of the shard and kills
    /// them without. Returns how many.
    pub(super) fn sweep_unlocked(&self, shard: &Spin<Shard, BufShardLock>) -> usize {
        let mut victims = sys::Vec::new();
        let room = shard.lock().slots();
        if victims.try_reserve(room).is_err() {
            return 0;
        }
        shard.lock().sweep(
            room,
            |buf| {
                let _ = victims.push_within_capacity(buf.clone());
                Some(false)
            },
            |_| {},
        );
        let mut freed = 0;
        for buf in victims.iter() {
            if let Reclaim::Dead(token) = buf.state.reclaim() {
                self.bury(buf, token);
                freed += 1;
            }
        }
        freed
    }
}

/// The name of one life of a buffer, without a reference: what a pointer is in C.
pub struct BufHandle {
    cache: Arc<BufCache>,
    block: DiskBlock,
    generation: u32,
}

impl BufHandle {
    /// The block.
    pub fn block(&self) -> DiskBlock {
        self.block
    }

    /// Where the pointer leads: [`None`] if the buffer is gone or has another life. Does not sleep.
    pub fn follow(&self) -> Option<BufRef> {
        let buf = self.cache.peek(self.block)?;
        (buf.generation() == self.generation).then_some(buf)
    }
}

impl BufRef {
    /// The name of this life of the buffer.
    pub(crate) fn handle(&self) -> BufHandle {
        BufHandle {
            cache: self.buf.cache.clone(),
            block: self.block(),
            generation: self.generation(),
        }
    }

    /// Whether it is newer than the disk, as the word says.
    pub fn is_unwritten(&self) -> bool {
        let state = self.buf.state.load();
        state.is_dirty() || state.is_writeback()
    }
}

impl BufCache {
    /// The buffer of `block` if it is cached, whatever its state. Does not sleep.
    pub fn cached(&self, block: DiskBlock) -> Option<BufRef> {
        self.peek(block)
    }
}
