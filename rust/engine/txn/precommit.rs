// SPDX-License-Identifier: GPL-2.0

//! The bitmap part of a commit.
//!
//! In this order, which lets the index of free runs be built at any moment in between
//! (see [`crate::engine::alloc`]):
//!
//! 1. freed runs become busy;
//! 2. the bitmap blocks concerned are locked, ascending; the old bits are checked and flipped; when
//!    all are, copies are put into the open context and the blocks are unlocked;
//! 3. used runs are no longer claimed; the counters follow.
//!
//! All bitmap blocks are there: [`super::bitmaps`] makes them before their first use.

use super::commit::copy_chunks;
use super::lists::Copies;
use super::*;
use crate::engine::log::{
    cil::{Batch, Slot},
    item::ItemRef, //
};
use crate::engine::sort::sort_by_key;
use crate::format::{
    AgNumber,
    BitmapBlock,
    Geometry, //
};
use crate::sys::ExclToken;
use core::mem::offset_of;
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

/// A bitmap block held exclusively across other work, and its changed chunks. Unlocks when dropped.
pub(super) struct Locked {
    buf: BufRef,
    token: Option<ExclToken>,
    chunks: u32,
}

impl Locked {
    /// Waits for the content. Not checked by lockdep: always in ascending block order.
    fn lock(buf: BufRef) -> Self {
        let token = Some(buf.content().lock_owned());
        Self {
            buf,
            token,
            chunks: 0,
        }
    }

    fn change<R>(&mut self, f: impl FnOnce(&mut crate::format::Block) -> R) -> Result<R> {
        let token = self.token.as_mut().ok_or(Error::new(Errno::UCLEAN))?;
        Ok(f(&mut self.buf.content().access(token)))
    }
}

impl Locked {
    /// Adds the block to `batch`, with a pin.
    fn hand_on(&mut self, batch: &mut Batch, copies: &mut Copies) -> Result {
        self.buf.pin();
        self.buf.set_dirty();
        let chunks = self.buf.item().log(self.chunks);
        let data = self.change(|block| copy_chunks(block, chunks, copies))?;
        batch.slots.must_push(Some(Slot {
            image: Image::Buf {
                block: self.buf.block(),
                kind: self.buf.kind(),
                owner: self.buf.owner(),
                chunks,
                data,
            },
            item: ItemRef::Buf(self.buf.clone()),
        }));
        Ok(())
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.buf.content().unlock(token);
        }
    }
}

/// The chunks of a bitmap block in which the bits of a run are, and its count of free blocks.
fn chunks_of(start: u32, len: u32) -> u32 {
    let byte = |bit: u32| offset_of!(BitmapBlock, bits).saturating_add((bit / 8) as usize);
    let first = byte(start) / CHUNK;
    let last = byte(start.saturating_add(len).saturating_sub(1)) / CHUNK;
    let below = |chunk: usize| u32::MAX.checked_shr(31 - chunk.min(31) as u32).unwrap_or(0);
    let count = 1 << (offset_of!(BitmapBlock, free) / CHUNK);
    below(last) & !(below(first) >> 1) | count
}

impl Txn<'_> {
    /// Flips the bits in the bitmaps, and adds the changed blocks to `batch`. They are locked until
    /// what is returned is dropped, which has to be after the batch is in the open context. The
    /// gate is held. Errors: EUCLEAN if the bitmaps contradict what was used or freed; EIO. Nothing
    /// has been handed on then.
    pub(super) fn precommit(&mut self, batch: &mut Batch) -> Result<sys::Vec<Locked>> {
        let mut locked = sys::Vec::new();
        if self.metas.is_empty() && self.claims.is_empty() && self.frees.is_empty() {
            return Ok(locked);
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
        locked.must_reserve(self.bitmaps.len());
        for map in flips.chunk_by(|a, b| (a.ag, a.map) == (b.ag, b.map)) {
            self.flip(map, &mut locked)?;
        }
        for held in locked.iter_mut() {
            held.hand_on(batch, &mut self.copies)?;
        }
        Ok(locked)
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

    /// Locks one bitmap block and flips its bits.
    fn flip(&self, flips: &[Flip], locked: &mut sys::Vec<Locked>) -> Result {
        let Some(first) = flips.first() else {
            return Ok(());
        };
        let at = self
            .m
            .geo()
            .bitmap_block(first.ag, first.map)
            .ok_or(Error::new(Errno::UCLEAN))?;
        // Read when the run was taken or freed.
        let buf = self
            .bitmaps
            .iter()
            .find(|b| b.block() == at)
            .cloned()
            .ok_or(Error::new(Errno::UCLEAN))?;
        let mut held = Locked::lock(buf);
        for f in flips {
            held.chunks |= chunks_of(f.start, f.len);
        }
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
        })??;
        locked.must_push(held);
        Ok(())
    }

    /// The bits are flipped: used blocks leave the claimed set, and the counters follow.
    pub(super) fn settle(&mut self) -> Result {
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
