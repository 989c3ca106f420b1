// SPDX-License-Identifier: GPL-2.0

//! What is derived: bitmaps, counts, the state of the superblock.

use latchfs_engine::format::{
    header::reseal,
    limits::BITMAP_BYTES,
    superblock::{ErrorRecord, STATE_CLEAN},
    AgHeader, AgNumber, BitmapBlock, BlockKind, DiskBlock, Owner, BLOCK_SIZE,
};

use super::{Done, Surgeon};
use crate::check::{Checker, Read};
use crate::problem::Problem;
use crate::table::{ALLOCATED, ORPHAN};

impl Problem {
    /// Whether it is about something that is computed from the rest.
    pub(crate) fn is_derived(&self) -> bool {
        matches!(
            self,
            Problem::SuperblockCount { .. }
                | Problem::AgCount { .. }
                | Problem::BitmapDamaged { .. }
                | Problem::BlocksLeaked { .. }
                | Problem::BlocksUnmarked { .. }
        )
    }
}

impl Checker<'_> {
    /// The bits of a bitmap block as they are on disk; [`None`] if it cannot be used.
    pub(crate) fn stored_bitmap(
        &self,
        ag: AgNumber,
        index: u32,
    ) -> Option<Box<[u8; BITMAP_BYTES]>> {
        let header = self.group(ag)?.header.as_ref()?;
        let mut bits = Box::new([0; BITMAP_BYTES]);
        if index >= AgHeader::of(header).bitmap_init.get() {
            let mut block = Box::new([0; BLOCK_SIZE]);
            BitmapBlock::format(&mut block, &self.context, ag, index)?;
            bits.copy_from_slice(&BitmapBlock::of(&block).bits);
            return Some(bits);
        }
        let at = self.context.geometry.bitmap_block(ag, index)?;
        match self.read(at, BlockKind::Bitmap, Owner::ag(ag)) {
            Read::Good(block) | Read::Sound(block, _) => {
                bits.copy_from_slice(&BitmapBlock::of(&block).bits);
                Some(bits)
            }
            _ => None,
        }
    }
}

impl Surgeon<'_> {
    pub(super) fn repair_space(&mut self) -> Done {
        // With something unknown left, blocks in use must be marked, but none may be freed.
        let sure = !self.c.gave_up() && self.c.problems().iter().all(Problem::is_derived);
        for (n, problem) in self.problems() {
            match problem {
                Problem::AgCount {
                    ag, field, found, ..
                } if sure => {
                    let Some(at) = self.c.context.geometry.header_block(ag) else {
                        continue;
                    };
                    self.edit(at, |block| {
                        let header = AgHeader::of_mut(block);
                        match field {
                            "map_blocks" => header.map_blocks.set(found),
                            "inodes" => header.inodes.set(found),
                            "free_inodes" => header.free_inodes.set(found),
                            _ => header.orphans.set(found),
                        }
                    })?;
                    self.note(n, "corrected");
                }
                Problem::BitmapDamaged { ag, index, .. } if sure => {
                    self.write_bitmap(ag, index, true)?;
                    self.note(n, "rebuilt");
                }
                Problem::BlocksLeaked { range } if sure => {
                    if self.correct(range.start, true)? {
                        self.note(n, "freed");
                    }
                }
                Problem::BlocksUnmarked { range } => {
                    if self.correct(range.start, sure)? {
                        self.note(n, "marked");
                    }
                }
                Problem::SuperblockCount { .. } if sure => {
                    self.write_totals()?;
                    self.note(n, "corrected");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the bitmap block that covers a block.
    fn correct(&mut self, block: DiskBlock, free: bool) -> Done<bool> {
        let geometry = self.c.context.geometry;
        let Some((ag, inside)) = geometry.locate(block) else {
            return Ok(false);
        };
        let (index, _) = latchfs_engine::format::Geometry::bitmap_position(inside);
        self.write_bitmap(ag, index, free)
    }

    /// Writes a bitmap block from what was found; without `free` bits are only added. Blocks below
    /// it that were never written are written, too, and the watermark is raised.
    fn write_bitmap(&mut self, ag: AgNumber, index: u32, free: bool) -> Done<bool> {
        let geometry = self.c.context.geometry;
        let Some(header_at) = geometry.header_block(ag) else {
            return Ok(false);
        };
        let written = match self.c.group(ag).and_then(|group| group.header.as_ref()) {
            Some(header) => AgHeader::of(header).bitmap_init.get(),
            None => return Ok(false),
        };
        for index in written.min(index)..=index {
            let Some(at) = geometry.bitmap_block(ag, index) else {
                return Ok(false);
            };
            let mut bits = self.c.claims.part(ag, index);
            if !free {
                let Some(stored) = self.c.stored_bitmap(ag, index) else {
                    return Ok(false);
                };
                for (bit, stored) in bits.iter_mut().zip(stored.iter()) {
                    *bit |= stored;
                }
            }
            let mut block = Box::new([0; BLOCK_SIZE]);
            if BitmapBlock::format(&mut block, &self.c.context, ag, index).is_none() {
                return Ok(false);
            }
            let bitmap = BitmapBlock::of_mut(&mut block);
            bitmap.bits = *bits;
            bitmap.free.set(bitmap.count_free());
            reseal(&mut block, &self.c.context);
            self.write(at, &block)?;
        }
        if index >= written {
            self.edit(header_at, |block| {
                AgHeader::of_mut(block).bitmap_init.set(index + 1);
            })?;
            if let Some(header) = self.c.group_mut(ag).and_then(|g| g.header.as_mut()) {
                AgHeader::of_mut(header).bitmap_init.set(index + 1);
            }
        }
        Ok(true)
    }

    /// Writes the totals of the superblock.
    fn write_totals(&mut self) -> Done {
        let mut sb = self.c.sb;
        self.fill_totals(&mut sb);
        self.write_superblock(&mut sb, DiskBlock(0))
    }

    fn fill_totals(&self, sb: &mut latchfs_engine::format::Superblock) {
        let all = self.c.context.geometry.total_dynamic_blocks();
        let inodes = self.c.table.chunks.len() as u64 * 64;
        let used = self.c.table.select(ALLOCATED, None).len() as u64;
        let orphans = self.c.table.select(ORPHAN, None).len() as u64;
        sb.free_blocks
            .set(all.saturating_sub(self.c.claims.count()));
        sb.inodes.set(inodes);
        sb.free_inodes.set(inodes.saturating_sub(used));
        sb.orphans.set(orphans);
    }

    /// Where something is left that is not clean: counts as they were found, so that they are not
    /// those of some time before. After a log that was given up nobody else knows them.
    pub(super) fn store_totals(&mut self) -> Done {
        let mut sb = self.c.sb;
        if sb.is_clean() {
            return Ok(());
        }
        self.fill_totals(&mut sb);
        self.write_superblock(&mut sb, DiskBlock(0))
    }

    /// Marks a file system in which nothing is wrong as clean.
    pub(super) fn finish(&mut self) -> Done {
        let mut sb = self.c.sb;
        self.fill_totals(&mut sb);
        sb.state.set(STATE_CLEAN);
        sb.error_count.set(0);
        sb.first_error = ErrorRecord::default();
        sb.last_error = ErrorRecord::default();
        let now = latchfs_host::now().secs;
        sb.checked.set(now);
        sb.written.set(now);
        self.write_superblock(&mut sb, DiskBlock(0))
    }
}
