// SPDX-License-Identifier: GPL-2.0

//! Giving memory back.

use super::*;
use state::Reclaim;

/// Buffers freed for one hold of a shard's spinlock.
const BAG: usize = 16;
/// Buffers looked at for one hold of a shard's spinlock.
const STEPS: usize = 64;

impl BufCache {
    /// Frees up to `n` buffers that are clean, unused and were not used since the last look, and
    /// returns how many. The shrinker's entry point: takes spinlocks only, does no I/O, allocates
    /// nothing, so it may be called in reclaim and inside a NOFS scope.
    pub fn reclaim(&self, n: usize) -> usize {
        let mut freed = 0;
        // Each buffer gets a second chance, so two rounds see everything that can go.
        let mut shards_left = self.shards.len().saturating_mul(2);

        while freed < n && shards_left > 0 {
            let hand = self.hand.load(Ordering::Relaxed);
            let at = hand as usize & self.shards.len().saturating_sub(1);
            let Some(shard) = self.shards.get(at) else {
                break;
            };
            sys::mutant!(Seed002Reclaim => {
                freed += self.sweep_unlocked(shard);
                self.hand.store(hand.wrapping_add(1), Ordering::Relaxed);
                shards_left -= 1;
                continue;
            });
            let (dead, all) = self.sweep_shard(shard, n.saturating_sub(freed));
            freed += dead;
            if all {
                // Lost updates only make two shrinkers look at the same shard.
                self.hand.store(hand.wrapping_add(1), Ordering::Relaxed);
                shards_left -= 1;
            }
        }
        freed
    }

    /// One step in one shard; also says whether the shard has been looked at as a whole.
    fn sweep_shard(&self, shard: &Spin<Shard, BufShardLock>, n: usize) -> (usize, bool) {
        let mut freed = 0;
        let mut seen = 0;

        loop {
            // The dead are dropped behind the lock.
            let mut bag: [Option<Arc<Buf>>; BAG] = [const { None }; BAG];
            let most = n.saturating_sub(freed).min(BAG);
            let mut dead = 0;
            let mut shard = shard.lock();
            let mut filled = 0;
            let steps = shard.sweep(
                STEPS,
                |buf| {
                    if dead == most {
                        return None;
                    }
                    match buf.state.reclaim() {
                        Reclaim::Dead(token) => {
                            // Under the shard's lock: taken out at once, by us.
                            let _ = token;
                            #[cfg(latchfs_races)]
                            buf.autopsy();
                            dead += 1;
                            Some(true)
                        }
                        Reclaim::Referenced | Reclaim::Busy => Some(false),
                    }
                },
                |buf| {
                    if let Some(slot) = bag.get_mut(filled) {
                        *slot = Some(buf);
                    }
                    filled += 1;
                },
            );
            let slots = shard.slots();
            drop(shard);
            drop(bag);

            self.count.fetch_sub(filled as u64, Ordering::Relaxed);
            freed += filled;
            seen += steps;
            if freed >= n {
                return (freed, seen >= slots);
            }
            if steps == 0 || seen >= slots {
                return (freed, true);
            }
        }
    }

    /// Waits for reads that nobody else waits for (readahead): a buffer must not go under I/O, nor
    /// the device under a buffer. Nobody begins a read any more. May sleep for the I/O.
    fn wait_reads(&self) {
        for shard in self.shards.iter() {
            loop {
                let mut reading = None;
                let mut guard = shard.lock();
                let slots = guard.slots();
                guard.sweep(
                    slots,
                    |buf| {
                        if buf.state.load().is_reading() {
                            reading = Some(buf.clone());
                            return None;
                        }
                        Some(false)
                    },
                    |_| {},
                );
                drop(guard);
                let Some(buf) = reading else { break };
                sys::sync_point!("eb.purge.waits", buf.block.get());
                self.read_queue(buf.block)
                    .wait(|| !buf.state.load().is_reading());
            }
        }
    }

    /// Unmount: drops everything. Returns how many dirty buffers were lost and how many are still
    /// in use and stay; both are 0 after a clean unmount. May sleep.
    pub fn purge(&self) -> (u64, u64) {
        let mut lost = 0;
        let mut held = 0;
        if !sys::mutant!(Seed002Purge) {
            self.wait_reads();
        }

        for shard in self.shards.iter() {
            let mut seen = 0;
            loop {
                let mut gone = None;
                let mut guard = shard.lock();
                let mut stop = false;
                let steps = guard.sweep(
                    1,
                    |buf| {
                        match buf.state.discard() {
                            Some((token, dirty)) => {
                                let _ = token;
                                #[cfg(latchfs_races)]
                                buf.autopsy_at_unmount();
                                lost += u64::from(dirty);
                                return Some(true);
                            }
                            None => held += 1,
                        }
                        Some(false)
                    },
                    |buf| gone = Some(buf),
                );
                seen += steps;
                stop |= steps == 0 || seen >= guard.slots();
                drop(guard);
                if gone.is_some() {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                }
                drop(gone);
                if stop {
                    break;
                }
            }
        }
        self.dirty.fetch_sub(lost, Ordering::Relaxed);
        sys::sync_point!("eb.purge.done", held);
        (lost, held)
    }
}
