// SPDX-License-Identifier: GPL-2.0

//! Inode slots, and the blocks their files have.

use latchfs_engine::format::{
    limits::SYMLINK_BYTES,
    units::{CHUNK_BLOCKS, CHUNK_INODES, INODES_PER_BLOCK},
    AgNumber, BlockKind, DiskBlock, Extent, FileBlock, FileType, ForkFormat, Ino, InodeSlot, Lsn,
    SymlinkBlock, TreeKind,
};

use crate::check::{Buf, Checker, Pass, Read};
use crate::claims::Claims;
use crate::problem::{FileId, Problem};
use crate::table::{DirInfo, ALLOCATED, EMPTY, ORPHAN, TORN, USABLE};
use crate::walk::Walked;

impl Checker<'_> {
    /// Reads all chunks, in the order of the disk.
    pub fn check_inodes(&mut self) -> Pass {
        let mut chunks: Vec<(DiskBlock, (u32, u32))> = self
            .table
            .chunks
            .iter()
            .map(|(key, chunk)| (chunk.at, *key))
            .collect();
        chunks.sort();
        self.progress.begin("inodes", chunks.len() as u64);
        for (at, (ag, chunk)) in chunks {
            self.progress.step();
            for n in 0..CHUNK_BLOCKS {
                let block = at.saturating_add(u64::from(n));
                let first = chunk * CHUNK_INODES + n * INODES_PER_BLOCK;
                self.check_slots(block, AgNumber(ag), first)?;
            }
        }
        Ok(())
    }

    /// Reads the eight slots of a block.
    fn check_slots(&mut self, block: DiskBlock, ag: AgNumber, first: u32) -> Pass {
        let data = match self.raw(block) {
            Ok(data) => data,
            Err(error) => {
                self.torn_dirs = true;
                return self.report(Problem::ReadError {
                    block,
                    error,
                    what: "inode block",
                });
            }
        };
        for index in first..first + INODES_PER_BLOCK {
            let ino = Ino::new(ag, index);
            if let Some(slot) = InodeSlot::of(&data, ino) {
                self.check_slot(block, ino, slot)?;
            }
        }
        Ok(())
    }

    /// Checks one slot.
    fn check_slot(&mut self, block: DiskBlock, ino: Ino, slot: &InodeSlot) -> Pass {
        let allocated = self.table.get(ino).is_some_and(|info| info.is(ALLOCATED));
        if ino.0 == 0 {
            // Index 0 of group 0 does not exist: marked, so that nobody allocates it, and free.
            let free = slot.verify_identity(&self.context, ino).is_ok() && slot.is_free();
            return match allocated && free {
                true => Ok(()),
                false => self.report(Problem::InodeZero { ag: ino.ag() }),
            };
        }
        if !allocated {
            if let Err(defect) = slot.verify_identity(&self.context, ino) {
                return self.report(Problem::FreeSlotDamaged { ino, block, defect });
            }
            return match slot.is_free() {
                true => Ok(()),
                false => self.report(Problem::InodeNotAllocated { ino }),
            };
        }

        let mut slot = *slot;
        self.saw(Lsn(slot.lsn.get()));
        if let Err(defect) = slot.verify(&self.context, ino) {
            self.report(Problem::InodeDamaged { ino, block, defect })?;
            // Sound but for its checksum: better used than lost.
            slot.seal(&self.context, Lsn(slot.lsn.get()));
            if !defect.is_checksum() || slot.verify(&self.context, ino).is_err() {
                self.torn_dirs |= slot.file_type().is_none_or(|t| t == FileType::Directory);
                return Ok(());
            }
        }
        if slot.is_free() {
            if let Some(info) = self.table.get_mut(ino) {
                info.flags |= EMPTY;
            }
            return self.report(Problem::InodeEmpty { ino });
        }
        self.enter_inode(ino, &slot)?;
        self.check_blocks(ino, &slot)
    }

    /// Remembers an inode that can be used.
    fn enter_inode(&mut self, ino: Ino, slot: &InodeSlot) -> Pass {
        let ftype = slot.file_type();
        if let Some(info) = self.table.get_mut(ino) {
            info.flags |= USABLE;
            info.ftype = ftype.map_or(0, |ftype| ftype as u8);
            info.nlink = slot.nlink.get();
        }
        if ftype == Some(FileType::Directory) {
            self.table.dirs.insert(
                ino,
                DirInfo {
                    parent: slot.parent.get(),
                    subdirs: 0,
                },
            );
        }
        Ok(())
    }

    /// Claims the blocks of an inode and compares their number.
    fn check_blocks(&mut self, ino: Ino, slot: &InodeSlot) -> Pass {
        let is_symlink = slot.file_type() == Some(FileType::Symlink);
        let mut extents = Vec::new();
        let mut keep = |extent: Extent| {
            if is_symlink {
                extents.push(extent);
            }
        };
        let walked = self.walk_fork(ino, slot, &mut keep)?;
        let attrs = self.check_attrs(ino, slot)?;
        let blocks = walked.blocks + attrs.blocks;
        if walked.torn {
            self.torn_dirs |= slot.file_type() == Some(FileType::Directory);
            if let Some(info) = self.table.get_mut(ino) {
                info.flags |= TORN;
            }
        } else if !attrs.torn && blocks != slot.blocks.get() && !self.observing {
            self.report(Problem::InodeBlocks {
                ino,
                stored: slot.blocks.get(),
                found: blocks,
            })?;
        }
        if is_symlink && !self.observing {
            self.check_symlink(ino, slot, &extents)?;
        }
        Ok(())
    }

    /// Walks the data fork, claiming its blocks.
    fn walk_fork(
        &mut self,
        ino: Ino,
        slot: &InodeSlot,
        keep: &mut dyn FnMut(Extent),
    ) -> Pass<Walked> {
        let file = FileId::Inode(ino);
        let mut walked = Walked::default();
        match (slot.data_format(), slot.tree()) {
            (Some(ForkFormat::InlineExtents), _) => {
                let mut next = FileBlock(0);
                self.claim_extents(file, slot.extents(), &mut next, &mut walked, keep)?;
            }
            (Some(ForkFormat::ExtentTree), Some(root)) => {
                walked = self.walk_extents(file, root, keep)?;
            }
            (Some(ForkFormat::DirTree), Some(root)) => {
                let kind = TreeKind::Dirents;
                walked = self.walk(file, root, kind, true, &mut |_, _, _| Ok(()))?;
            }
            _ => {}
        }
        Ok(walked)
    }

    /// Reads the blocks of a long symlink.
    fn check_symlink(&mut self, ino: Ino, slot: &InodeSlot, extents: &[Extent]) -> Pass {
        if slot.data_format() != Some(ForkFormat::InlineExtents) {
            return Ok(());
        }
        let stored = slot.size.get();
        let owner = FileId::Inode(ino).owner();
        let mut found = 0;
        for extent in extents {
            if extent.unwritten {
                let file = FileId::Inode(ino);
                let at = extent.file;
                self.report(Problem::ExtentUnwritten { file, at })?;
            }
            // A target has two blocks at most; what an image says beyond that is not read.
            for n in 0..u64::from(extent.len).min(4) {
                let block = extent.disk.saturating_add(n);
                let wanted = extent.file.0.saturating_add(n);
                match self.read(block, BlockKind::Symlink, owner) {
                    Read::Good(data) => found += part(&data, wanted, found),
                    Read::Sound(data, defect) => {
                        found += part(&data, wanted, found);
                        self.report(Problem::SymlinkDamaged { ino, block, defect })?;
                    }
                    Read::Bad(defect) => {
                        return self.report(Problem::SymlinkDamaged { ino, block, defect });
                    }
                    Read::Unreadable(error) => {
                        return self.report(Problem::ReadError {
                            block,
                            error,
                            what: "symlink target",
                        });
                    }
                }
            }
        }
        if found != stored {
            self.report(Problem::SymlinkLength { ino, stored, found })?;
        }
        Ok(())
    }

    /// Names all files that claim blocks which are claimed twice: when the second claim was met, the
    /// first was not known any more.
    pub fn find_sharers(&mut self) -> Pass {
        if self.shared.is_empty() {
            return Ok(());
        }
        let claims = Claims::new(self.context.geometry);
        let claims = std::mem::replace(&mut self.claims, claims);
        self.observing = true;
        let result = self.observe();
        self.observing = false;
        self.claims = claims;
        result
    }

    fn observe(&mut self) -> Pass {
        let geometry = self.context.geometry;
        for ag in geometry.ags() {
            let Some(header) = self.group(ag).and_then(|group| group.header.clone()) else {
                continue;
            };
            let header = latchfs_engine::format::AgHeader::of(&header);
            for (file, root) in [
                (FileId::InodeMap(ag), &header.inode_map),
                (FileId::InodeFile(ag), &header.inode_file),
            ] {
                let mut walked = Walked::default();
                let mut next = FileBlock(0);
                match root.tree() {
                    Some(tree) => self.walk_extents(file, tree, &mut |_| ()).map(|_| ())?,
                    None => self.claim_extents(
                        file,
                        root.extents(),
                        &mut next,
                        &mut walked,
                        &mut |_| (),
                    )?,
                }
            }
        }
        for ino in self.table.select(ALLOCATED | USABLE, None) {
            if let Some(slot) = self.slot(ino) {
                self.check_blocks(ino, &slot)?;
            }
        }
        Ok(())
    }

    /// The slot of an inode, unverified.
    pub fn slot(&self, ino: Ino) -> Option<InodeSlot> {
        let block = self.raw(self.table.slot_block(ino)?).ok()?;
        InodeSlot::of(&block, ino).copied()
    }

    /// Whether an inode is an orphan.
    pub fn is_orphan(&self, ino: Ino) -> bool {
        self.table.get(ino).is_some_and(|info| info.is(ORPHAN))
    }
}

/// Bytes of the target in a symlink block, if it is the one that follows `found` bytes.
fn part(data: &Buf, wanted: u64, found: u64) -> u64 {
    let data = SymlinkBlock::of(data);
    let follows = wanted * SYMLINK_BYTES as u64 == found && u64::from(data.index.get()) == wanted;
    if follows {
        u64::from(data.len.get())
    } else {
        0
    }
}
