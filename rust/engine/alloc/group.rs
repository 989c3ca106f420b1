// SPDX-License-Identifier: GPL-2.0

//! Free space of one allocation group.
//!
//! For each bitmap block: an index of free runs, which is a cache and may be dropped at any time,
//! and three small sets that never are. Always, and checked by [`super::Alloc::check`]:
//!
//! ```text
//! zero bits = index + claimed + busy + closing        (disjoint)
//! ```
//!
//! `claimed` has an owner and is not in the bitmap yet; `busy` was freed by a commit whose
//! checkpoint is not durable; `closing` is what of it belongs to the checkpoint being written. The
//! index is built from the bitmap minus these sets, under the group's lock.
//!
//! The bitmap is changed at commit without this lock: a bit is set before its block leaves
//! `claimed`, and cleared after it has entered `busy`, so an index built in between is right.

use super::extents::{Extents, Run};
use crate::engine::{
    buf::BufCache,
    Error,
    Result, //
};
use crate::format::{
    bitmap::static_bits,
    limits::BITMAP_BITS,
    AgBlock,
    AgHeader,
    AgNumber,
    AgRange,
    BitmapBlock,
    BlockKind,
    Geometry,
    Owner, //
};
use crate::sys::{self, Arc, Errno};

/// The number of free blocks is not known.
const UNKNOWN: u32 = u32::MAX;
/// Runs looked at behind the goal before size decides.
const NEAR: usize = 8;
/// Bitmap blocks looked at for a better run when there is a usable one already.
const PATIENCE: u32 = 8;
/// Blocks the pool of metadata blocks takes at once.
const POOL_FILL: u32 = 32;
/// Blocks it keeps.
const POOL_MOST: u32 = 128;

/// What is known about the free space behind one bitmap block.
struct Sets {
    index: Option<Extents>,
    claimed: Extents,
    busy: Extents,
    closing: Extents,
    /// Looked into since the shrinker came by.
    used: bool,
}

#[derive(Default)]
struct Map {
    sets: Option<sys::Box<Sets>>,
    /// The bitmap block cannot be read: nothing is allocated here.
    bad: bool,
}

/// Free space of one group; under the group's mutex.
pub(super) struct Group {
    ag: AgNumber,
    key: u32,
    maps: sys::Vec<Map>,
    /// Bitmap blocks that are initialised on disk or in a committed buffer.
    init: u32,
    loaded: bool,
    bad: bool,
    /// Claimed blocks without an owner, for metadata.
    pool: sys::Vec<AgRange>,
    pool_blocks: u32,
    /// Where the last metadata block came from.
    pool_goal: AgBlock,
    /// Bitmap blocks with something in `busy`.
    busy_maps: sys::Vec<u32>,
    closing_maps: sys::Vec<u32>,
}

/// What a search may take: at least `min`, at best `want` blocks, near `goal`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) goal: AgBlock,
    pub(super) want: u32,
    pub(super) min: u32,
}

fn to_run(range: AgRange) -> (u32, Run) {
    let (map, start) = Geometry::bitmap_position(range.start);
    (
        map,
        Run {
            start,
            len: range.len,
        },
    )
}

fn to_range(map: u32, run: Run) -> AgRange {
    AgRange::new(
        AgBlock(map.saturating_mul(BITMAP_BITS).saturating_add(run.start)),
        run.len,
    )
}

/// The free runs of a bitmap block as the bitmap has them. `init` is the group's watermark. May
/// sleep for I/O.
fn zero_bits(
    cache: &Arc<BufCache>,
    ag: AgNumber,
    map: u32,
    init: u32,
    key: u32,
) -> Result<Extents> {
    let geometry = cache.context().geometry;
    let mut runs = Extents::new(true, key);
    let mut put = |start: u32, end: u32| {
        // Runs come in order and apart: an insertion cannot fail.
        let _ = runs.insert(Run {
            start,
            len: end.saturating_sub(start),
        });
    };
    if map < init {
        let at = geometry
            .bitmap_block(ag, map)
            .ok_or(Error::new(Errno::UCLEAN))?;
        let buf = cache.read(at, BlockKind::Bitmap, Owner::ag(ag))?;
        let data = buf.data();
        let bitmap = BitmapBlock::of(&data);
        let mut from = 0;
        while let Some(start) = bitmap.find(from, false) {
            let end = bitmap.find(start, true).unwrap_or(BITMAP_BITS);
            put(start, end);
            from = end;
        }
    } else {
        put(0, geometry.bitmap_coverage(ag, map).len);
        for (start, len) in static_bits(&geometry, ag, map) {
            runs.subtract(Run { start, len });
        }
    }
    Ok(runs)
}

