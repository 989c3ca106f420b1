// SPDX-License-Identifier: GPL-2.0

//! Where things go: the next free block of a group, the next free inode number.

use std::collections::BTreeMap;

use latchfs_engine::format::{
    units::{CHUNK_BLOCKS, CHUNK_INODES},
    AgBlock, AgNumber, AgRange, BlockRange, Geometry, Ino,
};

/// Allocation state of a group.
#[derive(Default)]
pub(crate) struct Group {
    /// Blocks in use, by first block.
    pub used: Vec<BlockRange>,
    /// Chunks: first block of each.
    pub chunks: Vec<BlockRange>,
    /// Inodes in use.
    pub inodes: BTreeMap<u32, bool>,
    next_block: u32,
    next_index: u32,
}

impl Group {
    /// The next `len` free blocks, contiguous and inside one bitmap block.
    pub fn blocks(&mut self, geometry: &Geometry, ag: AgNumber, len: u32) -> BlockRange {
        let mut at = AgBlock(self.next_block);
        loop {
            let run = AgRange::new(at, len);
            let fixed = geometry.static_ranges(ag);
            if let Some(range) = fixed.iter().find(|range| range.overlaps(run)) {
                at = range.end();
                continue;
            }
            let disk = geometry.disk_range(ag, run).expect("the group is full");
            if geometry.check_range(disk, "").is_ok() {
                self.next_block = run.end().0;
                self.used.push(disk);
                return disk;
            }
            at = AgBlock(at.0 + 1);
        }
    }

    /// The next free inode number; takes a new chunk when the last one is full.
    pub fn inode(&mut self, geometry: &Geometry, ag: AgNumber) -> Ino {
        let ino = Ino::new(ag, self.next_index);
        self.next_index += 1;
        if ino.chunk() as usize == self.chunks.len() {
            let chunk = self.blocks(geometry, ag, CHUNK_BLOCKS);
            self.chunks.push(chunk);
        }
        self.inodes.insert(ino.index(), false);
        ino
    }

    /// Slots in chunks that exist, and free ones among them.
    pub fn counts(&self) -> (u32, u32) {
        let all = self.chunks.len() as u32 * CHUNK_INODES;
        (all, all - self.inodes.len() as u32)
    }
}
