// SPDX-License-Identifier: GPL-2.0

//! Reading a file system that is not mounted, sound or not.
//!
//! For the inspector and for tests: everything is looked up on the device each time, what a verifier
//! rejects is still returned where that makes sense, together with the reason, and every walk ends.

use std::collections::HashSet;

use latchfs_engine::format::{
    dirent, hash, verify_block, AgHeader, AgNumber, Block, BlockKind, Context, Defect, Dirent,
    DiskBlock, Extent, FileBlock, FileRoot, FileType, ForkFormat, Ino, InodeSlot, Owner,
    Superblock, SymlinkBlock, TreeBlock, TreeRoot, BLOCK_SIZE,
};
use latchfs_host::{Block as Buf, Device};

use crate::cli::Failure;

/// Result of a reading operation.
pub type Result<T> = std::result::Result<T, Failure>;

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key, and readdir cookie.
    pub key: u64,
    /// Inode.
    pub ino: Ino,
    /// Type as stored.
    pub ftype: u8,
    /// Name.
    pub name: Vec<u8>,
}

impl Entry {
    fn of(entry: &Dirent<'_>) -> Self {
        Self {
            key: entry.key,
            ino: entry.ino,
            ftype: entry.ftype,
            name: entry.name.to_vec(),
        }
    }
}

/// A node met by [`Volume::walk`].
pub struct Node<'a> {
    /// Its block.
    pub at: DiskBlock,
    /// Its distance from the root.
    pub depth: u8,
    /// Its content.
    pub node: &'a TreeBlock,
    /// What is wrong with it.
    pub defect: Option<Defect>,
}

/// A file system on a device.
pub struct Volume {
    /// The device.
    pub dev: Device,
    /// The superblock.
    pub sb: Superblock,
    /// What follows from it.
    pub context: Context,
}

impl Volume {
    /// Opens a file system. Fails if its superblock cannot be used.
    pub fn open(dev: Device) -> Result<Self> {
        if dev.blocks() == 0 {
            return Err(Failure::new("the device is empty"));
        }
        let block = read(&dev, DiskBlock(0))?;
        let sb = *Superblock::of(&block[..]).ok_or_else(|| Failure::new("short read"))?;
        if !Superblock::is_latchfs(&block[..]) {
            return Err(Failure::new("no latchfs found"));
        }
        let context = sb
            .verify(DiskBlock(0))
            .map_err(|defect| Failure::new(format!("superblock: {defect}; see fsck.latchfs")))?;
        Ok(Self { dev, sb, context })
    }

    /// A block as it is.
    pub fn block(&self, at: DiskBlock) -> Result<Buf> {
        read(&self.dev, at)
    }

    /// What is wrong with a block, if anything is.
    pub fn verify(
        &self,
        block: &Block,
        kind: BlockKind,
        at: DiskBlock,
        owner: Owner,
    ) -> Option<Defect> {
        verify_block(block, kind, &self.context, at, Some(owner)).err()
    }

    /// The header of a group, and what is wrong with it.
    pub fn header(&self, ag: AgNumber) -> Result<(Buf, Option<Defect>)> {
        let geometry = &self.context.geometry;
        let at = geometry.header_block(ag).ok_or_else(|| {
            let count = geometry.ag_count();
            Failure::new(format!(
                "there are {count} allocation groups, 0 to {}",
                count - 1
            ))
        })?;
        let block = self.block(at)?;
        let defect = self.verify(&block, BlockKind::AgHeader, at, Owner::ag(ag));
        Ok((block, defect))
    }

    /// Calls `f` with each node of a tree, parents before children. Nodes that cannot be used are
    /// reported and not descended into; no node is visited twice.
    pub fn walk(&self, root: TreeRoot, owner: Owner, f: &mut dyn FnMut(&Node<'_>)) -> Result<()> {
        let mut seen = HashSet::new();
        let mut todo = vec![(root.block, 0)];
        if root.depth == 0 {
            return Ok(());
        }
        while let Some((at, depth)) = todo.pop() {
            if !seen.insert(at) {
                continue;
            }
            let block = self.block(at)?;
            let node = TreeBlock::of(&block);
            let defect = self.verify(&block, BlockKind::Tree, at, owner);
            f(&Node {
                at,
                depth,
                node,
                defect,
            });
            let level = root.depth - 1 - depth;
            if defect.is_some() || level == 0 || node.level != level {
                continue;
            }
            let children = node.entries().iter().rev();
            todo.extend(children.map(|entry| (DiskBlock(entry.child.get()), depth + 1)));
        }
        Ok(())
    }

    fn tree_extents(&self, root: TreeRoot, owner: Owner) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        self.walk(root, owner, &mut |node| {
            if node.defect.is_none() && node.node.level == 0 {
                extents.extend(node.node.extents().iter().map(|e| e.unpack()));
            }
        })?;
        Ok(extents)
    }

    /// The extents of a hidden file.
    pub fn hidden_extents(&self, root: &FileRoot, owner: Owner) -> Result<Vec<Extent>> {
        match root.tree() {
            Some(tree) => self.tree_extents(tree, owner),
            None => Ok(root.extents().iter().map(|e| e.unpack()).collect()),
        }
    }

    /// The block with the slot of an inode.
    pub fn slot_block(&self, ino: Ino) -> Result<DiskBlock> {
        let none = || Failure::new(format!("there is no inode {ino}"));
        if !self.context.geometry.check_ino(ino) {
            return Err(none());
        }
        let (header, _) = self.header(ino.ag())?;
        let root = &AgHeader::of(&header).inode_file;
        let extents = self.hidden_extents(root, Owner::inode_file(ino.ag()))?;
        extents
            .iter()
            .find_map(|extent| extent.map(ino.file_block()))
            .ok_or_else(none)
    }