impl Sets {
    fn new(key: u32) -> Self {
        Self {
            index: None,
            claimed: Extents::new(false, key),
            busy: Extents::new(false, key),
            closing: Extents::new(false, key),
            used: true,
        }
    }

    fn idle(&self) -> bool {
        self.claimed.count() == 0 && self.busy.count() == 0 && self.closing.count() == 0
    }

    /// Takes a run out of the index for an owner.
    fn claim(&mut self, run: Run) -> bool {
        let Some(index) = &mut self.index else {
            return false;
        };
        index.remove(run) && self.claimed.insert(run)
    }
}

impl Group {
    pub(super) fn new(ag: AgNumber, key: u32) -> Self {
        Self {
            ag,
            key: key ^ ag.get().wrapping_mul(0x9e37_79b9),
            maps: sys::Vec::new(),
            init: 0,
            loaded: false,
            bad: false,
            pool: sys::Vec::new(),
            pool_blocks: 0,
            pool_goal: AgBlock(0),
            busy_maps: sys::Vec::new(),
            closing_maps: sys::Vec::new(),
        }
    }

    /// Reads what has to be known before anything else: how many bitmap blocks are initialised.
    fn load(&mut self, cache: &Arc<BufCache>) -> Result<()> {
        if self.loaded {
            return Ok(());
        }
        let geometry = &cache.context().geometry;
        let at = geometry
            .header_block(self.ag)
            .ok_or(Error::new(Errno::UCLEAN))?;
        let header = cache.read(at, BlockKind::AgHeader, Owner::ag(self.ag));
        let header = header.inspect_err(|_| self.bad = true)?;
        self.init = AgHeader::of(&header.data()).bitmap_init.get();
        while (self.maps.len() as u32) < geometry.bitmap_count(self.ag) {
            self.maps.must_push(Map::default());
        }
        self.loaded = true;
        self.bad = false;
        Ok(())
    }

    fn map_mut(&mut self, map: u32) -> Option<&mut Map> {
        self.maps.get_mut(map as usize)
    }

    /// The sets of a bitmap block, made if there are none.
    fn sets(&mut self, map: u32) -> Result<&mut Sets> {
        let key = self.key;
        let map = self
            .maps
            .get_mut(map as usize)
            .ok_or(Error::new(Errno::UCLEAN))?;
        if map.sets.is_none() {
            map.sets = Some(sys::must_box(Sets::new(key)));
        }
        map.sets.as_deref_mut().ok_or(Error::new(Errno::UCLEAN))
    }

    /// Free blocks behind a bitmap block that can be taken now; [`UNKNOWN`] without index.
    fn map_free(&self, map: u32) -> u32 {
        match self.maps.get(map as usize) {
            None => 0,
            Some(map) if map.bad => 0,
            Some(map) => map
                .sets
                .as_ref()
                .and_then(|s| s.index.as_ref())
                .map_or(UNKNOWN, Extents::blocks),
        }
    }

    /// Whether some freed blocks wait for a checkpoint.
    pub(super) fn has_busy(&self) -> bool {
        !self.busy_maps.is_empty() || !self.closing_maps.is_empty()
    }

    /// Builds the index of a bitmap block, if there is none. May sleep for I/O.
    fn build(&mut self, cache: &Arc<BufCache>, map: u32) -> Result<()> {
        let (ag, key, init) = (self.ag, self.key, self.init);
        let sets = self.sets(map)?;
        sets.used = true;
        if sets.index.is_some() {
            return Ok(());
        }

        let mut index = zero_bits(cache, ag, map, init, key)?;
        let sets = self.sets(map)?;
        for set in [&sets.claimed, &sets.busy, &sets.closing] {
            for run in set.iter() {
                index.subtract(run);
            }
        }
        sets.index = Some(index);
        Ok(())
    }

