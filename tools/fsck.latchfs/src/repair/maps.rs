// SPDX-License-Identifier: GPL-2.0

//! Inode maps, from what is in the inode file.

use std::collections::BTreeSet;

use latchfs_engine::format::{
    header::reseal,
    limits::MAP_CHUNKS,
    units::{CHUNK_BLOCKS, CHUNK_INODES},
    AgNumber, ChunkMasks, Ino, InodeSlot, MapBlock, BLOCK_SIZE,
};
use zerocopy::little_endian::U64;

use super::{Done, Surgeon};
use crate::problem::Problem;

impl Surgeon<'_> {
    pub(super) fn repair_maps(&mut self) -> Done {
        let mut rebuilt = BTreeSet::new();
        for (n, problem) in self.problems() {
            match problem {
                Problem::MapBlockDamaged { ag, index, .. }
                | Problem::MapBlockIndex { ag, index, .. } => {
                    if rebuilt.insert((ag, index)) && self.rebuild_map(ag, index)? {
                        self.note(n, "rebuilt from the inodes");
                    }
                }
                Problem::ChunkMissing { ag, chunk } => {
                    if self.edit_map(ag, chunk, |map, n| {
                        if let Some(masks) = map.chunk_mut(n) {
                            *masks = ChunkMasks::default();
                        }
                        map.set_chunk(n, false);
                    })? {
                        self.note(n, "removed from the inode map");
                    }
                }
                Problem::ChunkUnlisted { ag, at } => {
                    let chunk = u32::try_from(at.0 / u64::from(CHUNK_BLOCKS)).unwrap_or(u32::MAX);
                    let Some(masks) = self.masks(ag, chunk) else {
                        continue;
                    };
                    if self.edit_map(ag, chunk, |map, n| {
                        map.set_chunk(n, true);
                        if let Some(to) = map.chunk_mut(n) {
                            *to = masks;
                        }
                    })? {
                        self.note(n, "entered into the inode map");
                    }
                }
                Problem::InodeZero { ag } => {
                    let zero = Ino::new(ag, 0);
                    let context = self.c.context;
                    self.edit_slot(zero, |slot| *slot = InodeSlot::new(&context, zero, 0))?;
                    self.set_bits(zero, true, false)?;
                    self.note(n, "corrected");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes the map block of a chunk; `edit` gets the number of the chunk there. The counts of
    /// the block follow. False if there is none.
    fn edit_map(
        &self,
        ag: AgNumber,
        chunk: u32,
        edit: impl FnOnce(&mut MapBlock, u32),
    ) -> Done<bool> {
        let index = chunk / MAP_CHUNKS;
        let at = self.c.group(ag).and_then(|g| g.map_blocks.get(&index));
        let Some(at) = at.copied() else {
            return Ok(false);
        };
        self.edit(at, |block| {
            let map = MapBlock::of_mut(block);
            edit(map, chunk % MAP_CHUNKS);
            count(map);
        })
    }

    /// Sets both bits of an inode in the map.
    pub(super) fn set_bits(&self, ino: Ino, alloc: bool, orphan: bool) -> Done<bool> {
        self.edit_map(ino.ag(), ino.chunk(), |map, n| {
            if let Some(masks) = map.chunk_mut(n) {
                masks.alloc = with_bit(masks.alloc, ino.chunk_bit(), alloc);
                masks.orphan = with_bit(masks.orphan, ino.chunk_bit(), orphan);
            }
        })
    }

    /// Writes a map block anew.
    fn rebuild_map(&mut self, ag: AgNumber, index: u32) -> Done<bool> {
        let at = self.c.group(ag).and_then(|g| g.map_blocks.get(&index));
        let Some(at) = at.copied() else {
            return Ok(false);
        };
        let mut block = Box::new([0; BLOCK_SIZE]);
        MapBlock::format(&mut block, &self.c.context, at, ag, index);
        let map = MapBlock::of_mut(&mut block);
        let Some(first) = index.checked_mul(MAP_CHUNKS) else {
            return Ok(false);
        };
        for n in 0..MAP_CHUNKS {
            if let Some(masks) = self.masks(ag, first.saturating_add(n)) {
                map.set_chunk(n, true);
                if let Some(to) = map.chunk_mut(n) {
                    *to = masks;
                }
            }
        }
        count(map);
        reseal(&mut block, &self.c.context);
        self.write(at, &block)?;
        Ok(true)
    }

    /// What the map should say of a chunk, from its slots; [`None`] if there is no such chunk.
    fn masks(&self, ag: AgNumber, chunk: u32) -> Option<ChunkMasks> {
        let at = self.c.chunk_place(ag, chunk)??;
        let (mut alloc, mut orphan) = (0_u64, 0_u64);
        let mut sound = false;
        for bit in 0..CHUNK_INODES {
            let ino = Ino::new(ag, chunk.checked_mul(CHUNK_INODES)?.checked_add(bit)?);
            let block = self.c.raw(at.checked_add(u64::from(bit / 8))?).ok()?;
            let slot = InodeSlot::of(&block, ino)?;
            let identity = slot.verify_identity(&self.c.context, ino).is_ok();
            sound |= identity;
            let used = identity && !slot.is_free();
            if used || ino.0 == 0 {
                alloc |= 1 << bit;
            }
            if used && slot.nlink.get() == 0 {
                orphan |= 1 << bit;
            }
        }
        // Blocks without a single slot of this chunk are something else.
        sound.then_some(ChunkMasks {
            alloc: U64::new(alloc),
            orphan: U64::new(orphan),
        })
    }
}

fn with_bit(mask: U64, bit: u32, value: bool) -> U64 {
    let mask = mask.get();
    U64::new(if value {
        mask | 1 << bit
    } else {
        mask & !(1 << bit)
    })
}

fn count(map: &mut MapBlock) {
    let (present, free, orphans) = map.count();
    map.present.set(present as u16);
    map.free.set(free as u16);
    map.orphans.set(orphans as u16);
}
