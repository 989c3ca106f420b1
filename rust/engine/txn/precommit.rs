// SPDX-License-Identifier: GPL-2.0

//! The bitmap part of a commit.
//!
//! In this order, which lets the index of free runs be built at any moment in between
//! (see [`crate::engine::alloc`]):
//!
//! 1. freed runs become busy;
//! 2. the bitmap blocks concerned are locked, ascending; the old bits are checked and flipped; when
//!    all are, the buffers are handed on (made dirty) and unlocked;
//! 3. used runs are no longer claimed; the counters follow.
//!
//! A bitmap block behind the group's watermark is made here, by its first user. The watermark is in
//! the group's header, whose content lock is taken before those of the group's bitmaps (it has the
//! smaller block number) and decides who makes it.

use super::*;
use crate::engine::sort::sort_by_key;
use crate::format::{
    AgHeader,
    AgNumber,
    BitmapBlock,
    Geometry, //
};
use crate::sys::ExclToken;
use zerocopy::little_endian::U32;

/// A run of bits to be flipped.
#[derive(Clone, Copy)]
struct Flip {
    ag: AgNumber,
    map: u32,
    start: u32,
    len: u32,
    used: bool,
}

/// A buffer held exclusively across other work. Unlocks when dropped.
struct Locked {
    buf: BufRef,
    token: Option<ExclToken>,
}

impl Locked {
    /// Waits for the content. Not checked by lockdep: always in ascending block order.
    fn lock(buf: BufRef) -> Self {
        let token = Some(buf.content().lock_owned());
        Self { buf, token }
    }

    fn change<R>(&mut self, f: impl FnOnce(&mut crate::format::Block) -> R) -> Result<R> {
        let token = self.token.as_mut().ok_or(Error::new(Errno::UCLEAN))?;
        Ok(f(&mut self.buf.content().access(token)))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.buf.content().unlock(token);
        }
    }
}

