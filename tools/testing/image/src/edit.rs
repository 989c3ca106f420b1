// SPDX-License-Identifier: GPL-2.0

//! A built image, and ways to damage it.

use latchfs_engine::format::{
    header::reseal, units::CHUNK_BLOCKS, AgHeader, AgNumber, Attr, BitmapBlock, Block, Context,
    Dirent, DiskBlock, Extent, FileBlock, FileRoot, Ino, InodeSlot, Lsn, MapBlock, Superblock,
    TreeBlock, BLOCK_SIZE,
};
use latchfs_host::{Block as Buf, Device};

/// A file system in memory.
pub struct Image {
    /// The device.
    pub dev: Device,
    /// What follows from its superblock.
    pub context: Context,
    /// Its superblock as it was built.
    pub sb: Superblock,
}

impl Image {
    /// An image on `dev`.
    pub fn new(dev: Device, context: Context, sb: Superblock) -> Self {
        Self { dev, context, sb }
    }

    /// A copy of a block.
    pub fn block(&self, at: DiskBlock) -> Box<Block> {
        let mut buf = Buf::must_zeroed();
        self.dev.read_block(at.0, &mut buf).expect("on the device");
        let mut block = Box::new([0; BLOCK_SIZE]);
        block.copy_from_slice(&buf[..]);
        block
    }

    /// Writes a block as it is.
    pub fn put(&self, at: DiskBlock, block: &Block) {
        let mut buf = Buf::must_zeroed();
        buf.copy_from_slice(block);
        self.dev.write_block(at.0, &buf).expect("on the device");
    }

    /// Changes the bytes of a block; no checksum is repaired.
    pub fn edit_raw(&self, at: DiskBlock, edit: impl FnOnce(&mut Block)) {
        let mut block = self.block(at);
        edit(&mut block);
        self.put(at, &block);
    }

    /// Changes a block with a header, and repairs its checksum.
    pub fn edit(&self, at: DiskBlock, edit: impl FnOnce(&mut Block)) {
        self.edit_raw(at, |block| {
            edit(block);
            reseal(block, &self.context);
        });
    }

    /// Changes the superblock, and repairs its checksum.
    pub fn edit_superblock(&self, edit: impl FnOnce(&mut Superblock)) {
        self.edit_raw(DiskBlock(0), |block| {
            let mut sb = *Superblock::of(block).expect("a block is long enough");
            edit(&mut sb);
            sb.seal(DiskBlock(0));
            sb.store(block);
        });
    }

    /// Block of the header of a group.
    pub fn header_block(&self, ag: u32) -> DiskBlock {
        let ag = AgNumber(ag);
        self.context
            .geometry
            .header_block(ag)
            .expect("no such group")
    }

    /// Changes the header of a group.
    pub fn edit_header(&self, ag: u32, edit: impl FnOnce(&mut AgHeader)) {
        self.edit(self.header_block(ag), |block| edit(AgHeader::of_mut(block)));
    }

    /// Changes a bitmap block, and repairs its count.
    pub fn edit_bitmap(&self, ag: u32, index: u32, edit: impl FnOnce(&mut BitmapBlock)) {
        let at = self.context.geometry.bitmap_block(AgNumber(ag), index);
        self.edit(at.expect("no such bitmap"), |block| {
            let bitmap = BitmapBlock::of_mut(block);
            edit(bitmap);
            bitmap.free.set(bitmap.count_free());
        });
    }

    /// The block of inode map block `index`.
    pub fn map_block(&self, ag: u32, index: u32) -> DiskBlock {
        let block = self.block(self.header_block(ag));
        self.hidden(&AgHeader::of(&block).inode_map, u64::from(index))
    }

    /// Changes an inode map block, and repairs its counts.
    pub fn edit_map(&self, ag: u32, index: u32, edit: impl FnOnce(&mut MapBlock)) {
        self.edit(self.map_block(ag, index), |block| {
            let map = MapBlock::of_mut(block);
            edit(map);
            let (present, free, orphans) = map.count();
            map.present.set(present as u16);
            map.free.set(free as u16);
            map.orphans.set(orphans as u16);
        });
    }

    /// First block of a chunk.
    pub fn chunk_block(&self, ag: u32, chunk: u32) -> DiskBlock {
        let block = self.block(self.header_block(ag));
        let first = u64::from(chunk * CHUNK_BLOCKS);
        self.hidden(&AgHeader::of(&block).inode_file, first)
    }

    /// Where a hidden file has a block.
    fn hidden(&self, root: &FileRoot, block: u64) -> DiskBlock {
        let mut extents: Vec<Extent> = root.extents().iter().map(|e| e.unpack()).collect();
        if let Some(tree) = root.tree() {
            for leaf in self.leaves(tree.block) {
                let leaf = self.block(leaf);
                extents.extend(TreeBlock::of(&leaf).extents().iter().map(|e| e.unpack()));
            }
        }
        let found = extents.iter().find_map(|e| e.map(FileBlock(block)));
        found.expect("a hole in a hidden file")
    }

