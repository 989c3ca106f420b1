// SPDX-License-Identifier: GPL-2.0

//! The sound image that the others are made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use latchfs_engine::format::{
    header::reseal, inode::INODE_MAGIC, log::block::LOG_BLOCK_MAGIC, Block, BlockHeader, BlockKind,
    Context, DiskBlock, InodeSlot, Lsn, Superblock, BLOCK_SIZE,
};
use latchfs_host::{Block as Buf, Device};

/// What a block of the base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Superblock or copy.
    Super,
    /// AG header.
    Header,
    /// Bitmap.
    Bitmap,
    /// Inode map.
    Map,
    /// Inode slots.
    Inodes,
    /// Tree node.
    Tree,
    /// Symlink target.
    Symlink,
    /// Part of an attribute's value.
    Value,
    /// Log header.
    Log,
    /// Block of the log's body.
    LogBlock,
    /// File content.
    Data,
}

/// A sound image in pieces.
pub struct Base {
    /// All blocks that are not zero.
    pub blocks: Arc<BTreeMap<u64, Box<Block>>>,
    /// Blocks of each kind.
    pub kinds: BTreeMap<Kind, Vec<u64>>,
    /// What follows from the superblock.
    pub context: Context,
    /// Blocks of the device.
    pub size: u64,
}

impl Base {
    /// Takes a device apart. Panics if it has no latchfs.
    pub fn new(dev: &Device) -> Self {
        let mut blocks = BTreeMap::new();
        let mut buf = Buf::must_zeroed();
        for at in 0..dev.blocks() {
            dev.read_block(at, &mut buf).expect("the base can be read");
            if buf.iter().any(|byte| *byte != 0) {
                let mut block = Box::new([0; BLOCK_SIZE]);
                block.copy_from_slice(&buf[..]);
                blocks.insert(at, block);
            }
        }
        let sb = Superblock::of(&blocks[&0][..]).expect("a block is long enough");
        let context = sb.verify(DiskBlock(0)).expect("the base is a latchfs");
        let mut kinds: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
        for (at, block) in &blocks {
            kinds.entry(kind_of(block)).or_default().push(*at);
        }
        Self {
            blocks: Arc::new(blocks),
            kinds,
            context,
            size: dev.blocks(),
        }
    }

    /// The sample of `latchfs-image`.
    pub fn sample() -> Self {
        Self::new(&latchfs_image::sample().image.dev)
    }

    /// The same after a crash: most of what is new is in the log only.
    pub fn crashed() -> Self {
        let dev = latchfs_image::sample().image.dev;
        latchfs_image::crash(&dev);
        Self::new(&dev)
    }

    /// A copy of a block.
    pub fn block(&self, at: u64) -> Box<Block> {
        match self.blocks.get(&at) {
            Some(block) => block.clone(),
            None => Box::new([0; BLOCK_SIZE]),
        }
    }

    /// Repairs the checksums of a block that was `kind` in the base.
    pub fn seal(&self, kind: Kind, at: u64, block: &mut Block) {
        match kind {
            Kind::Super => {
                let Some(mut sb) = Superblock::of(block).copied() else {
                    return;
                };
                let own = sb.block.get();
                sb.seal(DiskBlock(own));
                sb.store(block);
            }
            Kind::Inodes => {
                for n in 0..8 {
                    let ino = latchfs_engine::format::Ino(n);
                    if let Some(slot) = InodeSlot::of_mut(block, ino) {
                        slot.seal(&self.context, Lsn(slot.lsn.get()));
                    }
                }
            }
            Kind::Data => {}
            _ => reseal(block, &self.context),
        }
        let _ = at;
    }
}

fn kind_of(block: &Block) -> Kind {
    if Superblock::is_latchfs(block) {
        return Kind::Super;
    }
    let magic = BlockHeader::of(block).magic.get();
    if magic == INODE_MAGIC {
        return Kind::Inodes;
    }
    if magic == LOG_BLOCK_MAGIC {
        return Kind::LogBlock;
    }
    for (kind, result) in [
        (BlockKind::AgHeader, Kind::Header),
        (BlockKind::Bitmap, Kind::Bitmap),
        (BlockKind::InodeMap, Kind::Map),
        (BlockKind::Tree, Kind::Tree),
        (BlockKind::Symlink, Kind::Symlink),
        (BlockKind::AttrValue, Kind::Value),
        (BlockKind::Log, Kind::Log),
    ] {
        if kind.magic() == Some(magic) {
            return result;
        }
    }
    Kind::Data
}
