// SPDX-License-Identifier: GPL-2.0

//! Recovery from logs made by hand.

mod hostile;
mod interrupted;
mod replay;
mod scan;
mod search;

use super::*;
use crate::{
    engine::testing::Fixture,
    format::{
        header::{BlockKind, Owner},
        inode::InodeSlot,
        log::{
            block::LogBlock, block_at, body_bytes, encode::Encoder, first_lsn, record::LOG_CHUNK,
        },
        units::{AgNumber, Block as Bytes, BlockRange, DiskBlock, BLOCK_SIZE},
        SymlinkBlock,
    },
    sys::{
        device::{Backend, MemDisk},
        Arc,
    },
};
use std::vec::Vec;
use zerocopy::little_endian::{U32, U64};

/// Epoch of the mount that crashed.
const EPOCH: u32 = 5;
const OWNER: Owner = Owner::inode(Ino(77));

/// A file system after a crash, and what is in its log.
struct World {
    disk: Arc<MemDisk>,
    dev: Device,
    context: Context,
    /// Where the next checkpoint goes.
    next: Lsn,
    seq: u64,
    epoch: u32,
    /// Tail in the next commit record; [`None`]: the checkpoint itself.
    tail: Option<Lsn>,
}

/// A checkpoint as it would be written.
struct Checkpoint {
    start: Lsn,
    blocks: Vec<Bytes>,
}

impl Checkpoint {
    fn end(&self) -> Lsn {
        self.start
            .saturating_add((self.blocks.len() * BLOCK_SIZE) as u64)
    }
}

impl World {
    /// The log begins `offset` blocks into its body.
    fn at(offset: u64) -> Self {
        let disk = Fixture::disk(8192, None);
        let dev = Device::new(disk.clone(), false);
        let mut block = Block::try_zeroed().unwrap();
        dev.read_block(0, &mut block).unwrap();
        let sb = Superblock::of_mut(block.as_mut_slice()).unwrap();
        let context = sb.verify(DiskBlock(0)).unwrap();
        let next = first_lsn(context.geometry.log().len).saturating_add(offset * BLOCK_SIZE as u64);
        sb.state = U16::new(0);
        sb.mount_count = U32::new(EPOCH);
        sb.lsn = U64::new(next.get());
        sb.seal(DiskBlock(0));
        dev.write_block(0, &block).unwrap();
        Self {
            disk,
            dev,
            context,
            next,
            seq: 0,
            epoch: EPOCH,
            tail: None,
        }
    }

    fn new() -> Self {
        Self::at(0)
    }

    fn sb(&self) -> Superblock {
        *Superblock::of(self.read(DiskBlock(0)).as_slice()).unwrap()
    }

    fn read(&self, at: DiskBlock) -> Box<Bytes> {
        let mut bytes = Box::new([0; BLOCK_SIZE]);
        self.disk.read(at.get(), &mut bytes).unwrap();
        bytes
    }

    fn write(&self, at: DiskBlock, bytes: &Bytes) {
        self.disk.write(at.get(), bytes).unwrap();
    }

    /// A block that can be allocated, the `n`-th.
    fn place(&self, n: u32) -> DiskBlock {
        let ag = AgNumber(1);
        let at = self.context.geometry.head_end(ag).saturating_add(n);
        self.context.geometry.disk_block(ag, at).unwrap()
    }