    /// The run to take behind one bitmap block: at the goal, near it, or by size.
    fn choose(index: &Extents, goal: Option<u32>, want: Want) -> Option<Run> {
        let cut = |run: Run| Run {
            start: run.start,
            len: run.len.min(want.want),
        };

        if let Some(goal) = goal {
            let mut run = index.at_or_after(goal);
            if let Some(at) = run.filter(|r| r.start <= goal && r.end() - goal >= want.min) {
                // Right behind what is there already: even a short run makes no new extent.
                return Some(cut(Run {
                    start: goal,
                    len: at.end() - goal,
                }));
            }
            for _ in 0..NEAR {
                match run {
                    Some(r) if r.len >= want.want => return Some(cut(r)),
                    Some(r) => run = index.at_or_after(r.end()),
                    None => break,
                }
            }
        }
        index
            .fit(want.want)
            .or_else(|| index.largest().filter(|r| r.len >= want.min))
            .map(cut)
    }

    /// Takes a run for an owner: the best that a bounded search finds. [`None`] if the group has
    /// none. May sleep for I/O. Errors: the group's header cannot be read; AGAIN if bitmap blocks
    /// have to be made first.
    pub(super) fn claim(&mut self, cache: &Arc<BufCache>, want: Want) -> Result<Option<AgRange>> {
        self.load(cache)?;
        let (goal_map, goal) = Geometry::bitmap_position(want.goal);
        let count = self.maps.len() as u32;
        // A bitmap block behind the watermark has to be made before its blocks can be used.
        let reach = self.init.min(count);
        let centre = goal_map.min(self.init.saturating_sub(1));
        let mut best: Option<(u32, Run)> = None;
        let mut patience = PATIENCE;
        // Nothing was found to stop at: all there is was looked at.
        let mut all = true;

        let mut distance = 0;
        let mut below = false;
        while distance < reach {
            let map = if below {
                centre.checked_sub(distance)
            } else {
                centre.checked_add(distance).filter(|m| *m < reach)
            };
            let here = distance == 0;
            if below || here {
                distance += 1;
                below = false;
            } else {
                below = true;
            }
            let Some(map) = map else { continue };
            if self.map_free(map) < want.min {
                continue;
            }
            if self.build(cache, map).is_err() {
                // Logged where it was found. The rest of the group goes on.
                if let Some(map) = self.map_mut(map) {
                    map.bad = true;
                }
                continue;
            }
            let goal = (here && map == goal_map).then_some(goal);
            let Some(index) = &self.sets(map)?.index else {
                continue;
            };
            if let Some(run) = Self::choose(index, goal, want) {
                let enough = run.len >= want.want || (goal == Some(run.start));
                if best.is_none_or(|(_, b)| b.len < run.len) {
                    best = Some((map, run));
                }
                patience = patience.saturating_sub(1);
                if enough || patience == 0 {
                    all = false;
                    break;
                }
            }
        }

        if all && reach < count {
            // There is a better one, once there is a bitmap block for it.
            return Err(Error::new(Errno::AGAIN));
        }
        let Some((map, run)) = best else {
            return Ok(None);
        };
        if !self.sets(map)?.claim(run) {
            return Err(Error::new(Errno::UCLEAN));
        }
        Ok(Some(to_range(map, run)))
    }

    /// Takes exactly `range`, if all of it is free. For tests and tools that place things.
    pub(super) fn claim_exact(&mut self, cache: &Arc<BufCache>, range: AgRange) -> Result<bool> {
        self.load(cache)?;
        let (map, run) = to_run(range);
        if map >= self.init {
            return Err(Error::new(Errno::AGAIN));
        }
        self.build(cache, map)?;
        Ok(self.sets(map)?.claim(run))
    }

    /// Gives a claimed run back.
    pub(super) fn unclaim(&mut self, range: AgRange) -> Result<()> {
        let (map, run) = to_run(range);
        let sets = self.sets(map)?;
        if !sets.claimed.remove(run) {
            return Err(Error::new(Errno::UCLEAN));
        }
        if let Some(index) = &mut sets.index {
            if !index.insert(run) {
                return Err(Error::new(Errno::UCLEAN));
            }
        }
        Ok(())
    }

    /// The bits of a claimed run are set in the committed bitmap.
    pub(super) fn used(&mut self, range: AgRange) -> Result<()> {
        let (map, run) = to_run(range);
        if !self.sets(map)?.claimed.remove(run) {
            return Err(Error::new(Errno::UCLEAN));
        }
        Ok(())
    }

