// SPDX-License-Identifier: GPL-2.0

//! Bitmaps against what was found in use, and the totals of the superblock.

use latchfs_engine::format::{AgHeader, AgNumber, BitmapBlock, BlockKind, Owner};

use crate::check::{Checker, Pass, Read};
use crate::claims::runs;
use crate::problem::Problem;

impl Checker<'_> {
    /// Compares all bitmap blocks.
    pub fn check_space(&mut self) -> Pass {
        let geometry = self.context.geometry;
        self.progress
            .begin("free space", u64::from(geometry.ag_count()));
        for ag in geometry.ags() {
            self.progress.step();
            let Some(header) = self.group(ag).and_then(|group| group.header.clone()) else {
                continue;
            };
            let written = AgHeader::of(&header).bitmap_init.get();
            for index in 0..written {
                self.check_bitmap(ag, index)?;
            }
            // Blocks that were never written read as all free.
            let last = self.claims.last_part(ag).map_or(0, |last| last + 1);
            for index in written..last {
                if !self.claims.has_part(ag, index) {
                    continue;
                }
                let used = self.claims.part(ag, index);
                let empty = crate::claims::Claims::new(geometry).part(ag, index);
                for range in runs(&geometry, ag, index, &used, &empty) {
                    self.report(Problem::BlocksUnmarked { range })?;
                }
            }
        }
        self.check_totals()
    }

    fn check_bitmap(&mut self, ag: AgNumber, index: u32) -> Pass {
        let geometry = self.context.geometry;
        let Some(block) = geometry.bitmap_block(ag, index) else {
            return Ok(());
        };
        let bitmap = match self.read(block, BlockKind::Bitmap, Owner::ag(ag)) {
            Read::Good(bitmap) => bitmap,
            Read::Sound(bitmap, defect) => {
                self.report(Problem::BitmapDamaged {
                    ag,
                    index,
                    block,
                    defect,
                })?;
                bitmap
            }
            Read::Bad(defect) => {
                return self.report(Problem::BitmapDamaged {
                    ag,
                    index,
                    block,
                    defect,
                })
            }
            Read::Unreadable(error) => {
                return self.report(Problem::ReadError {
                    block,
                    error,
                    what: "bitmap",
                })
            }
        };
        let stored = &BitmapBlock::of(&bitmap).bits;
        let found = self.claims.part(ag, index);
        for range in runs(&geometry, ag, index, &found, stored) {
            self.report(Problem::BlocksUnmarked { range })?;
        }
        for range in runs(&geometry, ag, index, stored, &found) {
            self.report(Problem::BlocksLeaked { range })?;
        }
        Ok(())
    }

    /// The totals of the superblock; they are exact after a clean unmount only.
    fn check_totals(&mut self) -> Pass {
        if !self.counted {
            return Ok(());
        }
        let geometry = self.context.geometry;
        let mut sums = (0, 0, 0);
        for group in &self.groups {
            sums.0 += u64::from(group.inodes.0);
            sums.1 += u64::from(group.inodes.1);
            sums.2 += u64::from(group.inodes.2);
        }
        let free = geometry
            .total_dynamic_blocks()
            .saturating_sub(self.claims.count());
        let whole = self.groups.iter().all(|group| group.whole);
        for (field, stored, found, known) in [
            ("free_blocks", self.sb.free_blocks.get(), free, true),
            ("inodes", self.sb.inodes.get(), sums.0, whole),
            ("free_inodes", self.sb.free_inodes.get(), sums.1, whole),
            ("orphans", self.sb.orphans.get(), sums.2, whole),
        ] {
            if stored != found && known {
                self.report(Problem::SuperblockCount {
                    field,
                    stored,
                    found,
                })?;
            }
        }
        Ok(())
    }
}
