// SPDX-License-Identifier: GPL-2.0

//! Everything on a cleanly unmounted device against everything else.

use crate::format::{
    ag::{AgHeader, FileRoot},
    bitmap::BitmapBlock,
    btree::{TreeBlock, TreeKind},
    dirent::{entries, Dirent, FileType},
    extent::{Extent, ExtentRecord},
    hash::{key_hash, name_hash},
    header::{BlockKind, Context, Owner},
    imap::MapBlock,
    inode::{ForkFormat, InodeSlot},
    limits::{MAP_CHUNKS, SYMLINK_BYTES},
    superblock::Superblock,
    symlink::SymlinkBlock,
    units::*,
    verify::verify_block,
};
use crate::sys::{self, Device};
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

mod attrs;

pub(crate) use attrs::Values;

/// What the image has.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) inodes: u64,
    pub(crate) free_inodes: u64,
    pub(crate) orphans: u64,
    pub(crate) free_blocks: u64,
    pub(crate) slots: BTreeMap<u64, InodeSlot>,
    /// Name and inode of every entry by directory.
    pub(crate) dirs: BTreeMap<u64, Vec<(Vec<u8>, u64)>>,
    /// Number of extents of each group's inode file.
    pub(crate) file_extents: Vec<usize>,
    /// Extents of every inode.
    pub(crate) extents: BTreeMap<u64, Vec<Extent>>,
    /// Attributes of every inode.
    pub(crate) attrs: BTreeMap<u64, Values>,
}

type Check<T = ()> = Result<T, String>;

struct Checker<'a> {
    dev: &'a Device,
    context: Context,
    /// For each block whether something has it.
    used: Vec<bool>,
    sum: Summary,
    /// Orphan bits.
    orphan: BTreeSet<u64>,
}

/// Checks a whole device that was unmounted; `orphans` says that unlinked inodes may be left.
pub(crate) fn check(dev: &Device, orphans: bool) -> Check<Summary> {
    let mut block = sys::Block::must_zeroed();
    dev.read_block(0, &mut block).map_err(|e| format!("{e}"))?;
    let sb = *Superblock::of(block.as_slice()).ok_or("no superblock")?;
    let context = sb
        .verify(DiskBlock(0))
        .map_err(|d| format!("superblock: {d}"))?;
    let mut c = Checker {
        dev,
        context,
        used: vec![false; usize::try_from(dev.blocks()).map_err(|e| format!("{e}"))?],
        sum: Summary::default(),
        orphan: BTreeSet::new(),
    };
    for ag in context.geometry.ags() {
        for range in context.geometry.static_ranges(ag) {
            if let Some(range) = context.geometry.disk_range(ag, range) {
                c.take(range, "static metadata")?;
            }
        }
    }
    for ag in context.geometry.ags() {
        c.group(ag)?;
    }
    c.forks(sb.hash_seed.get())?;
    c.links(sb.root())?;
    c.bitmaps()?;
    if !orphans && c.sum.orphans != 0 {
        return Err(format!("{} orphans left", c.sum.orphans));
    }
    let counts = (
        sb.free_blocks.get(),
        sb.inodes.get(),
        sb.free_inodes.get(),
        sb.orphans.get(),
    );
    let found = (
        c.sum.free_blocks,
        c.sum.inodes,
        c.sum.free_inodes,
        c.sum.orphans,
    );
    if counts != found {
        return Err(format!(
            "superblock says (free blocks, inodes, free, orphans) {counts:?}, found {found:?}"
        ));
    }
    Ok(c.sum)
}