    /// The slot of an inode, and what is wrong with it.
    pub fn slot(&self, ino: Ino) -> Result<(InodeSlot, Option<Defect>)> {
        let block = self.block(self.slot_block(ino)?)?;
        let slot = *InodeSlot::of(&block, ino).ok_or_else(|| Failure::new("short block"))?;
        let defect = slot.verify(&self.context, ino).err();
        Ok((slot, defect))
    }

    /// The extents of a file.
    pub fn extents(&self, ino: Ino, slot: &InodeSlot) -> Result<Vec<Extent>> {
        match (slot.data_format(), slot.tree()) {
            (Some(ForkFormat::ExtentTree), Some(root)) => {
                self.tree_extents(root, Owner::inode(ino))
            }
            _ => Ok(slot.extents().iter().map(|e| e.unpack()).collect()),
        }
    }

    /// The entries of a directory, in key order.
    pub fn entries(&self, ino: Ino) -> Result<Vec<Entry>> {
        let (slot, _) = self.slot(ino)?;
        let mut entries = Vec::new();
        match (slot.data_format(), slot.tree()) {
            (Some(ForkFormat::InlineDir), _) => {
                entries.extend(dirent::entries(slot.data()).map(|entry| Entry::of(&entry)));
            }
            (Some(ForkFormat::DirTree), Some(root)) => {
                self.walk(root, Owner::inode(ino), &mut |node| {
                    if node.defect.is_none() && node.node.level == 0 {
                        let found = (0..node.node.count()).filter_map(|n| node.node.dirent(n));
                        entries.extend(found.map(|entry| Entry::of(&entry)));
                    }
                })?;
            }
            _ => return Err(Failure::new(format!("inode {ino} is no directory"))),
        }
        Ok(entries)
    }

    /// The inode of a name in a directory.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Option<Ino>> {
        let hash = hash::name_hash(self.sb.hash_seed.get(), name);
        let entries = self.entries(dir)?;
        Ok(entries
            .iter()
            .find(|entry| hash::key_hash(entry.key) == hash && entry.name == name)
            .map(|entry| entry.ino))
    }

    /// The inode of a path from the root, or of a number. Symlinks are not followed.
    pub fn resolve(&self, path: &[u8]) -> Result<Ino> {
        let text = String::from_utf8_lossy(path);
        if let Ok(number) = text.parse() {
            return Ok(Ino(number));
        }
        let mut at = self.sb.root();
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => at = Ino(self.slot(at)?.0.parent.get()),
                name => {
                    let found = self.lookup(at, name)?;
                    at = found.ok_or_else(|| {
                        Failure::new(format!("{text}: No such file or directory"))
                    })?;
                }
            }
        }
        Ok(at)
    }

    /// Calls `f` with the content of a regular file, piece by piece; holes are zeroes.
    pub fn content(&self, ino: Ino, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (slot, _) = self.slot(ino)?;
        if slot.file_type() != Some(FileType::Regular) {
            return Err(Failure::new(format!("inode {ino} is no regular file")));
        }
        let zeroes = [0; BLOCK_SIZE];
        let size = slot.size.get();
        let mut done = 0;
        let mut put = |upto: u64, data: &[u8]| -> Result<u64> {
            let len = (upto.min(size).saturating_sub(done)).min(data.len() as u64);
            f(&data[..len as usize])?;
            done += len;
            Ok(done)
        };
        for extent in self.extents(ino, &slot)? {
            let start = extent.file.byte().unwrap_or(u64::MAX);
            while put(start, &zeroes)? < start.min(size) {}
            for n in 0..u64::from(extent.len) {
                let end = extent.file.saturating_add(n + 1).byte().unwrap_or(u64::MAX);
                if extent.unwritten {
                    put(end, &zeroes)?;
                } else {
                    put(end, &self.block(extent.disk.saturating_add(n))?[..])?;
                }
            }
        }
        while put(size, &zeroes)? < size {}
        Ok(())
    }

    /// The target of a symlink.
    pub fn target(&self, ino: Ino) -> Result<Vec<u8>> {
        let (slot, _) = self.slot(ino)?;
        match slot.data_format() {
            Some(ForkFormat::InlineSymlink) => Ok(slot.data().to_vec()),
            Some(ForkFormat::InlineExtents) if slot.file_type() == Some(FileType::Symlink) => {
                let mut target = Vec::new();
                for extent in self.extents(ino, &slot)? {
                    for n in 0..u64::from(extent.len).min(2) {
                        let block = self.block(extent.disk.saturating_add(n))?;
                        target.extend_from_slice(SymlinkBlock::of(&block).bytes());
                    }
                }
                Ok(target)
            }
            _ => Err(Failure::new(format!("inode {ino} is no symlink"))),
        }
    }

    /// The place on the device of a block of a file.
    pub fn map(&self, ino: Ino, block: FileBlock) -> Result<Option<DiskBlock>> {
        let (slot, _) = self.slot(ino)?;
        let extents = self.extents(ino, &slot)?;
        Ok(extents.iter().find_map(|extent| extent.map(block)))
    }
}

fn read(dev: &Device, at: DiskBlock) -> Result<Buf> {
    let mut block = Buf::must_zeroed();
    dev.read_block(at.0, &mut block)
        .map_err(|error| Failure::new(format!("block {at} cannot be read: {error:?}")))?;
    Ok(block)
}
