// SPDX-License-Identifier: GPL-2.0

//! The search for the newest checkpoint against a look at all of the log.

use super::*;
use crate::format::log::body_blocks;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the blocks of the log that are read.
struct Counting {
    disk: Arc<MemDisk>,
    log: BlockRange,
    reads: AtomicU64,
}

impl Backend for Counting {
    fn blocks(&self) -> u64 {
        self.disk.blocks()
    }

    fn read(&self, block: u64, buf: &mut Bytes) -> crate::sys::SysResult<()> {
        let counts = self.log.contains(DiskBlock(block));
        self.reads.fetch_add(u64::from(counts), Ordering::Relaxed);
        self.disk.read(block, buf)
    }

    fn write(&self, block: u64, buf: &Bytes) -> crate::sys::SysResult<()> {
        self.disk.write(block, buf)
    }

    fn flush(&self) -> crate::sys::SysResult<()> {
        self.disk.flush()
    }

    fn discard(&self, start: u64, len: u64) -> crate::sys::SysResult<()> {
        self.disk.discard(start, len)
    }
}

/// Head, checkpoints and the number of the newest one, or the error.
type Verdict = core::result::Result<(Lsn, Vec<Found>, Option<u64>), Errno>;

fn verdict(live: Result<Live>) -> Verdict {
    live.map_err(|error| error.errno()).map(|live| {
        let seq = live.commit().map(|commit| commit.seq.get());
        (live.head(), live.checkpoints().to_vec(), seq)
    })
}

impl World {
    fn find_in_all(&self) -> Result<Live> {
        Live::find_in_all(&self.dev, &self.context, &self.sb())
    }

    /// A checkpoint of about `blocks` blocks.
    fn sized(&mut self, blocks: u8) -> Checkpoint {
        let at = self.place(0);
        self.checkpoint(|e| {
            for _ in 1..blocks {
                let data = [blocks; BLOCK_SIZE];
                e.buf(at, BlockKind::Symlink, OWNER, u32::MAX, &data)
                    .unwrap();
            }
        })
    }

    fn write_all(&self, checkpoint: &Checkpoint) {
        for n in 0..checkpoint.blocks.len() {
            self.write_part(checkpoint, n);
        }
    }

    /// A mount that begins where the log is.
    fn new_epoch(&mut self) {
        self.epoch = EPOCH;
        self.seq = 0;
        let mut sb = self.sb();
        sb.lsn = U64::new(self.next.get());
        sb.seal(DiskBlock(0));
        let mut block = self.read(DiskBlock(0));
        sb.store(&mut block);
        self.write(DiskBlock(0), &block);
    }

    fn body(&self) -> u64 {
        u64::from(body_blocks(self.context.geometry.log().len))
    }

    /// Position and block of body block `index`.
    fn body_block(&self, index: u64) -> DiskBlock {
        let log = self.context.geometry.log();
        log.start.saturating_add(1 + index % self.body())
    }
}

/// `eighths` of a lap of checkpoints, `live` of which are needed.
fn laps(live: usize, eighths: u64) -> World {
    let mut world = World::at(77);
    let mut starts = Vec::new();
    let end = world.next.get() + world.body() * BLOCK_SIZE as u64 * eighths / 8;
    while world.next.get() < end {
        if starts.len() >= live {
            world.keep(starts[starts.len() - live]);
        }
        let checkpoint = world.sized((starts.len() % 7) as u8 + 1);
        world.write_all(&checkpoint);
        starts.push(checkpoint.start);
    }
    world
}

/// The head of a log that was gone round is found with a small part of it read.
#[test]
fn little_is_read() {
    let world = laps(3, 20);
    let counting = Arc::new(Counting {
        disk: world.disk.clone(),
        log: world.context.geometry.log(),
        reads: AtomicU64::new(0),
    });
    let dev = Device::new(counting.clone(), false);
    let found = Live::find(&dev, &world.context, &world.sb());
    let reads = counting.reads.load(Ordering::Relaxed);
    assert_eq!(verdict(found), verdict(world.find_in_all()));
    assert!(reads < world.body() / 8, "{reads} of {}", world.body());
}

/// A mount that wrote nothing.
#[test]
fn nothing_is_found_with_a_piece() {
    let mut world = laps(3, 20);
    world.epoch += 1;
    let mut sb = world.sb();
    sb.lsn = U64::new(world.next.get());
    sb.mount_count = U32::new(world.epoch);
    let found = Live::find(&world.dev, &world.context, &sb).unwrap();
    assert!(found.is_empty());
    assert_eq!(found.head(), world.next);
}

/// Whichever block of the body is damaged, the search does not end somewhere else for it.
#[test]
fn a_damaged_block_hides_nothing() {
    for eighths in [7, 23] {
        damage_each(&laps(20, eighths));
    }
}

fn damage_each(world: &World) {
    let mut damaged = 0;
    for index in 0..world.body() {
        let at = world.body_block(index);
        let was = world.read(at);
        // Magic number or content.
        let mut block = was.clone();
        block[index as usize % 2 * 100] ^= 1;
        world.write(at, &block);
        let all = verdict(world.find_in_all());
        damaged += usize::from(all.is_err());
        assert_eq!(verdict(world.find()), all, "body block {index}");
        world.write(at, &was);
    }
    assert!(damaged > 50, "{damaged}");
}

/// What became of a block of the checkpoint that was being written.
#[derive(Clone, Copy, Debug)]
enum Part {
    There,
    Absent,
    Torn,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![Just(Part::There), Just(Part::Absent), Just(Part::Torn)];
    proptest::collection::vec(part, 60)
}

fn sizes(n: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![4 => 1..12_u8, 1 => 1..60_u8], 0..n)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever an older mount and this one wrote, whatever was torn: both see the same.
    #[test]
    fn crashes_are_seen_alike(
        offset in 0..1023_u64,
        older in sizes(200),
        sizes in sizes(260),
        keep in 1..12_usize,
        torn in proptest::option::of((1..60_u8, parts())),
        damage in proptest::option::of((any::<u64>(), 0..4096_usize)),
    ) {
        let mut world = World::at(offset);
        world.epoch = EPOCH - 1;
        for size in older {
            let checkpoint = world.sized(size);
            world.write_all(&checkpoint);
        }
        world.new_epoch();
        let mut starts = Vec::new();
        for size in sizes {
            if starts.len() >= keep {
                world.keep(starts[starts.len() - keep]);
            }
            let checkpoint = world.sized(size);
            world.write_all(&checkpoint);
            starts.push(checkpoint.start);
        }
        let mut head = world.next;
        if let Some((size, parts)) = torn {
            let mut checkpoint = world.sized(size);
            let mut whole = true;
            for (n, part) in (0..checkpoint.blocks.len()).zip(&parts) {
                match part {
                    Part::There => {}
                    Part::Absent => {
                        whole = false;
                        continue;
                    }
                    Part::Torn => {
                        whole = false;
                        checkpoint.blocks[n][512..].fill(0x55);
                    }
                }
                world.write_part(&checkpoint, n);
            }
            if whole {
                head = checkpoint.end();
            }
        }
        if let Some((index, byte)) = damage {
            let at = world.body_block(index);
            let mut block = world.read(at);
            block[byte] ^= 0x10;
            world.write(at, &block);
        } else {
            prop_assert_eq!(world.find().unwrap().head(), head);
        }
        prop_assert_eq!(verdict(world.find()), verdict(world.find_in_all()));
    }
}