    /// The next checkpoint, not written yet.
    fn checkpoint(&mut self, fill: impl FnOnce(&mut Encoder<'_, [Bytes]>)) -> Checkpoint {
        let mut blocks = std::vec![[0xee; BLOCK_SIZE]; 200];
        let mut encoder = Encoder::new(blocks.as_mut_slice());
        fill(&mut encoder);
        self.seq += 1;
        let start = self.next;
        let commit = CommitBody {
            seq: U64::new(self.seq),
            tail: U64::new(self.tail.unwrap_or(start).get()),
            free_blocks: U64::new(1000 + self.seq),
            inodes: U64::new(640),
            free_inodes: U64::new(600),
            orphans: U64::new(self.seq.min(40)),
            ..CommitBody::default()
        };
        let n = encoder
            .finish(&self.context, start, self.epoch, commit)
            .unwrap();
        blocks.truncate(n as usize);
        let checkpoint = Checkpoint { start, blocks };
        self.next = checkpoint.end();
        checkpoint
    }

    /// Writes block `n` of a checkpoint where it belongs.
    fn write_part(&self, checkpoint: &Checkpoint, n: usize) {
        let lsn = checkpoint.start.saturating_add((n * BLOCK_SIZE) as u64);
        let at = block_at(self.context.geometry.log(), lsn);
        self.write(at, &checkpoint.blocks[n]);
    }

    /// The next checkpoint, written.
    fn log(&mut self, fill: impl FnOnce(&mut Encoder<'_, [Bytes]>)) -> Lsn {
        let checkpoint = self.checkpoint(fill);
        for n in 0..checkpoint.blocks.len() {
            self.write_part(&checkpoint, n);
        }
        checkpoint.start
    }

    /// From now on commit records name the checkpoint at `tail` as oldest.
    fn keep(&mut self, tail: Lsn) {
        self.tail = Some(tail);
    }

    fn find(&self) -> Result<Live> {
        Live::find(&self.dev, &self.context, &self.sb())
    }

    fn recover(&self) -> Result<Recovered> {
        recover(&self.dev, &self.context, &self.sb())
    }

    /// Reads only what [`Self::put`] wrote.
    fn text(&self, at: DiskBlock) -> Vec<u8> {
        let block = self.read(at);
        let checked =
            crate::format::verify_block(&block, BlockKind::Symlink, &self.context, at, Some(OWNER));
        checked.unwrap();
        SymlinkBlock::of(&block).bytes().to_vec()
    }

    /// A symlink block with this content, as of `lsn`.
    fn image(&self, at: DiskBlock, text: &[u8], lsn: Lsn) -> Box<Bytes> {
        let mut block = Box::new([0; BLOCK_SIZE]);
        SymlinkBlock::format(&mut block, &self.context, at, OWNER, 0, text);
        crate::format::header::seal(&mut block, BlockKind::Symlink, &self.context, lsn);
        block
    }
}

/// Logs what `new` differs from `old` in.
fn put(e: &mut Encoder<'_, [Bytes]>, at: DiskBlock, old: Option<&Bytes>, new: &Bytes) {
    let mut chunks = 0_u32;
    let mut data = Vec::new();
    for (n, bytes) in new.chunks(LOG_CHUNK).enumerate() {
        let same = old.is_some_and(|old| old[n * LOG_CHUNK..][..LOG_CHUNK] == *bytes);
        if !same {
            chunks |= 1 << n;
            data.extend_from_slice(bytes);
        }
    }
    e.buf(at, BlockKind::Symlink, OWNER, chunks, &data).unwrap();
}

/// A text of `n` letters that tells its chunks apart.
fn text(n: usize, letter: u8) -> Vec<u8> {
    (0..n)
        .map(|i| letter + ((i / LOG_CHUNK) % 20) as u8)
        .collect()
}

/// Everything but the log.
fn outside(disk: &MemDisk, context: &Context) -> Vec<(u64, Box<Bytes>)> {
    let log = context.geometry.log();
    let all = disk.snapshot().into_iter();
    let mut all: Vec<_> = all
        .filter(|(at, _)| !log.contains(DiskBlock(*at)))
        .collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

/// A disk with the same content.
fn copy(disk: &MemDisk) -> Arc<MemDisk> {
    let to = MemDisk::new(disk.blocks());
    for (at, bytes) in disk.snapshot() {
        to.write(at, &bytes).unwrap();
    }
    Arc::new(to)
}

/// A slot of inode `ino` with this size.
fn slot(world: &World, ino: Ino, size: u64) -> Box<InodeSlot> {
    use zerocopy::little_endian::U16;

    let mut slot = Box::new(InodeSlot::new(&world.context, ino, 9));
    slot.mode = U16::new(0o100_644);
    slot.nlink = U32::new(1);
    slot.size = U64::new(size);
    assert!(slot.set_data(crate::format::ForkFormat::InlineExtents, 0, &[]));
    slot
}

fn put_slot(e: &mut Encoder<'_, [Bytes]>, at: DiskBlock, ino: Ino, slot: &InodeSlot) {
    e.inode(at, ino, slot.core(), Some(slot.used_literal()))
        .unwrap();
}

/// Size of inode `ino` in block `at`, if its slot is in order.
fn size_of(world: &World, at: DiskBlock, ino: Ino) -> Option<u64> {
    let block = world.read(at);
    let slot = InodeSlot::of(&block, ino).unwrap();
    slot.verify(&world.context, ino).ok()?;
    Some(slot.size.get())
}
