// SPDX-License-Identifier: GPL-2.0

//! Inode maps and inode files: which inodes there are, and where.

use latchfs_engine::format::{
    limits::MAP_CHUNKS,
    units::{CHUNK_BLOCKS, CHUNK_INODES},
    AgHeader, AgNumber, BlockKind, ChunkMasks, DiskBlock, Extent, FileBlock, FileRoot, Ino,
    MapBlock,
};

use crate::check::{Buf, Checker, Pass, Read};
use crate::problem::{FileId, Problem};
use crate::table::{ALLOCATED, ORPHAN};

impl Checker<'_> {
    /// Walks the hidden files of all groups and fills the table of inodes.
    pub fn check_maps(&mut self) -> Pass {
        let geometry = self.context.geometry;
        self.progress
            .begin("inode maps", u64::from(geometry.ag_count()));
        for ag in geometry.ags() {
            self.progress.step();
            let Some(header) = self.group(ag).and_then(|group| group.header.clone()) else {
                continue;
            };
            let header = AgHeader::of(&header);

            let (map, map_whole) = self.hidden_file(FileId::InodeMap(ag), &header.inode_map)?;
            let (file, file_whole) = self.hidden_file(FileId::InodeFile(ag), &header.inode_file)?;
            if let Some(group) = self.group_mut(ag) {
                group.inode_file = file;
                group.whole &= map_whole && file_whole;
            }
            self.check_map_blocks(ag, header.map_blocks.get(), &map)?;
            self.check_unlisted(ag)?;
            self.check_counts(ag, header)?;
        }
        Ok(())
    }

    pub(crate) fn group(&self, ag: AgNumber) -> Option<&crate::check::Group> {
        self.groups.get(ag.0 as usize)
    }

    pub(crate) fn group_mut(&mut self, ag: AgNumber) -> Option<&mut crate::check::Group> {
        self.groups.get_mut(ag.0 as usize)
    }

    /// The extents of a hidden file, and whether those are all.
    fn hidden_file(&mut self, file: FileId, root: &FileRoot) -> Pass<(Vec<Extent>, bool)> {
        let mut extents = Vec::new();
        let mut walked = Default::default();
        let mut keep = |extent| extents.push(extent);
        match root.tree() {
            Some(tree) => walked = self.walk_extents(file, tree, &mut keep)?,
            None => {
                let mut next = FileBlock(0);
                self.claim_extents(file, root.extents(), &mut next, &mut walked, &mut keep)?;
            }
        }
        for extent in extents.iter().filter(|extent| extent.unwritten) {
            self.report(Problem::ExtentUnwritten {
                file,
                at: extent.file,
            })?;
        }
        extents.sort_by_key(|extent| extent.file);
        Ok((extents, !walked.torn))
    }

    /// Reads the blocks of an inode map.
    fn check_map_blocks(&mut self, ag: AgNumber, stored: u32, map: &[Extent]) -> Pass {
        let found = map.last().map_or(0, |extent| extent.end().0);
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found != stored && self.group(ag).is_some_and(|group| group.whole) {
            self.report(Problem::AgCount {
                ag,
                field: "map_blocks",
                stored,
                found,
            })?;
        }
        // Holes are named up to the first thousand; an image with more is beyond names.
        let mut next = 0;
        for extent in map {
            for n in 0..u64::from(extent.len) {
                let (Ok(index), Some(at)) = (
                    u32::try_from(extent.file.0.saturating_add(n)),
                    extent.disk.checked_add(n),
                ) else {
                    continue;
                };
                for index in (next..index).take(1000) {
                    self.lose_map(ag, index);
                    self.report(Problem::MapBlockMissing { ag, index })?;
                }
                next = index.saturating_add(1);
                if let Some(group) = self.group_mut(ag) {
                    group.map_blocks.insert(index, at);
                }
                self.check_map_block(ag, index, at)?;
            }
        }
        Ok(())
    }

    fn lose_map(&mut self, ag: AgNumber, index: u32) {
        if let Some(group) = self.group_mut(ag) {
            group.lost_maps.insert(index);
            group.whole = false;
        }
    }

    /// Reads one block of an inode map and its chunks.
    fn check_map_block(&mut self, ag: AgNumber, index: u32, block: DiskBlock) -> Pass {
        let owner = FileId::InodeMap(ag).owner();
        let map = match self.read(block, BlockKind::InodeMap, owner) {
            Read::Good(map) => Some(map),
            Read::Sound(map, defect) => {
                self.report(Problem::MapBlockDamaged {
                    ag,
                    index,
                    block,
                    defect,
                })?;
                Some(map)
            }
            Read::Bad(defect) => {
                self.report(Problem::MapBlockDamaged {
                    ag,
                    index,
                    block,
                    defect,
                })?;
                None
            }
            Read::Unreadable(error) => {
                self.report(Problem::ReadError {
                    block,
                    error,
                    what: "inode map",
                })?;
                None
            }
        };
        let Some(map) = map else {
            self.lose_map(ag, index);
            return Ok(());
        };
        let found = MapBlock::of(&map).index.get();
        if found != index {
            self.lose_map(ag, index);
            return self.report(Problem::MapBlockIndex {
                ag,
                index,
                block,
                found,
            });
        }
        self.read_chunks(ag, index, &map)
    }

    /// Enters the chunks of a map block into the table.
    fn read_chunks(&mut self, ag: AgNumber, index: u32, map: &Buf) -> Pass {
        let map = MapBlock::of(map);
        for n in 0..MAP_CHUNKS {
            let Some(masks) = map.chunk(n).copied() else {
                continue;
            };
            let chunk = index * MAP_CHUNKS + n;
            if let Some(group) = self.group_mut(ag) {
                group.inodes.0 += CHUNK_INODES;
                group.inodes.1 += masks.alloc.get().count_zeros();
                group.inodes.2 += masks.orphan.get().count_ones();
            }
            match self.chunk_place(ag, chunk) {
                Some(Some(at)) => self.enter(ag, chunk, at, &masks),
                Some(None) => self.report(Problem::ChunkScattered { ag, chunk })?,
                None => self.report(Problem::ChunkMissing { ag, chunk })?,
            }
        }
        Ok(())
    }

    fn enter(&mut self, ag: AgNumber, chunk: u32, at: DiskBlock, masks: &ChunkMasks) {
        self.table.add_chunk(ag, chunk, at);
        for bit in 0..CHUNK_INODES {
            let ino = Ino::new(ag, chunk * CHUNK_INODES + bit);
            let Some(info) = self.table.get_mut(ino) else {
                continue;
            };
            if masks.alloc.get() & (1 << bit) != 0 {
                info.flags |= ALLOCATED;
            }
            if masks.orphan.get() & (1 << bit) != 0 {
                info.flags |= ORPHAN;
            }
        }
    }

    /// Where the inode file has a chunk: its first block, `Some(None)` if not contiguous, [`None`] if
    /// nothing is there.
    pub(crate) fn chunk_place(&self, ag: AgNumber, chunk: u32) -> Option<Option<DiskBlock>> {
        let file = &self.group(ag)?.inode_file;
        let first = FileBlock(u64::from(chunk) * u64::from(CHUNK_BLOCKS));
        let after = file.partition_point(|extent| extent.file <= first);
        let extent = match after.checked_sub(1).and_then(|n| file.get(n)) {
            Some(extent) if extent.contains(first) => extent,
            // Not at its beginning; perhaps further on.
            _ => {
                let next = file.get(after)?;
                return (next.file.0 < first.0 + u64::from(CHUNK_BLOCKS)).then_some(None);
            }
        };
        let at = extent.map(first)?;
        // Neighbouring extents may continue each other (an extent ends at the coverage of a bitmap
        // block), so each block is looked up.
        for n in 1..u64::from(CHUNK_BLOCKS) {
            let block = first.saturating_add(n);
            let after = file.partition_point(|extent| extent.file <= block);
            let found = after
                .checked_sub(1)
                .and_then(|n| file.get(n))
                .and_then(|extent| extent.map(block));
            if found != at.checked_add(n) {
                return Some(None);
            }
        }
        Some(Some(at))
    }

    /// Blocks of the inode file that belong to no chunk of the map.
    fn check_unlisted(&mut self, ag: AgNumber) -> Pass {
        let Some(group) = self.group_mut(ag) else {
            return Ok(());
        };
        let file = std::mem::take(&mut group.inode_file);
        let lost = group.lost_maps.clone();
        for extent in &file {
            let first = extent.file.0 / u64::from(CHUNK_BLOCKS);
            let last = extent.end().0.saturating_sub(1) / u64::from(CHUNK_BLOCKS);
            for chunk in first..=last {
                let listed = u32::try_from(chunk).is_ok_and(|chunk| {
                    self.table.chunks.contains_key(&(ag.0, chunk))
                        || lost.contains(&(chunk / MAP_CHUNKS))
                });
                let at = FileBlock(chunk * u64::from(CHUNK_BLOCKS));
                // A scattered chunk was reported as such.
                let known = self.problems().iter().any(|problem| {
                    matches!(problem, Problem::ChunkScattered { ag: a, chunk: c }
                        if *a == ag && u64::from(*c) == chunk)
                });
                if !listed && !known {
                    self.report(Problem::ChunkUnlisted { ag, at })?;
                }
            }
        }
        if let Some(group) = self.group_mut(ag) {
            group.inode_file = file;
        }
        Ok(())
    }

    /// The counts of inodes in the header of a group.
    fn check_counts(&mut self, ag: AgNumber, header: &AgHeader) -> Pass {
        let Some(group) = self.group(ag).filter(|group| group.whole) else {
            return Ok(());
        };
        let (inodes, free, orphans) = group.inodes;
        for (field, stored, found) in [
            ("inodes", header.inodes.get(), inodes),
            ("free_inodes", header.free_inodes.get(), free),
            ("orphans", header.orphans.get(), orphans),
        ] {
            if stored != found {
                self.report(Problem::AgCount {
                    ag,
                    field,
                    stored,
                    found,
                })?;
            }
        }
        Ok(())
    }
}