impl Checker<'_> {
    fn take(&mut self, range: BlockRange, what: &str) -> Check {
        for b in range.start.0..range.end().0 {
            let used = usize::try_from(b).ok().and_then(|b| self.used.get_mut(b));
            let used = used.ok_or_else(|| format!("block {b} of {what} is not there"))?;
            if std::mem::replace(used, true) {
                return Err(format!("block {b} is used twice, now for {what}"));
            }
        }
        Ok(())
    }

    fn read(&self, at: DiskBlock, kind: BlockKind, owner: Owner) -> Check<Block> {
        let mut block = sys::Block::must_zeroed();
        self.dev
            .read_block(at.0, &mut block)
            .map_err(|e| format!("block {at}: {e}"))?;
        verify_block(&block, kind, &self.context, at, Some(owner))
            .map_err(|d| format!("block {at} ({}): {d}", kind.as_str()))?;
        Ok(*block)
    }

    /// Calls `f` with every leaf of a tree, in order, and takes its blocks.
    fn tree(
        &mut self,
        at: DiskBlock,
        depth: u8,
        kind: TreeKind,
        owner: Owner,
        f: &mut dyn FnMut(&TreeBlock) -> Check,
    ) -> Check<u64> {
        let block = self.read(at, BlockKind::Tree, owner)?;
        self.take(BlockRange::new(at, 1), "a tree")?;
        let node = TreeBlock::of(&block);
        if node.level != depth.wrapping_sub(1) || node.kind != kind as u8 {
            return Err(format!(
                "block {at}: level {} kind {}",
                node.level, node.kind
            ));
        }
        if node.level == 0 {
            f(node)?;
            return Ok(1);
        }
        let mut nodes = 1;
        for entry in node.entries() {
            nodes += self.tree(DiskBlock(entry.child.get()), depth - 1, kind, owner, f)?;
        }
        Ok(nodes)
    }

    fn extent_tree(&mut self, at: DiskBlock, depth: u8, owner: Owner) -> Check<(Vec<Extent>, u64)> {
        let mut all = Vec::new();
        let nodes = self.tree(at, depth, TreeKind::Extents, owner, &mut |leaf| {
            all.extend(leaf.extents().iter().map(ExtentRecord::unpack));
            Ok(())
        })?;
        for pair in all.windows(2) {
            if pair[1].file < pair[0].end() {
                return Err(format!("extents of {owner:?} out of order"));
            }
        }
        Ok((all, nodes))
    }

    fn hidden(&mut self, root: &FileRoot, owner: Owner) -> Check<Vec<Extent>> {
        let extents = match root.tree() {
            Some(tree) => self.extent_tree(tree.block, tree.depth, owner)?.0,
            None => root.extents().iter().map(ExtentRecord::unpack).collect(),
        };
        for extent in &extents {
            self.take(extent.range(), "a hidden file")?;
        }
        Ok(extents)
    }

    fn group(&mut self, ag: AgNumber) -> Check {
        let at = self.context.geometry.header_block(ag).ok_or("no header")?;
        let block = self.read(at, BlockKind::AgHeader, Owner::ag(ag))?;
        let header = AgHeader::of(&block);
        let map = self.hidden(&header.inode_map, Owner::inode_map(ag))?;
        let file = self.hidden(&header.inode_file, Owner::inode_file(ag))?;
        self.sum.file_extents.push(file.len());
        let find =
            |extents: &[Extent], block: u64| extents.iter().find_map(|e| e.map(FileBlock(block)));

        let (mut inodes, mut free, mut orphans) = (0_u32, 0_u32, 0_u32);
        let mapped: u64 = map.iter().map(|e| u64::from(e.len)).sum();
        if mapped != u64::from(header.map_blocks.get()) {
            return Err(format!("AG {ag}: {mapped} map blocks are mapped"));
        }
        for index in 0..header.map_blocks.get() {
            let at = find(&map, u64::from(index)).ok_or("hole in the inode map")?;
            let block = self.read(at, BlockKind::InodeMap, Owner::inode_map(ag))?;
            let map = MapBlock::of(&block);
            if map.index.get() != index {
                return Err(format!(
                    "AG {ag}: map block {index} says {}",
                    map.index.get()
                ));
            }
            for n in 0..MAP_CHUNKS {
                let Some(masks) = map.chunk(n) else { continue };
                inodes += 64;
                free += masks.alloc.get().count_zeros();
                orphans += masks.orphan.get().count_ones();
                self.chunk(
                    ag,
                    index * MAP_CHUNKS + n,
                    masks.alloc.get(),
                    masks.orphan.get(),
                    &file,
                )?;
            }
        }
        let chunks: u64 = file.iter().map(|e| u64::from(e.len)).sum();
        if chunks * 8 != u64::from(inodes) {
            return Err(format!(
                "AG {ag}: inode file has {chunks} blocks for {inodes} inodes"
            ));
        }
        let counts = (
            header.inodes.get(),
            header.free_inodes.get(),
            header.orphans.get(),
        );
        if counts != (inodes, free, orphans) {
            return Err(format!(
                "AG {ag}: counts {counts:?}, found {inodes} {free} {orphans}"
            ));
        }
        self.sum.inodes += u64::from(inodes);
        self.sum.free_inodes += u64::from(free);
        self.sum.orphans += u64::from(orphans);
        Ok(())
    }

    fn chunk(
        &mut self,
        ag: AgNumber,
        chunk: u32,
        alloc: u64,
        orphan: u64,
        file: &[Extent],
    ) -> Check {
        for bit in 0..64 {
            let ino = Ino::new(ag, chunk * 64 + bit);
            let at = file
                .iter()
                .find_map(|e| e.map(ino.file_block()))
                .ok_or_else(|| format!("inode {ino}: hole in the inode file"))?;
            let block = self.read(at, BlockKind::Inodes, Owner::inode_file(ag))?;
            let slot = InodeSlot::of(&block, ino).ok_or("slot")?;
            slot.verify(&self.context, ino)
                .map_err(|d| format!("inode {ino}: {d}"))?;
            let used = alloc & (1 << bit) != 0;
            if ino.0 == 0 {
                continue;
            }
            if used == slot.is_free() {
                return Err(format!(
                    "inode {ino}: map says {used}, mode {:o}",
                    slot.mode.get()
                ));
            }
            if used {
                self.sum.slots.insert(ino.0, *slot);
            }
            if orphan & (1 << bit) != 0 {
                self.orphan.insert(ino.0);
            }
        }
        Ok(())
    }

    fn forks(&mut self, seed: u64) -> Check {
        let slots: Vec<(u64, InodeSlot)> = self.sum.slots.iter().map(|(i, s)| (*i, *s)).collect();
        for (ino, slot) in slots {
            let owner = Owner::inode(Ino(ino));
            let (extents, names, nodes) = match slot.data_format().ok_or("format")? {
                ForkFormat::InlineExtents => {
                    let all: Vec<Extent> =
                        slot.extents().iter().map(ExtentRecord::unpack).collect();
                    (all, None, 0)
                }
                ForkFormat::ExtentTree => {
                    let root = slot.tree().ok_or("root")?;
                    let (all, nodes) = self.extent_tree(root.block, root.depth, owner)?;
                    (all, None, nodes)
                }
                ForkFormat::InlineDir => {
                    let mut list = Vec::new();
                    for entry in entries(slot.data()) {
                        list.push(name_of(ino, &entry, seed)?);
                    }
                    (Vec::new(), Some(list), 0)
                }
                ForkFormat::DirTree => {
                    let root = slot.tree().ok_or("root")?;
                    let mut list = Vec::new();
                    let mut last = 0;
                    let nodes = self.tree(
                        root.block,
                        root.depth,
                        TreeKind::Dirents,
                        owner,
                        &mut |leaf| {
                            for n in 0..leaf.count() {
                                let entry = leaf.dirent(n).ok_or("entry")?;
                                if entry.key <= last {
                                    return Err(format!("directory {ino}: keys out of order"));
                                }
                                last = entry.key;
                                list.push(name_of(ino, &entry, seed)?);
                            }
                            Ok(())
                        },
                    )?;
                    (Vec::new(), Some(list), nodes)
                }
                _ => (Vec::new(), None, 0),
            };
            let mut blocks = nodes + self.attributes(ino, &slot, seed)?;
            for extent in &extents {
                self.take(extent.range(), "file content")?;
                blocks += u64::from(extent.len);
            }
            if slot.blocks.get() != blocks {
                return Err(format!(
                    "inode {ino}: blocks {}, found {blocks}",
                    slot.blocks.get()
                ));
            }
            if slot.file_type() == Some(FileType::Symlink) && !extents.is_empty() {
                self.target(&slot, &extents, owner)?;
            }
            if let Some(list) = names {
                let size: usize = list.iter().map(|(name, _, _)| 18 + name.len()).sum();
                if slot.size.get() != size as u64 {
                    return Err(format!(
                        "directory {ino}: size {}, found {size}",
                        slot.size.get()
                    ));
                }
                for (name, child, ftype) in &list {
                    let Some(target) = self.sum.slots.get(child) else {
                        return Err(format!(
                            "directory {ino}: {name:?} is {child}, which is free"
                        ));
                    };
                    if target.file_type().map(|t| t as u8) != Some(*ftype) {
                        return Err(format!("directory {ino}: {name:?} has another type"));
                    }
                }
                let list = list.into_iter().map(|(n, c, _)| (n, c)).collect();
                self.sum.dirs.insert(ino, list);
            }
            self.sum.extents.insert(ino, extents);
        }
        Ok(())
    }

    fn target(&self, slot: &InodeSlot, extents: &[Extent], owner: Owner) -> Check {
        let mut len = 0;
        for extent in extents {
            for i in 0..u64::from(extent.len) {
                let block = self.read(DiskBlock(extent.disk.0 + i), BlockKind::Symlink, owner)?;
                let part = SymlinkBlock::of(&block);
                if u64::from(part.index.get()) * SYMLINK_BYTES as u64 != len {
                    return Err(format!("symlink {owner:?}: part out of order"));
                }
                len += part.bytes().len() as u64;
            }
        }
        if len != slot.size.get() {
            return Err(format!("symlink {owner:?}: {len} bytes"));
        }
        Ok(())
    }

    fn links(&mut self, root: Ino) -> Check {
        let mut names: BTreeMap<u64, u32> = BTreeMap::new();
        let mut subdirs: BTreeMap<u64, u32> = BTreeMap::new();
        for (dir, list) in &self.sum.dirs {
            let mut seen = BTreeSet::new();
            for (name, child) in list {
                if !seen.insert(name) {
                    return Err(format!("directory {dir}: {name:?} twice"));
                }
                *names.entry(*child).or_default() += 1;
                let slot = &self.sum.slots[child];
                if slot.file_type() == Some(FileType::Directory) {
                    *subdirs.entry(*dir).or_default() += 1;
                    if slot.parent.get() != *dir {
                        return Err(format!("directory {child}: parent {}", slot.parent.get()));
                    }
                }
            }
        }
        for (ino, slot) in &self.sum.slots {
            let found = names.get(ino).copied().unwrap_or(0);
            let is_dir = slot.file_type() == Some(FileType::Directory);
            let want = match (is_dir, *ino == root.0) {
                (true, true) if found == 0 => 2 + subdirs.get(ino).copied().unwrap_or(0),
                (true, false) if found == 1 => 2 + subdirs.get(ino).copied().unwrap_or(0),
                (true, false) if found == 0 => 0,
                (true, _) => return Err(format!("directory {ino}: {found} names")),
                (false, _) => found,
            };
            if slot.nlink.get() != want {
                return Err(format!(
                    "inode {ino}: nlink {}, found {want}",
                    slot.nlink.get()
                ));
            }
            if (want == 0) != self.orphan.contains(ino) {
                return Err(format!(
                    "inode {ino}: nlink {want} and the orphan bit disagree"
                ));
            }
        }
        Ok(())
    }

    fn bitmaps(&mut self) -> Check {
        let geometry = self.context.geometry;
        for ag in geometry.ags() {
            let at = geometry.header_block(ag).ok_or("no header")?;
            let header = self.read(at, BlockKind::AgHeader, Owner::ag(ag))?;
            let init = AgHeader::of(&header).bitmap_init.get();
            for index in 0..geometry.bitmap_count(ag) {
                let cover = geometry.bitmap_coverage(ag, index);
                let block = if index < init {
                    let at = geometry.bitmap_block(ag, index).ok_or("bitmap")?;
                    Some(self.read(at, BlockKind::Bitmap, Owner::ag(ag))?)
                } else {
                    None
                };
                for bit in 0..cover.len {
                    let inside = AgBlock(cover.start.0 + bit);
                    let disk = geometry.disk_block(ag, inside).ok_or("block")?;
                    let used = self.used[disk.0 as usize];
                    let marked = match &block {
                        Some(b) => BitmapBlock::of(b).is_used(bit),
                        None => geometry.is_static(ag, inside),
                    };
                    if used != marked {
                        return Err(format!("block {disk}: used {used}, bitmap says {marked}"));
                    }
                    self.sum.free_blocks += u64::from(!used);
                }
            }
        }
        Ok(())
    }
}

/// Name, inode and type of an entry, with its hash checked.
fn name_of(dir: u64, entry: &Dirent<'_>, seed: u64) -> Check<(Vec<u8>, u64, u8)> {
    if key_hash(entry.key) != name_hash(seed, entry.name) {
        return Err(format!("directory {dir}: hash of {:?}", entry.name));
    }
    Ok((entry.name.to_vec(), entry.ino.0, entry.ftype))
}