    /// The block with the slot of an inode.
    pub fn slot_block(&self, ino: Ino) -> DiskBlock {
        let chunk = self.chunk_block(ino.ag().0, ino.chunk());
        chunk.saturating_add(u64::from(ino.chunk_bit() / 8))
    }

    /// The slot of an inode.
    pub fn slot(&self, ino: Ino) -> InodeSlot {
        let block = self.block(self.slot_block(ino));
        *InodeSlot::of(&block, ino).expect("in the block")
    }

    /// Changes the slot of an inode, and repairs its checksum.
    pub fn edit_slot(&self, ino: Ino, edit: impl FnOnce(&mut InodeSlot)) {
        self.edit_raw(self.slot_block(ino), |block| {
            let slot = InodeSlot::of_mut(block, ino).expect("in the block");
            edit(slot);
            slot.seal(&self.context, Lsn(slot.lsn.get()));
        });
    }

    /// Root node of the tree of an inode.
    pub fn tree(&self, ino: Ino) -> DiskBlock {
        self.slot(ino).tree().expect("no tree").block
    }

    /// Root node of the tree of an inode's attributes.
    pub fn attr_tree(&self, ino: Ino) -> DiskBlock {
        self.slot(ino).attr_tree().expect("no tree").block
    }

    /// Blocks of the value of an attribute in a tree, and the key of the attribute.
    pub fn attr_value(&self, ino: Ino, name: &[u8]) -> (u64, Vec<DiskBlock>) {
        for leaf in self.leaves(self.attr_tree(ino)) {
            let block = self.block(leaf);
            let node = TreeBlock::of(&block);
            for n in 0..node.count() {
                let attr = node.attr(n).expect("an attribute");
                if attr.name == name {
                    let blocks = attr.runs().flat_map(|run| {
                        (0..u64::from(run.len)).map(move |n| run.start.saturating_add(n))
                    });
                    return (attr.key, blocks.collect());
                }
            }
        }
        panic!("no such attribute");
    }

    /// Changes the record of an attribute in place, in leaf or inode. `edit` gets its bytes.
    pub fn edit_attr(&self, ino: Ino, name: &[u8], edit: impl FnOnce(&mut [u8])) {
        let slot = self.slot(ino);
        if slot.attr_tree().is_none() {
            return self.edit_slot(ino, |slot| {
                let mut at = usize::from(slot.attr_off.get());
                while let Some((attr, _)) = Attr::parse(&slot.literal[at..]) {
                    let len = attr.record_len();
                    if attr.name == name {
                        edit(&mut slot.literal[at..at + len]);
                        return;
                    }
                    at += len;
                }
                panic!("no such attribute");
            });
        }
        for leaf in self.leaves(self.attr_tree(ino)) {
            let block = self.block(leaf);
            let node = TreeBlock::of(&block);
            for n in 0..node.count() {
                let attr = node.attr(n).expect("an attribute");
                if attr.name == name {
                    let (at, len) = (node.slot(n).expect("a slot"), attr.record_len());
                    return self.edit(leaf, |block| edit(&mut block[at..at + len]));
                }
            }
        }
        panic!("no such attribute");
    }

    /// Leaves below a node, in key order.
    pub fn leaves(&self, node: DiskBlock) -> Vec<DiskBlock> {
        let block = self.block(node);
        let node_ref = TreeBlock::of(&block);
        if node_ref.level == 0 {
            return vec![node];
        }
        let children = node_ref.entries().iter();
        children
            .flat_map(|entry| self.leaves(DiskBlock(entry.child.get())))
            .collect()
    }

    /// Changes a tree node.
    pub fn edit_node(&self, at: DiskBlock, edit: impl FnOnce(&mut TreeBlock)) {
        self.edit(at, |block| edit(TreeBlock::of_mut(block)));
    }

    /// Changes an entry of a directory in place: leaf or inline area, and the offset of the entry's
    /// bytes there. `edit` gets the bytes of the record.
    pub fn edit_dirent(&self, dir: Ino, name: &[u8], edit: impl FnOnce(&mut [u8])) {
        let slot = self.slot(dir);
        if slot.tree().is_none() {
            return self.edit_slot(dir, |slot| {
                let mut at = 0;
                while at < slot.data().len() {
                    let (entry, _) = Dirent::parse(&slot.literal[at..]).expect("an entry");
                    let len = entry.len();
                    if entry.name == name {
                        edit(&mut slot.literal[at..at + len]);
                        return;
                    }
                    at += len;
                }
                panic!("no such entry");
            });
        }
        for leaf in self.leaves(self.tree(dir)) {
            let block = self.block(leaf);
            let node = TreeBlock::of(&block);
            for n in 0..node.count() {
                let entry = node.dirent(n).expect("an entry");
                if entry.name == name {
                    let (at, len) = (node.slot(n).expect("a slot"), entry.len());
                    return self.edit(leaf, |block| edit(&mut block[at..at + len]));
                }
            }
        }
        panic!("no such entry");
    }
}
