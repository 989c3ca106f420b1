// SPDX-License-Identifier: GPL-2.0

//! The mutator.

use std::collections::BTreeMap;

use latchfs_engine::format::{
    btree::NodeEntry, extent::ExtentRecord, Block, DiskBlock, Extent, FileBlock, TreeBlock,
    TreeKind, BLOCK_SIZE,
};

use crate::base::{Base, Kind};
use crate::rng::Rng;

/// The blocks that differ from the base.
pub type Patch = BTreeMap<u64, Box<Block>>;

/// Kinds and how often each is picked: what others hang on more often.
const KINDS: &[Kind] = &[
    Kind::Super,
    Kind::Header,
    Kind::Header,
    Kind::Bitmap,
    Kind::Map,
    Kind::Map,
    Kind::Inodes,
    Kind::Inodes,
    Kind::Inodes,
    Kind::Inodes,
    Kind::Tree,
    Kind::Tree,
    Kind::Tree,
    Kind::Tree,
    Kind::Symlink,
    Kind::Value,
    Kind::Log,
    Kind::LogBlock,
    Kind::LogBlock,
    Kind::LogBlock,
    Kind::LogBlock,
    Kind::LogBlock,
];

/// Values at which code breaks.
const EDGES: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    63,
    64,
    127,
    128,
    250,
    252,
    255,
    256,
    319,
    320,
    321,
    511,
    512,
    4095,
    4096,
    32255,
    32256,
    32257,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 48,
    1 << 51,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// The damaged image of number `seed`.
pub fn mutate(base: &Base, seed: u64) -> Patch {
    let mut m = Mutator {
        base,
        rng: Rng::new(seed),
        patch: Patch::new(),
    };
    for _ in 0..1 + m.rng.below(3) {
        m.step();
    }
    m.patch
}

struct Mutator<'a> {
    base: &'a Base,
    rng: Rng,
    patch: Patch,
}

