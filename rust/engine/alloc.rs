// SPDX-License-Identifier: GPL-2.0

//! The block allocator.
//!
//! On disk free space is a bitmap. While mounted, allocation is a matter of memory only: a
//! [`Claim`] takes a run out of a group's index of free runs and owns it, the bits are set by the
//! transaction that commits its use, and a claim that is dropped was never there. So allocation
//! inside a transaction cannot wait and cannot fail, and nothing on disk has to be undone after a
//! crash.
//!
//! * [`space`]: counters, who has a promise of how many blocks;
//! * [`window`]: blocks kept for files that grow;
//! * [`group`]: the runs of one group; [`extents`]: the trees they are in.
//!
//! A freed block is *busy* until the checkpoint with its freeing is durable: not allocatable, but
//! free for the counters. Whoever has a promise and finds only busy blocks asks for a checkpoint
//! ([`Errno::AGAIN`], answered in `Mount`).

mod check;
mod claim;
mod discard;
mod extents;
mod group;
mod space;
#[cfg(all(test, unit_tests))]
mod tests;
mod window;

pub use claim::{Claim, Reservation};
pub use window::Window;

use crate::engine::{
    buf::BufCache,
    locks::AgSpaceLock,
    Error,
    Result, //
};
use crate::format::{
    limits::MAX_EXTENT_LEN,
    AgBlock,
    AgNumber,
    AgRange,
    BlockRange,
    DiskBlock,
    Geometry, //
};
use crate::sys::{
    self,
    atomic::{AtomicU32, AtomicU64, Ordering},
    Arc,
    Errno,
    Mutex,
    MutexGuard, //
};
use group::{Group, Want};
use space::Space;
use window::Windows;

/// Available blocks below which metadata pools do not keep any: somebody may have a promise for
/// the very last ones.
const SCARCE: u64 = 4096;
/// No search has failed.
const NONE_FAILED: u32 = u32::MAX;

struct AgSpace {
    group: Mutex<Group, AgSpaceLock>,
    /// A search for this many blocks in a row found nothing since blocks were last given back.
    failed: AtomicU32,
    /// On the list of groups with busy blocks.
    busy: AtomicU32,
}

/// The allocator of one mount.
pub struct Alloc {
    cache: Arc<BufCache>,
    geometry: Geometry,
    space: Space,
    ags: sys::Vec<AgSpace>,
    /// Blocks kept for files that grow.
    windows: Windows,
    /// Blocks that are being discarded.
    discarding: AtomicU64,
    /// The number, plus one, of a group whose bitmap blocks have to be made.
    lacking: AtomicU32,
}

impl Alloc {
    /// The allocator of a file system with `free` free blocks. Reads nothing. Errors: ENOMEM.
    pub fn new(cache: Arc<BufCache>, free: u64) -> Result<Arc<Self>> {
        let geometry = cache.context().geometry;
        let key = sys::random_u64() as u32;
        let mut ags = sys::Vec::try_with_capacity(geometry.ag_count() as usize)?;
        for ag in geometry.ags() {
            ags.try_push(AgSpace {
                group: Mutex::new(Group::new(ag, key)),
                failed: AtomicU32::new(NONE_FAILED),
                busy: AtomicU32::new(0),
            })?;
        }
        Ok(sys::try_arc(Self {
            space: Space::new(free, geometry.total_dynamic_blocks()),
            cache,
            geometry,
            ags,
            windows: Windows::new(),
            discarding: AtomicU64::new(0),
            lacking: AtomicU32::new(0),
        })?)
    }

    /// Blocks that anybody may still ask for: what statfs reports.
    pub fn available(&self) -> u64 {
        self.space.available()
    }

    /// Blocks of the hidden pool, for transactions that free or convert.
    pub fn hidden(&self) -> u64 {
        self.space.hidden()
    }

    /// Blocks that are promised to somebody who has not used them yet: by reservations, claims,
    /// transactions. With a checkpoint under way what it frees counts, too.
    pub fn promised(&self) -> u64 {
        let unpromised = self.available().saturating_add(self.hidden());
        self.free().saturating_sub(unpromised)
    }

    /// Free blocks as the bitmaps have them: what the superblock stores.
    pub fn free(&self) -> u64 {
        self.space.free()
    }