impl Txn<'_> {
    /// Brings the bitmaps up to date. Errors: EUCLEAN if they contradict what was used or freed;
    /// EIO. Nothing has been handed on then.
    pub(super) fn precommit(&mut self) -> Result {
        if self.metas.is_empty() && self.claims.is_empty() && self.frees.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        let alloc = self.m.alloc();
        for range in self.frees.iter() {
            alloc
                .freed(*range)
                .map_err(|_| Error::corrupt(range.start.get(), "freed block was not in use"))?;
        }

        let mut flips = self.flips()?;
        sort_by_key(&mut flips, |f| (f.ag, f.map, f.start));
        let mut locked = sys::Vec::new();
        let mut inits = sys::Vec::new();
        for group in flips.chunk_by(|a, b| a.ag == b.ag) {
            self.lock_header(group, &mut locked)?;
            for map in group.chunk_by(|a, b| a.map == b.map) {
                self.flip(map, &mut locked, &mut inits)?;
            }
        }
        for held in locked.iter() {
            held.buf.set_dirty();
        }
        for (ag, init) in inits.iter() {
            alloc.set_bitmap_init(*ag, *init)?;
        }
        drop(locked);
        self.settle()
    }

    /// All runs of bits that change, in no order.
    fn flips(&self) -> Result<sys::Vec<Flip>> {
        let geometry = self.m.buf().context().geometry;
        let used = self
            .metas
            .iter()
            .copied()
            .chain(self.claims.iter().map(Claim::range));
        let all = used
            .map(|r| (r, true))
            .chain(self.frees.iter().map(|r| (*r, false)));
        let mut flips = sys::Vec::new();
        flips.must_reserve(self.metas.len() + self.claims.len() + self.frees.len());
        for (range, used) in all {
            let (ag, block) = geometry
                .locate(range.start)
                .ok_or(Error::new(Errno::UCLEAN))?;
            let (map, start) = Geometry::bitmap_position(block);
            flips.must_push(Flip {
                ag,
                map,
                start,
                len: range.len,
                used,
            });
        }
        Ok(flips)
    }

    /// The bitmap block of a flip, and the buffer if it was read before.
    fn bitmap(&self, flip: &Flip) -> Result<(DiskBlock, Option<BufRef>)> {
        let at = self
            .m
            .buf()
            .context()
            .geometry
            .bitmap_block(flip.ag, flip.map)
            .ok_or(Error::new(Errno::UCLEAN))?;
        let buf = self.bitmaps.iter().find(|b| b.block() == at).cloned();
        Ok((at, buf))
    }

    /// Locks the header of a group if one of its bitmap blocks may have to be made.
    fn lock_header(&self, flips: &[Flip], locked: &mut sys::Vec<Locked>) -> Result {
        for flip in flips {
            if self.bitmap(flip)?.1.is_some() {
                continue;
            }
            let cache = self.m.buf();
            let at = cache
                .context()
                .geometry
                .header_block(flip.ag)
                .ok_or(Error::new(Errno::UCLEAN))?;
            let header = cache.read(at, BlockKind::AgHeader, Owner::ag(flip.ag))?;
            locked.must_push(Locked::lock(header));
            break;
        }
        Ok(())
    }

    /// Locks one bitmap block and flips its bits.
    fn flip(
        &self,
        flips: &[Flip],
        locked: &mut sys::Vec<Locked>,
        inits: &mut sys::Vec<(AgNumber, u32)>,
    ) -> Result {
        let Some(first) = flips.first() else {
            return Ok(());
        };
        let (at, known) = self.bitmap(first)?;
        let buf = match known {
            Some(buf) => buf,
            None => {
                self.init(first, locked, inits)?;
                self.m
                    .buf()
                    .read(at, BlockKind::Bitmap, Owner::ag(first.ag))?
            }
        };
        // A block made just now is locked already.
        if !locked.iter().any(|held| held.buf.same(&buf)) {
            locked.must_push(Locked::lock(buf.clone()));
        }
        let held = locked
            .iter_mut()
            .find(|held| held.buf.same(&buf))
            .ok_or(Error::new(Errno::UCLEAN))?;
        held.change(|block| {
            let bitmap = BitmapBlock::of_mut(block);
            let mut free = bitmap.free.get();
            for f in flips {
                if !bitmap.range_is(f.start, f.len, !f.used) {
                    let what = if f.used {
                        "bitmap: allocated block is in use"
                    } else {
                        "bitmap: freed block is free"
                    };
                    return Err(Error::corrupt(at.get(), what));
                }
                bitmap.set_range(f.start, f.len, f.used);
                free = if f.used {
                    free.saturating_sub(f.len)
                } else {
                    free.saturating_add(f.len)
                };
            }
            bitmap.free = U32::new(free);
            Ok(())
        })?
    }

    /// Makes the bitmap blocks of a group up to that of `flip` that are not on disk yet, if nobody
    /// else has. The header, which is locked, stays so until the commit is through, and so do the
    /// new blocks.
    fn init(
        &self,
        flip: &Flip,
        locked: &mut sys::Vec<Locked>,
        inits: &mut sys::Vec<(AgNumber, u32)>,
    ) -> Result {
        let cache = self.m.buf();
        let context = *cache.context();
        let header = context.geometry.header_block(flip.ag);
        let init = flip.map.saturating_add(1);
        let held = locked
            .iter_mut()
            .find(|held| Some(held.buf.block()) == header)
            .ok_or(Error::new(Errno::UCLEAN))?;
        let first = held.change(|block| {
            let header = AgHeader::of_mut(block);
            let first = header.bitmap_init.get();
            header.bitmap_init = U32::new(first.max(init));
            first
        })?;

        for map in first..init {
            let at = context
                .geometry
                .bitmap_block(flip.ag, map)
                .ok_or(Error::new(Errno::UCLEAN))?;
            let buf = cache.fresh(at, BlockKind::Bitmap, Owner::ag(flip.ag))?;
            let mut held = Locked::lock(buf);
            held.change(|block| BitmapBlock::format(block, &context, flip.ag, map))?
                .ok_or(Error::new(Errno::UCLEAN))?;
            locked.must_push(held);
        }
        inits.must_push((flip.ag, init));
        Ok(())
    }

    /// The bits are flipped: used blocks leave the claimed set, and the counters follow.
    fn settle(&mut self) -> Result {
        let alloc = self.m.alloc();
        let mut used = 0_u64;
        let mut freed = 0_u64;

        while let Some(range) = self.metas.pop() {
            used = used.saturating_add(u64::from(range.len));
            alloc.used(range)?;
        }
        while let Some(claim) = self.claims.pop() {
            used = used.saturating_add(u64::from(claim.len()));
            claim.consume()?;
        }
        while let Some(range) = self.frees.pop() {
            freed = freed.saturating_add(u64::from(range.len));
        }
        alloc.committed(used, freed);
        self.bitmaps.clear();
        Ok(())
    }
}
