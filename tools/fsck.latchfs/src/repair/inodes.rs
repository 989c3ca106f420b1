// SPDX-License-Identifier: GPL-2.0

//! Inode slots and the maps of their blocks.

use std::collections::{BTreeMap, BTreeSet};

use latchfs_engine::format::{
    dirent,
    inode::FLAG_ALL,
    limits::{MAX_FILE_SIZE, MAX_LINKS},
    Block, BlockRange, Dirent, DiskBlock, Extent, FileBlock, FileType, ForkFormat, Ino, InodeSlot,
    Lsn, Owner, TreeKind,
};
use latchfs_tool::bulk::{build, extent_record, Record, Sink};
use zerocopy::IntoBytes;

use super::{Done, Surgeon};
use crate::problem::{FileId, Problem};
use crate::table::ORPHAN;

impl Surgeon<'_> {
    pub(super) fn repair_inodes(&mut self) -> Done {
        // Files whose map of blocks is written anew, and the problem that asks for it.
        let mut remap: BTreeMap<Ino, usize> = BTreeMap::new();
        let wanted: BTreeSet<Ino> = self
            .problems()
            .iter()
            .filter_map(|(_, problem)| match problem {
                Problem::DirentDangling { ino, .. } => Some(*ino),
                _ => None,
            })
            .collect();

        for (n, problem) in self.problems() {
            match problem {
                Problem::InodeDamaged { ino, .. } => self.mend_slot(n, ino)?,
                Problem::FreeSlotDamaged { ino, .. } => {
                    self.clear_slot(ino)?;
                    self.note(n, "written anew");
                }
                Problem::InodeNotAllocated { ino } => {
                    // A name says that it is meant to be there.
                    if wanted.contains(&ino) {
                        self.set_bits(ino, true, false)?;
                        self.note(n, "a directory names it: allocated");
                    } else {
                        self.clear_slot(ino)?;
                        self.note(n, "no directory names it: freed");
                    }
                }
                Problem::InodeEmpty { ino } => {
                    if self.set_bits(ino, false, false)? {
                        self.note(n, "freed in the inode map");
                    }
                }
                Problem::NodeDamaged { file, .. }
                | Problem::NodeLevel { file, .. }
                | Problem::NodeKind { file, .. }
                | Problem::NodeKeys { file, .. }
                | Problem::ExtentOverlap { file, .. } => {
                    if let FileId::Inode(ino) = file {
                        remap.entry(ino).or_insert(n);
                    }
                }
                Problem::BlockShared { file, range } => {
                    let late = self.c.late.contains(&(file, range));
                    if let (FileId::Inode(ino), true) = (file, late) {
                        remap.entry(ino).or_insert(n);
                    }
                }
                _ => {}
            }
        }
        for (ino, n) in remap {
            self.remap(n, ino)?;
        }
        Ok(())
    }

    /// Makes a slot that the verifier rejects acceptable: first its checksum, then fields that can
    /// be reset without losing the file, at last the content of its fork.
    fn mend_slot(&mut self, n: usize, ino: Ino) -> Done {
        let Some(mut slot) = self.c.slot(ino) else {
            return Ok(());
        };
        let context = self.c.context;
        let passes = |slot: &mut InodeSlot| {
            slot.seal(&context, Lsn(slot.lsn.get()));
            slot.verify(&context, ino).is_ok()
        };
        let store = |this: &Self, slot: InodeSlot| this.edit_slot(ino, |to| *to = slot);
        if passes(&mut slot) {
            store(self, slot)?;
            self.note(n, "content is sound, checksum corrected");
            return Ok(());
        }
        self.reset_fields(&mut slot);
        if passes(&mut slot) {
            store(self, slot)?;
            self.note(n, "reset to a legal value");
            return Ok(());
        }
        self.reset_attrs(&mut slot);
        if passes(&mut slot) {
            store(self, slot)?;
            self.note(n, "attributes reset");
            return Ok(());
        }
        self.reset_fork(&mut slot);
        if passes(&mut slot) {
            store(self, slot)?;
            self.note(n, "reset; content may be lost");
            return Ok(());
        }
        self.clear_inode(ino)?;
        self.note(n, "beyond repair: deleted");
        Ok(())
    }

    /// Fields whose loss does not matter much.
    fn reset_fields(&self, slot: &mut InodeSlot) {
        let geometry = self.c.context.geometry;
        slot.flags.set(slot.flags.get() & FLAG_ALL);
        slot.flags2.set(0);
        slot.generation_hi.set(0);
        for ns in [
            &mut slot.atime_ns,
            &mut slot.mtime_ns,
            &mut slot.ctime_ns,
            &mut slot.btime_ns,
        ] {
            ns.set(ns.get() % 1_000_000_000);
        }
        slot.size.set(slot.size.get().min(MAX_FILE_SIZE));
        slot.nlink.set(slot.nlink.get().min(MAX_LINKS));
        slot.blocks
            .set(slot.blocks.get().min(geometry.block_count()));
        let ftype = slot.file_type();
        if ftype == Some(FileType::Directory) {
            if !geometry.check_ino(Ino(slot.parent.get())) {
                slot.parent.set(self.c.sb.root_ino.get());
            }
        } else {
            slot.parent.set(0);
        }
        if !matches!(ftype, Some(FileType::CharDevice | FileType::BlockDevice)) {
            slot.rdev.set(0);
        }
    }

    /// Keeps of the data fork what is legal.
    fn reset_fork(&self, slot: &mut InodeSlot) {
        let geometry = self.c.context.geometry;
        let Some(ftype) = slot.file_type() else {
            return;
        };
        let format = slot.data_format().filter(|format| format.fits(ftype));
        let room = usize::from(slot.attr_off.get());
        match ftype {
            FileType::Regular => {
                let extents = match format {
                    Some(ForkFormat::InlineExtents) => slot.extents().to_vec(),
                    _ => Vec::new(),
                };
                let mut next = FileBlock(0);
                let mut bytes = Vec::new();
                for record in extents {
                    match record.verify(&geometry) {
                        Ok(extent) if extent.file >= next && bytes.len() + 16 <= room => {
                            next = extent.end();
                            bytes.extend_from_slice(record.as_bytes());
                        }
                        _ => {}
                    }
                }
                slot.set_data(ForkFormat::InlineExtents, 0, &bytes);
            }
            FileType::Directory => {
                let mut bytes = Vec::new();
                if format == Some(ForkFormat::InlineDir) {
                    let data = slot.data().to_vec();
                    let mut last = 0;
                    for entry in dirent::entries(&data) {
                        let mut record = vec![0; entry.len()];
                        let legal = entry.encode(&mut record).is_some()
                            && Dirent::verify(&record, &geometry).is_ok();
                        if legal && entry.key > last && bytes.len() + record.len() <= room {
                            last = entry.key;
                            bytes.append(&mut record);
                        }
                    }
                }
                slot.size.set(bytes.len() as u64);
                slot.set_data(ForkFormat::InlineDir, 0, &bytes);
            }
            FileType::Symlink => {
                // What it pointed at is not known; a name that says so is better than none.
                let target: &[u8] = b"(lost)";
                slot.size.set(target.len() as u64);
                slot.set_data(ForkFormat::InlineSymlink, 0, target);
            }
            _ => {
                slot.size.set(0);
                slot.set_data(ForkFormat::None, 0, &[]);
            }
        }
    }

    /// Makes a slot free, whatever is in it.
    fn clear_slot(&mut self, ino: Ino) -> Done<bool> {
        let context = self.c.context;
        let generation = self.c.slot(ino).map_or(0, |slot| slot.generation.get());
        self.edit_slot(ino, |slot| {
            *slot = InodeSlot::new(&context, ino, generation)
        })
    }

    /// Deletes an inode. Its blocks are used by nobody after that, as the next check finds out.
    pub(super) fn clear_inode(&mut self, ino: Ino) -> Done {
        self.clear_slot(ino)?;
        self.set_bits(ino, false, false)?;
        Ok(())
    }

    /// Writes the map of blocks of a file anew, from the part that can be read.
    fn remap(&mut self, n: usize, ino: Ino) -> Done {
        let Some(slot) = self.c.slot(ino) else {
            return Ok(());
        };
        if slot.data_format() == Some(ForkFormat::DirTree) {
            self.rebuild_dir(ino, &[], &BTreeSet::new())?;
            self.note(n, "directory rebuilt from what can be read");
            return Ok(());
        }
        let Some(extents) = self.readable_extents(ino, &slot) else {
            return Ok(());
        };
        let (extents, copied) = self.separate(ino, extents)?;
        if self.write_extents(ino, &slot, &extents)? {
            self.note(
                n,
                if copied {
                    "given blocks of its own; check its content"
                } else {
                    "block map rebuilt from what can be read"
                },
            );
        }
        Ok(())
    }

    /// The extents of a file that can be read, sorted, without overlaps.
    fn readable_extents(&mut self, ino: Ino, slot: &InodeSlot) -> Option<Vec<Extent>> {
        let mut extents: Vec<Extent> = slot.extents().iter().map(|e| e.unpack()).collect();
        if let Some(root) = slot.tree() {
            let file = FileId::Inode(ino);
            let keep = &mut extents;
            // The walk is silent and ends only with the tree.
            let _ = self
                .c
                .walk(file, root, TreeKind::Extents, false, &mut |_, _, leaf| {
                    keep.extend(leaf.extents().iter().map(|e| e.unpack()));
                    Ok(())
                });
        } else if slot.data_format() != Some(ForkFormat::InlineExtents) {
            return None;
        }
        extents.sort_by_key(|extent| extent.file);
        let mut next = FileBlock(0);
        extents.retain(|extent| {
            let keep = extent.file >= next;
            if keep {
                next = extent.end();
            }
            keep
        });
        Some(extents)
    }

    /// Gives the file copies of the blocks that belong to someone else. The second value tells
    /// whether there were any.
    fn separate(&mut self, ino: Ino, extents: Vec<Extent>) -> Done<(Vec<Extent>, bool)> {
        let late: Vec<BlockRange> = self
            .c
            .late
            .iter()
            .filter(|(file, _)| *file == FileId::Inode(ino))
            .map(|(_, range)| *range)
            .collect();
        let is_late = |at: DiskBlock| late.iter().any(|range| range.contains(at));
        let mut result: Vec<Extent> = Vec::new();
        let mut copied = false;
        for extent in extents {
            if !late.iter().any(|range| range.overlaps(extent.range())) {
                result.push(extent);
                continue;
            }
            for k in 0..u64::from(extent.len) {
                let (Some(old), Some(file)) =
                    (extent.disk.checked_add(k), extent.file.checked_add(k))
                else {
                    continue;
                };
                let mut disk = old;
                if is_late(old) {
                    copied = true;
                    let Some(new) = self.allocate(ino.ag()) else {
                        continue;
                    };
                    if let (false, Ok(data)) = (extent.unwritten, self.c.raw(old)) {
                        self.write(new, &data)?;
                    }
                    disk = new;
                }
                push_block(
                    &mut result,
                    file,
                    disk,
                    extent.unwritten,
                    &self.c.context.geometry,
                );
            }
        }
        Ok((result, copied))
    }

    /// Writes the map of blocks of a file: inline if it fits, else as a tree. False if there is no
    /// room for one.
    fn write_extents(&mut self, ino: Ino, slot: &InodeSlot, extents: &[Extent]) -> Done<bool> {
        let records: Vec<Record> = extents.iter().filter_map(extent_record).collect();
        let mapped: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        if bytes.len() <= usize::from(slot.attr_off.get()) {
            return self.edit_slot(ino, |slot| {
                slot.set_data(ForkFormat::InlineExtents, 0, &bytes);
                slot.blocks.set(mapped + u64::from(slot.attr_blocks.get()));
            });
        }
        let Some((root, nodes)) = self.write_tree(ino, TreeKind::Extents, &records)? else {
            return Ok(false);
        };
        self.edit_slot(ino, |slot| {
            slot.set_data(ForkFormat::ExtentTree, root.depth, &root.to_bytes());
            let attrs = u64::from(slot.attr_blocks.get());
            slot.blocks.set(mapped + nodes + attrs);
        })
    }

    /// Writes a tree for an inode to free blocks. [`None`] if there are not enough.
    pub(super) fn write_tree(
        &mut self,
        ino: Ino,
        kind: TreeKind,
        records: &[Record],
    ) -> Done<Option<(latchfs_engine::format::TreeRoot, u64)>> {
        // Two of the longest records of attributes fill a leaf, 14 of entries; interior nodes are few.
        let in_leaf = if kind == TreeKind::Attrs { 1 } else { 14 };
        let most = records.len() / in_leaf + records.len() / 1000 + 10;
        let mut free = Vec::new();
        for _ in 0..most {
            match self.allocate(ino.ag()) {
                Some(at) => free.push(at),
                None => break,
            }
        }
        free.reverse();
        let mut nodes: Vec<(DiskBlock, Box<Block>)> = Vec::new();
        let context = self.c.context;
        let mut sink = Sink {
            context: &context,
            owner: Owner::inode(ino),
            blocks: &mut || free.pop(),
            write: &mut |at, block| nodes.push((at, Box::new(*block))),
            fanout: usize::MAX,
            leaf_records: usize::MAX,
        };
        let built = build(&mut sink, kind, records);
        if built.is_some() {
            for (at, block) in &nodes {
                self.write(*at, block)?;
            }
        }
        Ok(built)
    }

    /// Finishes what an unmount or a mount would have finished: deletes orphans without links, ends
    /// interrupted truncates.
    pub(super) fn end_orphans(&mut self) -> Done {
        if self.c.problems().iter().any(|p| !p.is_derived()) {
            return Ok(());
        }
        for ino in self.c.table.select(ORPHAN, None) {
            let Some(info) = self.c.table.get(ino).copied() else {
                continue;
            };
            if info.nlink == 0 && info.refs == 0 {
                self.clear_inode(ino)?;
                self.say(format!("inode {ino}: orphan deleted"));
                continue;
            }
            let Some(slot) = self.c.slot(ino) else {
                continue;
            };
            if slot.file_type() == Some(FileType::Regular) {
                let end = FileBlock(slot.size.get().div_ceil(4096));
                if let Some(mut extents) = self.readable_extents(ino, &slot) {
                    extents.retain(|extent| extent.file < end);
                    if let Some(last) = extents.last_mut().filter(|e| e.end() > end) {
                        last.len = u32::try_from(end.0 - last.file.0).unwrap_or(last.len);
                    }
                    self.write_extents(ino, &slot, &extents)?;
                }
            }
            self.set_bits(ino, true, false)?;
            self.say(format!("inode {ino}: interrupted truncate finished"));
        }
        Ok(())
    }
}

/// Appends a block to a list of extents, as part of the last one where it continues it.
fn push_block(
    extents: &mut Vec<Extent>,
    file: FileBlock,
    disk: DiskBlock,
    unwritten: bool,
    geometry: &latchfs_engine::format::Geometry,
) {
    if let Some(last) = extents.last_mut() {
        let next = last.disk.checked_add(u64::from(last.len));
        let longer = BlockRange::new(last.disk, last.len.saturating_add(1));
        if last.end() == file
            && next == Some(disk)
            && last.unwritten == unwritten
            && geometry.check_range(longer, "").is_ok()
        {
            last.len += 1;
            return;
        }
    }
    extents.push(Extent {
        file,
        disk,
        len: 1,
        unwritten,
    });
}
