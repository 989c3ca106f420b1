// SPDX-License-Identifier: GPL-2.0

//! Where the log ends.

use super::*;

/// Several blocks of log.
fn large(e: &mut Encoder<'_, [Bytes]>, at: DiskBlock, letter: u8) {
    for n in 0..3 {
        let data = std::vec![letter; BLOCK_SIZE];
        let at = at.saturating_add(n);
        e.buf(at, BlockKind::Symlink, OWNER, u32::MAX, &data)
            .unwrap();
    }
}

#[test]
fn an_empty_log_has_nothing() {
    let world = World::new();
    let live = world.find().unwrap();
    assert!(live.is_empty());
    assert_eq!(live.head(), world.next);
    let before = world.disk.snapshot();
    let done = world.recover().unwrap();
    assert_eq!(
        (done.head, done.checkpoints, done.seq()),
        (world.next, 0, 0)
    );
    assert!(world.disk.snapshot() == before);
}

#[test]
fn the_newest_checkpoint_is_the_head() {
    let mut world = World::new();
    let at = world.place(0);
    let mut starts = Vec::new();
    for n in 0..4 {
        starts.push(world.log(|e| large(e, at, n)));
    }
    let live = world.find().unwrap();
    assert_eq!(live.checkpoints().len(), 1, "its tail is itself");
    assert_eq!(live.checkpoints()[0].start, starts[3]);
    assert_eq!(live.head(), world.next);
    assert_eq!(live.commit().unwrap().seq.get(), 4);

    world.keep(starts[1]);
    world.log(|e| large(e, at, 9));
    let live = world.find().unwrap();
    let found: Vec<Lsn> = live.checkpoints().iter().map(|c| c.start).collect();
    assert_eq!(found[..3], starts[1..]);
    assert_eq!(found.len(), 4);
}

#[test]
fn around_the_end_of_the_body() {
    let body = u64::from(crate::format::log::body_blocks(
        World::new().context.geometry.log().len,
    ));
    for offset in body - 12..body + 2 {
        let mut world = World::at(offset);
        let at = world.place(0);
        let first = world.log(|e| large(e, at, 1));
        world.keep(first);
        world.log(|e| large(e, at, 2));
        world.log(|e| large(e, at, 3));
        let live = world.find().unwrap();
        assert_eq!(live.checkpoints().len(), 3, "{offset}");
        assert_eq!(live.head(), world.next);
    }
}

/// Whatever block of the last checkpoint is missing or damaged, it never happened.
#[test]
fn a_torn_checkpoint_never_happened() {
    let mut world = World::new();
    let at = world.place(0);
    let first = world.log(|e| large(e, at, 1));
    let head = world.next;
    world.keep(first);
    let torn = world.checkpoint(|e| large(e, at, 2));
    let n = torn.blocks.len();
    assert!(n > 3);
    let clean = copy(&world.disk);
    for missing in 0..n {
        // As it was before, zeroes, half of it.
        for damage in 0..3 {
            world.disk = copy(&clean);
            world.dev = Device::new(world.disk.clone(), false);
            for part in 0..n {
                let mut block = torn.blocks[part];
                if part == missing {
                    match damage {
                        0 => continue,
                        1 => block = [0; BLOCK_SIZE],
                        _ => block[512..].fill(0x55),
                    }
                }
                let one = Checkpoint {
                    start: torn.start.saturating_add((part * BLOCK_SIZE) as u64),
                    blocks: std::vec![block],
                };
                world.write_part(&one, 0);
            }
            let live = world.find().unwrap();
            assert_eq!(live.head(), head, "{missing} {damage}");
            assert_eq!(live.commit().unwrap().seq.get(), 1);
        }
    }
}