    /// A commit is about to clear the bits of a run. Errors: EUCLEAN if a block of it is not in
    /// use.
    pub(super) fn freed(&mut self, cache: &Arc<BufCache>, range: AgRange) -> Result<()> {
        self.load(cache)?;
        let (map, run) = to_run(range);
        let sets = self.sets(map)?;
        let free = sets.claimed.overlaps(run)
            || sets.closing.overlaps(run)
            || sets.index.as_ref().is_some_and(|i| i.overlaps(run));
        let first = sets.busy.count() == 0;
        if free || !sets.busy.insert(run) {
            return Err(Error::new(Errno::UCLEAN));
        }
        if first {
            self.busy_maps.must_push(map);
        }
        Ok(())
    }

    /// Bitmap blocks below `init` are initialised now.
    pub(super) fn set_init(&mut self, init: u32) {
        self.init = self.init.max(init);
    }

    /// Number of initialised bitmap blocks. May sleep for I/O.
    pub(super) fn init(&mut self, cache: &Arc<BufCache>) -> Result<u32> {
        self.load(cache)?;
        Ok(self.init)
    }

    /// A checkpoint begins: what is busy now will be free when it is durable.
    pub(super) fn close(&mut self) -> Result<()> {
        while let Some(map) = self.busy_maps.pop() {
            let sets = self.sets(map)?;
            let first = sets.closing.count() == 0;
            let busy = core::mem::replace(&mut sets.busy, Extents::new(false, 0));
            sets.busy = Extents::new(false, busy.key());
            if first {
                sets.closing = busy;
                self.closing_maps.must_push(map);
            } else {
                // An earlier checkpoint failed; its blocks wait for this one.
                for run in busy.iter() {
                    let _ = sets.closing.insert(run);
                }
            }
        }
        Ok(())
    }

    /// The checkpoint is durable: its freed blocks can be used again.
    pub(super) fn release(&mut self) -> Result<()> {
        while let Some(map) = self.closing_maps.pop() {
            let sets = self.sets(map)?;
            let empty = Extents::new(false, sets.closing.key());
            let closing = core::mem::replace(&mut sets.closing, empty);
            if let Some(index) = &mut sets.index {
                for run in closing.iter() {
                    if !index.insert(run) {
                        return Err(Error::new(Errno::UCLEAN));
                    }
                }
            }
        }
        Ok(())
    }

    /// [`Self::release`], but the blocks are claimed at once: to be discarded.
    pub(super) fn release_claimed(&mut self, out: &mut sys::Vec<AgRange>) -> Result<()> {
        while let Some(map) = self.closing_maps.pop() {
            let sets = self.sets(map)?;
            let empty = Extents::new(false, sets.closing.key());
            let closing = core::mem::replace(&mut sets.closing, empty);
            for run in closing.iter() {
                if !sets.claimed.insert(run) {
                    return Err(Error::new(Errno::UCLEAN));
                }
                out.must_push(to_range(map, run));
            }
        }
        Ok(())
    }

    /// Takes the first free run from `from` on that has at least `min` blocks, at most `most` of it.
    /// `taken` counts its blocks, before they are missed. May sleep for I/O.
    pub(super) fn take_run(
        &mut self,
        cache: &Arc<BufCache>,
        from: AgBlock,
        min: u32,
        most: u32,
        taken: &sys::atomic::AtomicU64,
    ) -> Result<Option<AgRange>> {
        self.load(cache)?;
        let (first, mut at) = Geometry::bitmap_position(from);
        for map in first..self.maps.len() as u32 {
            if self.map_free(map) >= min && self.build(cache, map).is_ok() {
                let sets = self.sets(map)?;
                while let Some(run) = sets.index.as_ref().and_then(|i| i.at_or_after(at)) {
                    let start = run.start.max(at);
                    let len = run.end().saturating_sub(start);
                    at = run.end();
                    if len < min {
                        continue;
                    }
                    let run = Run {
                        start,
                        len: len.min(most),
                    };
                    taken.fetch_add(u64::from(run.len), sys::atomic::Ordering::AcqRel);
                    if !sets.claim(run) {
                        return Err(Error::new(Errno::UCLEAN));
                    }
                    return Ok(Some(to_range(map, run)));
                }
            }
            at = 0;
        }
        Ok(None)
    }

