// SPDX-License-Identifier: GPL-2.0

//! Logs whose checksums are right and whose content is not.

use super::*;

/// Makes the checksum right again.
fn reseal(world: &World, block: &mut Bytes) {
    let crc = crate::format::crc::block_crc(world.context.seed, block);
    LogBlock::of_mut(block).head.crc.set(crc);
}

/// Any field of any record: an error, or a log that is replayed; never a write to a place that the
/// log cannot know.
#[test]
fn mutated_records() {
    let mut seed = 11_u64;
    let mut random = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    let (mut good, mut bad) = (0, 0);
    let mut world = World::new();
    let at = world.place(0);
    let image = world.image(at, b"text", Lsn(0));
    let ino = Ino::new(AgNumber(1), 64);
    let inode = slot(&world, ino, 1);
    let first = world.next;
    world.keep(first);
    let mut log = Vec::new();
    for n in 0..3_u32 {
        let chunk = world.place(8 + 8 * n);
        log.push(world.checkpoint(|e| {
            let whole = (n == 0).then_some(&*image);
            put(e, at, whole.map(|_| &[0; BLOCK_SIZE]), &image);
            e.inode_init(chunk, Ino::new(AgNumber(1), 64)).unwrap();
            put_slot(e, chunk, ino, &inode);
            e.cancel(BlockRange::new(chunk, 8)).unwrap();
        }));
    }
    let blank = copy(&world.disk);
    for _ in 0..1000 {
        world.disk = copy(&blank);
        world.dev = Device::new(world.disk.clone(), false);
        let (victim, times) = (random(log.len()), 1 + random(3));
        for (n, checkpoint) in log.iter().enumerate() {
            let mut damaged = Checkpoint {
                start: checkpoint.start,
                blocks: checkpoint.blocks.clone(),
            };
            if n == victim {
                let count = damaged.blocks.len();
                for _ in 0..times {
                    let block = &mut damaged.blocks[random(count)];
                    let at = [random(32), 32 + random(1000), random(BLOCK_SIZE)][random(3)];
                    block[at] = [0, 1, 0x80, 0xff, random(256) as u8][random(5)];
                    reseal(&world, block);
                }
            }
            for part in 0..damaged.blocks.len() {
                world.write_part(&damaged, part);
            }
        }
        let before = world.disk.snapshot();
        match world.recover() {
            Ok(_) => good += 1,
            Err(error) => {
                assert!(error.is(Errno::UCLEAN), "{error}");
                bad += 1;
            }
        }
        // Whatever happened: superblock, log and its header are untouched.
        let log = world.context.geometry.log();
        for (at, bytes) in world.disk.snapshot() {
            if at < 17 || log.contains(DiskBlock(at)) {
                assert!(before.get(&at) == Some(&bytes), "block {at}");
            }
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}