/// The rest of an older checkpoint of another mount does not complete a new one.
#[test]
fn an_older_epoch_does_not_complete_a_newer_one() {
    let mut world = World::new();
    let at = world.place(0);
    // Five blocks of the old epoch, then the same position in a new one, of which only the first
    // block reaches the disk.
    world.epoch = EPOCH - 1;
    let old = world.checkpoint(|e| large(e, at, 1));
    for n in 0..old.blocks.len() {
        world.write_part(&old, n);
    }
    assert!(world.find().unwrap().is_empty(), "of another epoch");
    world.epoch = EPOCH;
    world.next = old.start;
    let new = world.checkpoint(|e| large(e, at, 1));
    assert_eq!(old.blocks.len(), new.blocks.len());
    for written in 1..new.blocks.len() {
        world.write_part(&new, written - 1);
        assert!(world.find().unwrap().is_empty(), "{written}");
    }
    world.write_part(&new, new.blocks.len() - 1);
    assert_eq!(world.find().unwrap().head(), new.end());
}

#[test]
fn what_is_below_the_superblocks_position_is_ignored() {
    let mut world = World::new();
    let at = world.place(0);
    let first = world.log(|e| large(e, at, 1));
    world.keep(first);
    world.log(|e| large(e, at, 2));
    let set = |world: &World, lsn: Lsn| {
        let mut sb = world.sb();
        sb.lsn = U64::new(lsn.get());
        sb.seal(DiskBlock(0));
        let mut block = world.read(DiskBlock(0));
        sb.store(&mut block);
        world.write(DiskBlock(0), &block);
    };
    let live = world.find().unwrap();
    let second = live.checkpoints()[1].start;
    set(&world, second);
    let live = world.find().unwrap();
    assert_eq!(live.checkpoints().len(), 1, "the tail is below the bound");
    set(&world, world.next);
    let live = world.find().unwrap();
    assert!(live.is_empty());
    assert_eq!(live.head(), world.next);
}

#[test]
fn a_hole_is_damage() {
    let mut world = World::new();
    let at = world.place(0);
    let first = world.log(|e| large(e, at, 1));
    world.keep(first);
    let middle = world.log(|e| large(e, at, 2));
    world.log(|e| large(e, at, 3));
    assert_eq!(world.find().unwrap().checkpoints().len(), 3);
    let hole = block_at(world.context.geometry.log(), middle);
    world.write(hole, &[0; BLOCK_SIZE]);
    let before = world.disk.snapshot();
    assert!(world.recover().unwrap_err().is(Errno::UCLEAN));
    assert!(world.disk.snapshot() == before, "nothing was written");
}

/// Makes the log one that cannot be, from its first position on.
type Damage = fn(&mut World, Lsn);

#[test]
fn tails_and_numbers_that_cannot_be() {
    let cases: [(Damage, &str); 3] = [
        (|w, first| w.keep(first.saturating_add(1 << 30)), "ahead"),
        (
            |w, first| {
                let log = w.context.geometry.log().len;
                w.next = first.saturating_add(2 * body_bytes(log));
                w.keep(first);
            },
            "more than the log behind",
        ),
        (
            |w, first| {
                w.keep(first);
                w.seq += 1;
            },
            "a number is missing",
        ),
    ];
    for (edit, what) in cases {
        let mut world = World::new();
        let at = world.place(0);
        let first = world.log(|e| large(e, at, 1));
        edit(&mut world, first);
        world.log(|e| large(e, at, 2));
        let before = world.disk.snapshot();
        let error = world.recover().unwrap_err();
        assert!(error.is(Errno::UCLEAN), "{what}");
        assert!(world.disk.snapshot() == before, "nothing was written");
    }
}

/// A lost superblock: the newest of all epochs.
#[test]
fn of_any_epoch() {
    let mut world = World::new();
    let at = world.place(0);
    world.epoch = 3;
    world.log(|e| large(e, at, 1));
    world.log(|e| large(e, at, 2));
    world.epoch = 4;
    let newest = world.log(|e| large(e, at, 3));
    let (live, map) = Live::find_any(&world.dev, &world.context).unwrap();
    assert_eq!(live.checkpoints().last().unwrap().start, newest);
    assert_eq!((map.epoch(), map.beyond()), (4, world.next));
    assert_eq!(map.all().unwrap().len(), 3);
}
