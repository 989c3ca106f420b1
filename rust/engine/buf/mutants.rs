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