impl Mutator<'_> {
    /// One piece of damage.
    fn step(&mut self) {
        match self.rng.below(18) {
            0 => self.flip(false),
            1 | 2 => self.flip(true),
            3 => self.copy_block(),
            4 | 5 => self.child(),
            6 | 7 => self.extent(),
            8 => self.smear(),
            9 => self.records(TreeKind::Dirents),
            10 | 11 => self.records(TreeKind::Attrs),
            _ => self.field(),
        }
    }

    /// A block of a random kind: where, what, content.
    fn pick(&mut self) -> (u64, Kind, Box<Block>) {
        loop {
            let kind = *self.rng.pick(KINDS);
            if let Some((at, block)) = self.pick_of(kind) {
                return (at, kind, block);
            }
        }
    }

    fn pick_of(&mut self, kind: Kind) -> Option<(u64, Box<Block>)> {
        let at = *self.rng.pick(self.base.kinds.get(&kind)?);
        let block = self.patch.get(&at).cloned();
        Some((at, block.unwrap_or_else(|| self.base.block(at))))
    }

    fn put(&mut self, at: u64, kind: Kind, mut block: Box<Block>, seal: bool) {
        if seal {
            self.base.seal(kind, at, &mut block);
        }
        self.patch.insert(at, block);
    }

    /// Random bytes anywhere in a block.
    fn flip(&mut self, seal: bool) {
        let (at, kind, mut block) = self.pick();
        for _ in 0..1 + self.rng.below(8) {
            let byte = self.rng.below(BLOCK_SIZE);
            block[byte] = self.rng.draw() as u8;
        }
        self.put(at, kind, block, seal);
    }

    /// A run of one byte: an erased or doubled piece of a block.
    fn smear(&mut self) {
        let (at, kind, mut block) = self.pick();
        let start = self.rng.below(BLOCK_SIZE);
        let len = 1 + self.rng.below(600);
        let value = *self.rng.pick(&[0, 0xff, 1, 0x55]);
        let end = (start + len).min(BLOCK_SIZE);
        block[start..end].fill(value);
        self.put(at, kind, block, true);
    }

    /// A legal field gets an illegal value, and the checksum is right.
    fn field(&mut self) {
        let (at, kind, mut block) = self.pick();
        for _ in 0..1 + self.rng.below(2) {
            let (offset, len) = self.place(kind);
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&block[offset..offset + len]);
            let old = u64::from_le_bytes(bytes);
            let value = self.value(old);
            block[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        let seal = !self.rng.one_in(20);
        self.put(at, kind, block, seal);
    }

    /// Offset and size of a field of a block.
    fn place(&mut self, kind: Kind) -> (usize, usize) {
        let n = |rng: &mut Rng, n| rng.below(n);
        match kind {
            Kind::Super => *self.rng.pick(&[
                (12, 2),
                (14, 2),
                (32, 8),
                (40, 8),
                (48, 8),
                (56, 4),
                (60, 4),
                (64, 8),
                (72, 8),
                (80, 8),
                (88, 8),
                (96, 8),
                (104, 4),
                (108, 1),
                (109, 1),
                (110, 2),
                (112, 8),
                (120, 8),
                (128, 8),
                (136, 8),
                (236, 4),
                (304, 8),
                (312, 8),
            ]),
            Kind::Header => match n(&mut self.rng, 4) {
                0 => (40 + 4 * n(&mut self.rng, 9), 4),
                1 => (3968, 4),
                _ => {
                    let root = *self.rng.pick(&[128, 296]);
                    *self.rng.pick(&[
                        (root, 1),
                        (root + 1, 1),
                        (root + 2, 2),
                        (root + 8, 8),
                        (root + 16, 8),
                        (root + 24, 8),
                        (root + 32, 8),
                    ])
                }
            },
            Kind::Bitmap => *self
                .rng
                .pick(&[(40, 4), (44, 4), (64, 8), (200, 8), (400, 8)]),
            Kind::Map => match n(&mut self.rng, 3) {
                0 => *self.rng.pick(&[(40, 4), (44, 2), (46, 2), (48, 2)]),
                1 => (64 + n(&mut self.rng, 32), 1),
                _ => (96 + 8 * n(&mut self.rng, 12), 8),
            },
            Kind::Inodes => {
                let slot = 512 * n(&mut self.rng, 8);
                let (offset, len) = match n(&mut self.rng, 3) {
                    0 => (192 + 8 * n(&mut self.rng, 40), 8),
                    _ => *self.rng.pick(&[
                        (16, 8),
                        (32, 4),
                        (36, 2),
                        (38, 1),
                        (39, 1),
                        (52, 4),
                        (56, 8),
                        (64, 8),
                        (104, 4),
                        (120, 8),
                        (128, 8),
                        (136, 8),
                        (144, 4),
                        (148, 4),
                        (152, 2),
                        (154, 1),
                        (155, 1),
                        (156, 2),
                        (158, 2),
                        (160, 8),
                        (168, 8),
                        (176, 4),
                    ]),
                };
                (slot + offset, len)
            }
            Kind::Tree => match n(&mut self.rng, 4) {
                0 => *self
                    .rng
                    .pick(&[(40, 1), (41, 1), (42, 2), (44, 2), (46, 2), (48, 2)]),
                1 => (64 + 2 * n(&mut self.rng, 20), 2),
                2 => (64 + 8 * n(&mut self.rng, 12), 8),
                _ => (BLOCK_SIZE - 8 - n(&mut self.rng, 200), 8),
            },
            Kind::Symlink => *self.rng.pick(&[(40, 4), (44, 4), (64, 8)]),
            Kind::Value => *self
                .rng
                .pick(&[(24, 8), (40, 8), (48, 4), (52, 4), (64, 8)]),
            Kind::Log => *self.rng.pick(&[(40, 2), (44, 4), (48, 8), (56, 8)]),
            // Heads of blocks, and heads of records wherever they are: all is in steps of 8.
            Kind::LogBlock => match n(&mut self.rng, 3) {
                0 => *self.rng.pick(&[(8, 8), (16, 8), (24, 4), (28, 2), (30, 2)]),
                1 => (32 + 4 * n(&mut self.rng, 40), 4),
                _ => (32 + 8 * n(&mut self.rng, 508), 8),
            },
            Kind::Data => (0, 8),
        }
    }

    /// A value that is not `old`.
    fn value(&mut self, old: u64) -> u64 {
        match self.rng.below(8) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => old ^ (1 << self.rng.below(64)),
            3 => self.some_block(),
            4 => self.rng.draw(),
            5 => self.rng.draw() >> self.rng.below(64),
            _ => *self.rng.pick(EDGES),
        }
    }

    /// The number of some block in use.
    fn some_block(&mut self) -> u64 {
        let kind = *self.rng.pick(KINDS);
        match self.base.kinds.get(&kind) {
            Some(blocks) => *self.rng.pick(blocks),
            None => 0,
        }
    }

    /// A block takes the place of another one; sometimes it says that it belongs there.
    fn copy_block(&mut self) {
        let (from, kind, mut block) = self.pick();
        let (to, ..) = self.pick();
        if self.rng.one_in(2) && kind != Kind::Super && kind != Kind::Inodes {
            block[16..24].copy_from_slice(&to.to_le_bytes());
        }
        let _ = from;
        self.put(to, kind, block, true);
    }

    /// A child of a tree is an ancestor, a sibling, a node of another tree, or nothing.
    fn child(&mut self) {
        for _ in 0..50 {
            let Some((at, mut block)) = self.pick_of(Kind::Tree) else {
                return;
            };
            let node = TreeBlock::of_mut(&mut block);
            let count = node.entries().len();
            if node.level == 0 || count == 0 {
                continue;
            }
            let n = self.rng.below(count);
            let target = match self.rng.below(4) {
                0 => at,
                1 => node
                    .entries()
                    .get(self.rng.below(count))
                    .map_or(0, |e: &NodeEntry| e.child.get()),
                2 => self.value(at),
                _ => match self.base.kinds.get(&Kind::Tree) {
                    Some(trees) => *self.rng.pick(trees),
                    None => 0,
                },
            };
            let offset = n * 16 + 8;
            node.body[offset..offset + 8].copy_from_slice(&target.to_le_bytes());
            if self.rng.one_in(4) {
                node.level = self.rng.below(9) as u8;
            }
            return self.put(at, Kind::Tree, block, true);
        }
    }

    /// An extent outside the device, in static metadata, over something else, or absurdly long.
    fn extent(&mut self) {
        let extent = Extent {
            file: FileBlock(match self.rng.below(3) {
                0 => 0,
                1 => self.rng.below(1000) as u64,
                _ => *self.rng.pick(EDGES),
            }),
            disk: DiskBlock(match self.rng.below(4) {
                0 => self.rng.below(20) as u64,
                1 => self.base.size.wrapping_sub(self.rng.below(40) as u64),
                2 => self.some_block(),
                _ => self.rng.draw() & ((1 << 48) - 1),
            }),
            len: 1 + self.rng.below(32256) as u32 / (1 + self.rng.below(4096) as u32),
            unwritten: self.rng.one_in(4),
        };
        let Some(record) = extent.pack() else {
            return;
        };
        let (file, packed) = (record.file_block.get(), record.packed.get());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&file.to_le_bytes());
        bytes[8..].copy_from_slice(&packed.to_le_bytes());
        match self.rng.below(4) {
            0 => {
                let Some((at, mut block)) = self.pick_of(Kind::Header) else {
                    return;
                };
                let root = *self.rng.pick(&[128 + 8, 296 + 8]) + 16 * self.rng.below(2);
                block[root..root + 16].copy_from_slice(&bytes);
                self.put(at, Kind::Header, block, true);
            }
            1 => {
                let Some((at, mut block)) = self.pick_of(Kind::Tree) else {
                    return;
                };
                let node = TreeBlock::of_mut(&mut block);
                if node.level == 0 && node.kind == TreeKind::Extents as u8 {
                    let n = self.rng.below(node.count().min(200));
                    let records: &[ExtentRecord] = node.extents();
                    if n < records.len() {
                        node.body[n * 16..n * 16 + 16].copy_from_slice(&bytes);
                    }
                }
                self.put(at, Kind::Tree, block, true);
            }
            _ => {
                let Some((at, mut block)) = self.pick_of(Kind::Inodes) else {
                    return;
                };
                let slot = 512 * self.rng.below(8);
                let n = self.rng.below(4);
                let offset = slot + 192 + n * 16;
                block[offset..offset + 16].copy_from_slice(&bytes);
                if self.rng.one_in(2) {
                    block[slot + 38] = 1;
                    let len = (n as u16 + 1) * 16;
                    block[slot + 152..slot + 154].copy_from_slice(&len.to_le_bytes());
                }
                self.put(at, Kind::Inodes, block, true);
            }
        }
    }

    /// Entries of a directory leaf all get the same hash, another inode or another type; attributes
    /// another length, name space or number of runs, or other blocks.
    fn records(&mut self, kind: TreeKind) {
        for _ in 0..50 {
            let Some((at, mut block)) = self.pick_of(Kind::Tree) else {
                return;
            };
            let node = TreeBlock::of(&block);
            if node.level != 0 || node.kind != kind as u8 {
                continue;
            }
            let slots: Vec<usize> = (0..node.count()).filter_map(|n| node.slot(n)).collect();
            let what = self.rng.below(4);
            let ino = self.value(2);
            let other = (self.value(20), self.rng.below(20) as u8);
            let key = self.rng.draw() >> 1 & !0xffff;
            for (n, offset) in slots.into_iter().enumerate() {
                let Some(record) = block.get_mut(offset..) else {
                    continue;
                };
                if record.len() < 24 {
                    continue;
                }
                if kind == TreeKind::Attrs && self.rng.one_in(2) {
                    // Where the runs of a value begin, if it has any.
                    let runs = 16 + usize::from(record[13]);
                    match (what, record.get_mut(runs..runs + 8)) {
                        (0, _) => record[8..12].copy_from_slice(&other.0.to_le_bytes()[..4]),
                        (1, _) => record[12] = other.1,
                        (2, Some(run)) => run[..6].copy_from_slice(&other.0.to_le_bytes()[..6]),
                        (2, None) => record[15] = 1,
                        _ => record[14] = other.1,
                    }
                    continue;
                }
                match what {
                    0 => record[..8].copy_from_slice(&(key + n as u64).to_le_bytes()),
                    1 => record[8..16].copy_from_slice(&ino.to_le_bytes()),
                    2 => record[16] = 2,
                    _ => record[17] = record[17].wrapping_add(1),
                }
                if what == 3 {
                    break;
                }
            }
            return self.put(at, Kind::Tree, block, true);
        }
    }
}