    /// Takes up to `n` blocks for metadata, run by run, from the pool, which is refilled near
    /// `goal`, if space is `scarce` with no more than is needed now. Returns how many are missing.
    /// May sleep for I/O.
    pub(super) fn take_meta(
        &mut self,
        cache: &Arc<BufCache>,
        goal: AgBlock,
        n: u32,
        scarce: bool,
        mut out: impl FnMut(AgRange),
    ) -> Result<u32> {
        let mut left = n;
        while left > 0 {
            match self.pool.last().copied() {
                Some(range) if range.len <= left => {
                    self.pool.pop();
                    out(range);
                    left -= range.len;
                    self.pool_blocks -= range.len;
                }
                Some(range) => {
                    // From the front, so that metadata made in a row lies in a row.
                    out(AgRange::new(range.start, left));
                    if let Some(last) = self.pool.last_mut() {
                        *last = AgRange::new(range.start.saturating_add(left), range.len - left);
                    }
                    self.pool_blocks -= left;
                    left = 0;
                }
                None => {
                    let goal = if self.pool_goal.get() != 0 {
                        self.pool_goal
                    } else {
                        goal
                    };
                    let want = Want {
                        goal,
                        want: if scarce { left } else { left.max(POOL_FILL) },
                        min: 1,
                    };
                    let Some(range) = self.claim(cache, want)? else {
                        return Ok(left);
                    };
                    self.pool_goal = range.end();
                    self.pool_blocks += range.len;
                    self.pool.must_push(range);
                }
            }
        }
        Ok(0)
    }

    /// Puts unused metadata blocks back: into the pool, unless that is full or space is `scarce`.
    pub(super) fn return_meta(&mut self, range: AgRange, scarce: bool) -> Result<()> {
        if scarce || self.pool_blocks.saturating_add(range.len) > POOL_MOST {
            return self.unclaim(range);
        }
        self.pool_blocks += range.len;
        if let Some(last) = self.pool.last_mut() {
            if range.end() == last.start && Self::joins(range, *last) {
                *last = AgRange::new(range.start, range.len + last.len);
                return Ok(());
            }
        }
        self.pool.must_push(range);
        Ok(())
    }

    /// Whether two touching runs are behind one bitmap block.
    fn joins(a: AgRange, b: AgRange) -> bool {
        Geometry::bitmap_position(a.start).0 == Geometry::bitmap_position(b.start).0
    }

    /// Gives the whole pool back. Returns whether there was anything in it.
    pub(super) fn drain_pool(&mut self) -> Result<bool> {
        let any = !self.pool.is_empty();
        while let Some(range) = self.pool.pop() {
            self.unclaim(range)?;
        }
        self.pool_blocks = 0;
        // The next one begins where it is wanted, not where this one would have gone on.
        self.pool_goal = AgBlock(0);
        Ok(any)
    }

    /// Drops indexes that were not used since the last call. Returns the number of runs dropped.
    pub(super) fn shrink(&mut self) -> u32 {
        let mut dropped = 0_u32;
        for map in self.maps.iter_mut() {
            let Some(sets) = &mut map.sets else { continue };
            if core::mem::replace(&mut sets.used, false) {
                continue;
            }
            if let Some(index) = sets.index.take() {
                dropped = dropped.saturating_add(index.count());
            }
            if sets.idle() {
                map.sets = None;
            }
        }
        dropped
    }

    /// Checks that the zero bits are exactly index, claimed, busy and closing: see
    /// [`super::Alloc::check`].
    pub(super) fn check(&mut self, cache: &Arc<BufCache>, all: bool) -> Result<()> {
        if !self.loaded && !all {
            return Ok(());
        }
        self.load(cache)?;
        let (ag, init, key) = (self.ag, self.init, self.key);
        for map in 0..self.maps.len() as u32 {
            let known = self.maps.get(map as usize).and_then(|m| m.sets.as_ref());
            let Some(sets) = known else { continue };
            let mut zero = zero_bits(cache, ag, map, init, key)?;
            let mut wrong = None;
            let known = [&sets.claimed, &sets.busy, &sets.closing];
            for set in known.into_iter().chain(sets.index.as_ref()) {
                for run in set.iter() {
                    if !zero.remove(run) {
                        wrong = Some((run, "is not free, or known twice"));
                    }
                }
            }
            if sets.index.is_some() {
                wrong = wrong.or(zero.largest().map(|run| (run, "is free, but not known")));
            }
            if let Some((run, what)) = wrong {
                sys::pr_err!("ag {} bitmap {} {:?} {}\n", ag, map, run, what);
                return Err(Error::new(Errno::UCLEAN));
            }
        }
        Ok(())
    }
}