    /// Locks a group. May sleep.
    fn group(&self, ag: AgNumber) -> Result<MutexGuard<'_, Group>> {
        let ag = self
            .ags
            .get(ag.get() as usize)
            .ok_or(Error::new(Errno::UCLEAN))?;
        Ok(ag.group.lock())
    }

    /// Where a run is: inside one group and one bitmap block, and not static metadata.
    fn locate(&self, range: BlockRange) -> Result<(AgNumber, AgRange)> {
        if let Err(defect) = self.geometry.check_range(range, "extent") {
            sys::pr_err!("extent {}+{}: {}\n", range.start, range.len, defect);
            return Err(Error::new(Errno::UCLEAN));
        }
        let (ag, start) = self
            .geometry
            .locate(range.start)
            .ok_or(Error::new(Errno::UCLEAN))?;
        Ok((ag, AgRange::new(start, range.len)))
    }

    fn disk(&self, ag: AgNumber, range: AgRange) -> Result<BlockRange> {
        self.geometry
            .disk_range(ag, range)
            .ok_or(Error::new(Errno::UCLEAN))
    }

    /// Takes a run out of some group, first of all that of `goal`. The promise is the caller's.
    ///
    /// A first round wants a good part of what was asked for, a second one takes what there is.
    fn take(&self, goal: DiskBlock, want: u32, min: u32) -> Result<BlockRange> {
        let (first, start) = self.geometry.locate(goal).unwrap_or_default();
        let count = self.geometry.ag_count();
        // No run is longer: who asked for more would never find what he wants.
        let want = want.min(MAX_EXTENT_LEN).max(min);
        let good = (want / 4).max(min);
        let mut verdict = Error::new(Errno::NOSPC);

        let mut rounds = [good, min].into_iter();
        let mut drained = false;
        let mut round = rounds.next();
        while let Some(min) = round {
            for step in 0..count {
                let number = AgNumber(first.get().wrapping_add(step) % count);
                let Some(ag) = self.ags.get(number.get() as usize) else {
                    continue;
                };
                if min >= ag.failed.load(Ordering::Relaxed) {
                    continue;
                }
                let want = Want {
                    goal: if step == 0 { start } else { AgBlock(0) },
                    want,
                    min,
                };
                let mut group = ag.group.lock();
                match group.claim(&self.cache, want) {
                    Ok(Some(range)) => return self.disk(number, range),
                    Ok(None) => ag.failed.store(min, Ordering::Relaxed),
                    Err(error) if error.is(Errno::AGAIN) => {
                        self.lacks_bitmap(number);
                        return Err(error);
                    }
                    // Logged; the other groups may do.
                    Err(error) => verdict = error,
                }
            }
            round = rounds.next();
            if round.is_none() && !drained {
                drained = true;
                if self.drain_pools()? {
                    round = Some(min);
                }
            }
        }
        if self.has_busy() {
            return Err(Error::new(Errno::AGAIN));
        }
        Err(verdict)
    }

    /// A search found that bitmap blocks of `ag` have to be made.
    fn lacks_bitmap(&self, ag: AgNumber) {
        self.lacking
            .store(ag.get().saturating_add(1), Ordering::Release);
    }

    /// After AGAIN: the group whose bitmap blocks have to be made, if it was for that.
    pub(crate) fn take_lacking(&self) -> Option<AgNumber> {
        self.lacking
            .swap(0, Ordering::AcqRel)
            .checked_sub(1)
            .map(AgNumber)
    }

    /// Gives the pools of metadata blocks back to the groups. Returns whether there was any.
    fn drain_pools(&self) -> Result<bool> {
        let mut any = false;
        for ag in self.ags.iter() {
            if ag.group.lock().drain_pool()? {
                ag.failed.store(NONE_FAILED, Ordering::Relaxed);
                any = true;
            }
        }
        Ok(any)
    }

    /// For reproducers: metadata goes to the first free blocks again, as after a mount. Takes the
    /// locks of the groups. EUCLEAN.
    #[cfg(latchfs_races)]
    pub fn forget_pools(&self) -> Result {
        self.drain_pools().map(|_| ())
    }

    /// Whether a checkpoint, or the end of a discard, would make blocks usable. Not exact while
    /// transactions commit.
    pub fn has_busy(&self) -> bool {
        self.discarding.load(Ordering::Acquire) != 0
            || self
                .ags
                .iter()
                .any(|ag| ag.busy.load(Ordering::Relaxed) != 0)
    }

    /// Gives the blocks of a claim back. Never fails for the caller: damage is logged.
    fn unclaim(&self, range: BlockRange) {
        let verdict = self.locate(range).and_then(|(ag, run)| {
            self.group(ag)?.unclaim(run)?;
            if let Some(ag) = self.ags.get(ag.get() as usize) {
                ag.failed.store(NONE_FAILED, Ordering::Relaxed);
            }
            Ok(())
        });
        if let Err(error) = verdict {
            sys::pr_err!("claim {}+{}: {}\n", range.start, range.len, error);
        }
    }

    /// Whether so few blocks are left that pools must not keep any.
    fn is_scarce(&self) -> bool {
        self.space.available() < SCARCE
    }

    /// Takes `n` blocks for metadata into `out`, near `goal` as far as possible. The promise is
    /// the caller's. May sleep for I/O; at most a folio lock may be held.
    ///
    /// Errors: AGAIN if only busy blocks are left or bitmap blocks have to be made, NOSPC if there
    /// are none; `out` then has what was found.
    pub(super) fn take_meta(
        &self,
        goal: DiskBlock,
        n: u32,
        out: &mut sys::Vec<BlockRange>,
    ) -> Result<()> {
        let (first, start) = self.geometry.locate(goal).unwrap_or_default();
        let count = self.geometry.ag_count();
        let mut left = n;
        let scarce = self.is_scarce();

        for round in 0..2 {
            for step in 0..count {
                if left == 0 {
                    return Ok(());
                }
                let number = AgNumber(first.get().wrapping_add(step) % count);
                let Some(ag) = self.ags.get(number.get() as usize) else {
                    continue;
                };
                // A group that has nothing for others may still have a pool.
                let goal = if step == 0 { start } else { AgBlock(0) };
                let mut broken = Ok(());
                let taken = ag
                    .group
                    .lock()
                    .take_meta(&self.cache, goal, left, scarce, |run| {
                        match self.disk(number, run) {
                            Ok(range) => out.must_push(range),
                            Err(error) => broken = Err(error),
                        }
                    });
                broken?;
                let mut lacks = false;
                match taken {
                    Ok(rest) => left = rest,
                    Err(error) => lacks = error.is(Errno::AGAIN),
                }
                if lacks {
                    self.lacks_bitmap(number);
                    return Err(Error::new(Errno::AGAIN));
                }
            }
            if round == 0 && !self.drain_pools()? {
                break;
            }
        }
        if left == 0 {
            Ok(())
        } else if self.has_busy() {
            Err(Error::new(Errno::AGAIN))
        } else {
            Err(Error::new(Errno::NOSPC))
        }
    }

    /// Puts metadata blocks that a transaction did not need back. Damage is logged.
    pub(super) fn return_meta(&self, range: BlockRange) {
        let verdict = self.locate(range).and_then(|(ag, run)| {
            let mut group = self.group(ag)?;
            group.return_meta(run, self.is_scarce())?;
            if let Some(ag) = self.ags.get(ag.get() as usize) {
                ag.failed.store(NONE_FAILED, Ordering::Relaxed);
            }
            Ok(())
        });
        if let Err(error) = verdict {
            sys::pr_err!("metadata blocks {}+{}: {}\n", range.start, range.len, error);
        }
    }

    /// Promises `n` blocks to a transaction. `hidden`: what is not available may come from the
    /// hidden pool. Sleeps only if there are windows to drop.
    pub(super) fn promise(&self, n: u64, hidden: bool) -> Result<()> {
        let take = || {
            if hidden {
                self.space.take_hidden(n)
            } else {
                self.space.take(n, n).is_some()
            }
        };
        // Windows are nobody's promise.
        if take() || self.drop_windows() > 0 && take() {
            Ok(())
        } else {
            Err(Error::new(Errno::NOSPC))
        }
    }

    /// Takes a promise back.
    pub(super) fn unpromise(&self, n: u64) {
        self.space.give(n);
    }

    /// Commit, before the bits of `range` are cleared: the run becomes busy. Errors: EUCLEAN if it
    /// is not an allocated run.
    pub(super) fn freed(&self, range: BlockRange) -> Result<()> {
        let (number, run) = self.locate(range)?;
        self.group(number)?.freed(&self.cache, run)?;
        if let Some(ag) = self.ags.get(number.get() as usize) {
            ag.busy.store(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Commit, after the bits of `range` were set: the run is no longer claimed.
    pub(super) fn used(&self, range: BlockRange) -> Result<()> {
        let (number, run) = self.locate(range)?;
        self.group(number)?.used(run)
    }

    /// Commit, at its end: `used` blocks are used now, `freed` ones free. The promise of the used
    /// ones is spent.
    pub(super) fn committed(&self, used: u64, freed: u64) {
        self.space.committed(used, freed);
        self.space.give(freed);
    }

    /// Number of initialised bitmap blocks of a group. May sleep for I/O.
    pub(super) fn bitmap_init(&self, ag: AgNumber) -> Result<u32> {
        self.group(ag)?.init(&self.cache)
    }

    /// The bitmap blocks of `ag` below `init` are initialised in committed buffers.
    pub(super) fn set_bitmap_init(&self, ag: AgNumber, init: u32) -> Result<()> {
        self.group(ag)?.set_init(init);
        Ok(())
    }

    /// A checkpoint begins; no transaction is open. Everything busy now waits for it.
    pub(super) fn close(&self) -> Result<()> {
        for ag in self.ags.iter() {
            if ag.busy.load(Ordering::Relaxed) != 0 {
                ag.group.lock().close()?;
            }
        }
        Ok(())
    }

    /// The checkpoint is durable.
    pub(super) fn release(&self) -> Result<()> {
        for ag in self.ags.iter() {
            if ag.busy.load(Ordering::Relaxed) != 0 {
                let mut group = ag.group.lock();
                group.release()?;
                ag.failed.store(NONE_FAILED, Ordering::Relaxed);
                if !group.has_busy() {
                    ag.busy.store(0, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// The shrinker's entry point: drops indexes of free runs that were not used since the last
    /// call, in groups whose lock is free. Returns how many runs were dropped. Does no I/O.
    pub fn shrink(&self) -> u32 {
        self.ags
            .iter()
            .filter_map(|ag| ag.group.try_lock())
            .fold(0, |sum: u32, mut group| sum.saturating_add(group.shrink()))
    }
}
