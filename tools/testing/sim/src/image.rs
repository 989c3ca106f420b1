// SPDX-License-Identifier: GPL-2.0

//! Contents of a disk, copy on write.
//!
//! A [`Base`] is made once and shared; an [`Image`] is what differs from it. Copying an image copies
//! pointers, so tens of thousands of crash states cost little more than what they change.

use latchfs_engine::{
    engine::{mount::MountOpts, Mount},
    format::{
        make::{make, MakeParams},
        DiskBlock, Geometry, Superblock,
    },
};
use latchfs_host::{
    device::{Backend, MemDisk},
    Block, Device,
};
use std::{cell::RefCell, sync::Arc};

/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// Bytes of a sector: what a disk writes completely or not at all.
pub const SECTOR: usize = 512;

/// All sectors of a block.
pub const WHOLE: u8 = 0xff;

/// What the disk is filled with before mkfs. No operation writes this byte.
pub const POISON: u8 = 0xee;

/// A block.
pub type Bytes = [u8; BLOCK];

/// A file system that runs begin with.
pub struct Base {
    blocks: Vec<Option<Box<Bytes>>>,
    /// Where things are.
    pub geometry: Geometry,
}

/// Which file system to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BaseKind {
    /// Empty.
    Empty,
    /// Nearly full: a file has all but a few hundred blocks.
    Full,
}

impl Base {
    /// Makes a file system of the smallest size, with the smallest log, on a disk full of poison.
    pub fn new(kind: BaseKind) -> Self {
        let blocks = 4096;
        let usual = Geometry::for_device(blocks, None).expect("a legal size");
        let log = latchfs_engine::format::limits::MIN_LOG_BLOCKS;
        let geometry = Geometry::new(
            usual.block_count(),
            usual.ag_blocks(),
            usual.ag_count(),
            usual.log().start,
            log.min(usual.log().len),
        )
        .expect("a smaller log fits, too");
        let disk = Arc::new(MemDisk::new(blocks));
        for at in 0..blocks {
            disk.write(at, &[POISON; BLOCK]).expect("memory");
        }
        mkfs(&Device::new(disk.clone(), false), &geometry);
        if kind == BaseKind::Full {
            fill(&disk);
        }
        let written = disk.snapshot();
        let blocks = (0..blocks)
            .map(|at| {
                let block = written.get(&at)?;
                block
                    .iter()
                    .any(|b| *b != POISON)
                    .then(|| Box::new(**block))
            })
            .collect();
        Self { blocks, geometry }
    }

    /// Blocks of the disk.
    pub fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn read(&self, at: usize, to: &mut Bytes) {
        match &self.blocks[at] {
            Some(block) => to.copy_from_slice(&block[..]),
            None => to.fill(POISON),
        }
    }
}

fn mkfs(dev: &Device, geometry: &Geometry) {
    let params = MakeParams {
        uuid: [1; 16],
        instance: 0x0102_0304_0506_0708,
        hash_seed: 42,
        label: b"sim",
        now: (0, 0),
        uid: 0,
        gid: 0,
        root_mode: 0o755,
        root_generation: 1,
    };
    let mut scratch = Block::try_zeroed().expect("memory");
    let out = RefCell::new(Block::try_zeroed().expect("memory"));
    make(
        geometry,
        &params,
        &mut scratch,
        &mut |at: DiskBlock, block: &_| {
            let mut out = out.borrow_mut();
            out.copy_from_slice(&block[..]);
            dev.write_block(at.0, &out)
        },
    )
    .expect("mkfs");
}

/// Takes most of the space away.
fn fill(disk: &Arc<MemDisk>) {
    let dev = Device::new(disk.clone(), false);
    let m = Mount::open(dev, MountOpts::default()).expect("mount");
    {
        let root = latchfs_engine::engine::inode::iget(&m, m.root_ino()).expect("root");
        let new = latchfs_engine::engine::namespace::NewInode {
            mode: 0o100600,
            ..Default::default()
        };
        let inode =
            latchfs_engine::engine::namespace::create(&m, &root, b"balloon", &new).expect("create");
        let file = latchfs_pagecache::File::over(m.clone(), inode);
        let take = m.alloc().available().saturating_sub(300);
        let piece = vec![0x11; 64 * BLOCK];
        for n in 0..take / 64 {
            file.write(n * piece.len() as u64, &piece).expect("write");
        }
        file.close();
    }
    m.unmount().expect("unmount");
}

/// A disk's content.
#[derive(Clone)]
pub struct Image {
    /// What it was in the beginning.
    pub base: Arc<Base>,
    over: Vec<Option<Arc<Bytes>>>,
}

impl Image {
    /// The content of `base`.
    pub fn new(base: Arc<Base>) -> Self {
        let over = vec![None; base.blocks.len()];
        Self { base, over }
    }

    /// Lets the log of an unmounted file system go on `blocks` blocks later.
    pub fn begin_log(&mut self, blocks: u64) {
        let mut block = [0; BLOCK];
        self.read(0, &mut block);
        let mut sb = *Superblock::of(&block).expect("a superblock");
        sb.lsn.set(sb.lsn.get() + blocks * BLOCK as u64);
        sb.seal(DiskBlock(0));
        sb.store(&mut block);
        self.write(0, &Arc::new(block), WHOLE);
    }

    /// Blocks of the disk.
    pub fn blocks(&self) -> u64 {
        self.base.blocks()
    }

    /// Reads a block that exists.
    pub fn read(&self, at: u64, to: &mut Bytes) {
        match &self.over[at as usize] {
            Some(block) => to.copy_from_slice(&block[..]),
            None => self.base.read(at as usize, to),
        }
    }

    /// Writes those sectors of a block that are set in `mask`.
    pub fn write(&mut self, at: u64, data: &Arc<Bytes>, mask: u8) {
        if mask == WHOLE {
            self.over[at as usize] = Some(data.clone());
            return;
        }
        let mut block = [0; BLOCK];
        self.read(at, &mut block);
        for n in 0..BLOCK / SECTOR {
            if mask & (1 << n) != 0 {
                let range = n * SECTOR..(n + 1) * SECTOR;
                block[range.clone()].copy_from_slice(&data[range]);
            }
        }
        self.over[at as usize] = Some(Arc::new(block));
    }
}
