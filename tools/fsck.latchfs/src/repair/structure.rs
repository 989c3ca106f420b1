// SPDX-License-Identifier: GPL-2.0

//! Superblock, log header, headers of the groups, checksums.

use latchfs_engine::format::{
    header::reseal, AgHeader, AgNumber, BlockKind, DiskBlock, LogHeader, Owner, Superblock,
    BLOCK_SIZE,
};

use super::{Done, Surgeon};
use crate::problem::Problem;
use crate::replay::empty;

impl Surgeon<'_> {
    pub(super) fn repair_structure(&mut self) -> Done {
        for (n, problem) in self.problems() {
            match problem {
                Problem::SuperblockDamaged { .. } => {
                    // Counts and times of a copy are old: not clean, so that they are not believed.
                    let mut sb = self.c.sb;
                    sb.state.set(0);
                    // The log was replayed before; where it goes on is behind all there is.
                    let newest = self.c.newest.get();
                    empty(self.c.dev, &self.c.context, &mut sb, newest);
                    self.write_superblock(&mut sb, DiskBlock(0))?;
                    self.note(n, "restored from the copy");
                }
                Problem::SuperblockCopyDamaged { ag, .. }
                | Problem::SuperblockCopyDiffers { ag, .. } => {
                    if let Some(at) = self.c.context.geometry.superblock_copy(ag) {
                        let mut sb = self.c.sb;
                        self.write_superblock(&mut sb, at)?;
                        self.note(n, "copied from the superblock");
                    }
                }
                Problem::LogDamaged { block, .. } => {
                    let mut data = Box::new([0; BLOCK_SIZE]);
                    LogHeader::format(&mut data, &self.c.context);
                    reseal(&mut data, &self.c.context);
                    self.write(block, &data)?;
                    self.note(n, "written anew");
                }
                Problem::AgHeaderDamaged { ag, block, .. } => {
                    self.repair_header(n, ag, block)?;
                }
                Problem::NodeDamaged {
                    file,
                    block,
                    defect,
                } if defect.is_checksum() => {
                    if self.reseal(block, BlockKind::Tree, file.owner())? {
                        self.note(n, "content is sound, checksum corrected");
                    }
                }
                Problem::SymlinkDamaged {
                    ino, block, defect, ..
                } if defect.is_checksum() => {
                    if self.reseal(block, BlockKind::Symlink, Owner::inode(ino))? {
                        self.note(n, "content is sound, checksum corrected");
                    }
                }
                Problem::AttrValue {
                    ino, block, defect, ..
                } if defect.is_checksum() => {
                    if self.reseal(block, BlockKind::AttrValue, Owner::inode(ino))? {
                        self.note(n, "content is sound, checksum corrected");
                    }
                }
                Problem::MapBlockDamaged { ag, block, .. } => {
                    if self.reseal(block, BlockKind::InodeMap, Owner::inode_map(ag))? {
                        self.note(n, "content is sound, checksum corrected");
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes a superblock to where it or a copy of it belongs.
    pub(super) fn write_superblock(&self, sb: &mut Superblock, at: DiskBlock) -> Done {
        let mut data = Box::new([0; BLOCK_SIZE]);
        sb.seal(at);
        sb.store(&mut data);
        self.write(at, &data)
    }

    /// What follows from the geometry is written anew; the roots of the hidden files must have
    /// survived.
    fn repair_header(&mut self, n: usize, ag: AgNumber, block: DiskBlock) -> Done {
        if self.reseal(block, BlockKind::AgHeader, Owner::ag(ag))? {
            self.note(n, "content is sound, checksum corrected");
            return Ok(());
        }
        let Ok(old) = self.c.raw(block) else {
            return Ok(());
        };
        let old = AgHeader::of(&old);
        let mut data = Box::new([0; BLOCK_SIZE]);
        if AgHeader::format(&mut data, &self.c.context, ag).is_none() {
            return Ok(());
        }
        let new = AgHeader::of_mut(&mut data);
        new.inode_file = old.inode_file;
        new.inode_map = old.inode_map;
        // Counts and watermarks that make no sense are found out by the next check.
        new.map_blocks = old.map_blocks;
        new.bitmap_init
            .set(old.bitmap_init.get().min(new.bitmap_count.get()));
        new.inodes.set(old.inodes.get() & !63);
        new.free_inodes
            .set(old.free_inodes.get().min(new.inodes.get()));
        reseal(&mut data, &self.c.context);
        // A group without inodes has empty roots; that an old header has some that pass is the
        // sign that they are its own.
        if AgHeader::verify(&data, &self.c.context, block, ag).is_ok() {
            self.write(block, &data)?;
            self.note(n, "rebuilt around the roots it has");
        }
        Ok(())
    }
}
