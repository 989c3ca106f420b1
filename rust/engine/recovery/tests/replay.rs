// SPDX-License-Identifier: GPL-2.0

//! What is applied, and what is not.

use super::*;

#[test]
fn blocks_inodes_chunks_and_counts() {
    let mut world = World::new();
    let (a, chunk) = (world.place(0), world.place(8));
    let new = world.image(a, &text(900, b'a'), Lsn(0));
    let first = Ino::new(AgNumber(1), 128);
    let ino = Ino::new(AgNumber(1), 128 + 9);
    let inode = slot(&world, ino, 4711);
    let lsn = world.log(|e| {
        put(e, a, None, &new);
        e.inode_init(chunk, first).unwrap();
        put_slot(e, chunk.saturating_add(1), ino, &inode);
    });
    let done = world.recover().unwrap();
    assert_eq!((done.checkpoints, done.records, done.blocks), (1, 4, 9));
    assert_eq!(done.head, world.next);
    assert_eq!(world.text(a), text(900, b'a'));
    assert_eq!(crate::format::BlockHeader::of(&world.read(a)).lsn(), lsn);
    assert_eq!(size_of(&world, chunk.saturating_add(1), ino), Some(4711));
    for n in 0..8 {
        for k in 0..8 {
            let ino = crate::format::log::record::chunk_ino(first, n, k);
            let block = world.read(chunk.saturating_add(u64::from(n)));
            let slot = InodeSlot::of(&block, ino).unwrap();
            slot.verify(&world.context, ino).unwrap();
            let used = n == 1 && k == 1;
            assert_eq!(slot.is_free(), !used);
            assert_eq!(slot.lsn.get(), lsn.get() - u64::from(!used));
        }
    }
    let mut sb = world.sb();
    done.store(&mut sb);
    assert!(sb.is_clean());
    assert_eq!(sb.free_blocks.get(), 1001);
    assert_eq!((sb.inodes.get(), sb.free_inodes.get()), (640, 600));
    assert_eq!((sb.orphans.get(), sb.lsn.get()), (1, world.next.get()));

    // Again: everything is in its place. Whole images are written without a look.
    let before = world.disk.snapshot();
    assert_eq!(world.recover().unwrap().blocks, 1);
    assert!(world.disk.snapshot() == before);
}

/// What is on the device is newer than some records, and older than others.
#[test]
fn newer_blocks_are_left_alone() {
    let mut world = World::new();
    let at = world.place(0);
    let texts: Vec<Vec<u8>> = (0..4).map(|n| text(3000, b'a' + n)).collect();
    let images: Vec<_> = texts
        .iter()
        .map(|text| world.image(at, text, Lsn(0)))
        .collect();
    let mut lsns = Vec::new();
    for n in 1..4 {
        let lsn = world.log(|e| put(e, at, Some(&images[n - 1]), &images[n]));
        lsns.push(lsn);
        world.keep(lsns[0]);
    }
    let clean = copy(&world.disk);
    // Written as it was before the log, and after each of its records.
    for known in 0..4 {
        world.disk = copy(&clean);
        world.dev = Device::new(world.disk.clone(), false);
        let lsn = if known == 0 { Lsn(1) } else { lsns[known - 1] };
        world.write(at, &world.image(at, &texts[known], lsn));
        let done = world.recover().unwrap();
        assert_eq!(world.text(at), texts[3], "{known}");
        assert_eq!(done.blocks, u64::from(known != 3));
    }
}

/// A position from the future is not believed.
#[test]
fn blocks_from_the_future_are_replaced() {
    let mut world = World::new();
    let at = world.place(0);
    let new = world.image(at, b"new", Lsn(0));
    let ino = Ino::new(AgNumber(1), 3);
    let inodes = world.place(9);
    let inode = slot(&world, ino, 5);
    world.log(|e| {
        put(e, at, None, &new);
        put_slot(e, inodes, ino, &inode);
    });
    world.write(at, &world.image(at, b"old", world.next));
    let mut block = Box::new([0; BLOCK_SIZE]);
    let mut other = slot(&world, ino, 6);
    other.seal(&world.context, world.next);
    *InodeSlot::of_mut(&mut block, ino).unwrap() = *other;
    world.write(inodes, &block);
    world.recover().unwrap();
    assert_eq!(world.text(at), b"new");
    assert_eq!(size_of(&world, inodes, ino), Some(5));
}

/// Two inodes share a block: that one of them was flushed says nothing about the other (rules M2).
#[test]
fn slots_are_compared_one_by_one() {
    let mut world = World::new();
    let at = world.place(0);
    let (a, b) = (Ino::new(AgNumber(1), 0), Ino::new(AgNumber(1), 1));
    let mut block = Box::new([0; BLOCK_SIZE]);
    for k in 0..8 {
        let ino = Ino::new(AgNumber(1), k);
        let mut old = slot(&world, ino, 1);
        old.seal(&world.context, Lsn(1));
        *InodeSlot::of_mut(&mut block, ino).unwrap() = *old;
    }
    let (new_a, new_b) = (slot(&world, a, 100), slot(&world, b, 200));
    let first = world.log(|e| put_slot(e, at, a, &new_a));
    world.keep(first);
    let second = world.log(|e| put_slot(e, at, b, &new_b));
    // B was flushed with a size that only it knows, A was not.
    let mut flushed = slot(&world, b, 201);
    flushed.seal(&world.context, second);
    *InodeSlot::of_mut(&mut block, b).unwrap() = *flushed;
    world.write(at, &block);
    world.recover().unwrap();
    assert_eq!(size_of(&world, at, a), Some(100));
    assert_eq!(size_of(&world, at, b), Some(201));
    assert_eq!(size_of(&world, at, Ino::new(AgNumber(1), 2)), Some(1));
}

/// Core and literal area come one by one; what is not logged stays.
#[test]
fn parts_of_an_inode() {
    let mut world = World::new();
    let at = world.place(0);
    let ino = Ino::new(AgNumber(1), 2);
    let mut old = slot(&world, ino, 0);
    let extent = crate::format::Extent {
        file: crate::format::FileBlock(0),
        disk: world.place(100),
        len: 3,
        unwritten: false,
    };
    let record = extent.pack().unwrap();
    let bytes = zerocopy::IntoBytes::as_bytes(&record);
    assert!(old.set_data(crate::format::ForkFormat::InlineExtents, 0, bytes));
    let mut core = old.clone();
    core.size = U64::new(77);
    let first = world.log(|e| put_slot(e, at, ino, &old));
    world.keep(first);
    world.log(|e| e.inode(at, ino, core.core(), None).unwrap());
    world.recover().unwrap();
    assert_eq!(size_of(&world, at, ino), Some(77));
    let block = world.read(at);
    assert_eq!(InodeSlot::of(&block, ino).unwrap().data(), bytes);
    // A literal area that became shorter: what was behind it is gone.
    let shorter = slot(&world, ino, 78);
    world.log(|e| put_slot(e, at, ino, &shorter));
    world.recover().unwrap();
    let block = world.read(at);
    let now = InodeSlot::of(&block, ino).unwrap();
    assert!(now.data().is_empty() && now.literal.iter().all(|b| *b == 0));
}

/// Metadata that was freed, and whose blocks are data now: nothing is written (rules M9).
#[test]
fn freed_blocks_are_not_touched() {
    let mut world = World::new();
    let (at, inodes, chunk) = (world.place(0), world.place(1), world.place(8));
    let image = world.image(at, b"metadata", Lsn(0));
    let ino = Ino::new(AgNumber(1), 64);
    let inode = slot(&world, ino, 1);
    let first = world.log(|e| {
        put(e, at, None, &image);
        put_slot(e, inodes, ino, &inode);
        e.inode_init(chunk, Ino::new(AgNumber(1), 128)).unwrap();
    });
    world.keep(first);
    world.log(|e| {
        e.cancel(BlockRange::new(at, 2)).unwrap();
        e.cancel(BlockRange::new(chunk, 8)).unwrap();
    });
    let data = [0xda; BLOCK_SIZE];
    for n in 0..20 {
        world.write(world.place(n), &data);
    }
    let done = world.recover().unwrap();
    assert_eq!(done.blocks, 0);
    for n in 0..20 {
        assert_eq!(*world.read(world.place(n)), data, "{n}");
    }
    // Metadata again: what came after it counts, what came before does not.
    let new = world.image(at, b"another life", Lsn(0));
    world.log(|e| put(e, at, None, &new));
    world.recover().unwrap();
    assert_eq!(world.text(at), b"another life");
    assert_eq!(*world.read(inodes), data);
}

/// A write that a power cut tore: the new position, but old content (rules M5).
#[test]
fn torn_blocks_are_made_from_the_log() {
    let mut world = World::new();
    let at = world.place(0);
    let texts: Vec<Vec<u8>> = (0..3).map(|n| text(3500, b'a' + 3 * n)).collect();
    let images: Vec<_> = texts
        .iter()
        .map(|text| world.image(at, text, Lsn(1)))
        .collect();
    let first = world.log(|e| put(e, at, Some(&images[0]), &images[1]));
    world.keep(first);
    let second = world.log(|e| put(e, at, Some(&images[0]), &images[2]));
    let new = world.image(at, &texts[2], second);
    for torn in (1..255_u32).step_by(2) {
        let mut block = images[0].clone();
        for sector in 0..8 {
            if torn >> sector & 1 != 0 {
                block[sector * 512..][..512].copy_from_slice(&new[sector * 512..][..512]);
            }
        }
        world.write(at, &block);
        world.recover().unwrap();
        assert_eq!(world.text(at), texts[2], "{torn:08b}");
    }
}

/// With a cache of one block every block is written and read again all the time.
#[test]
fn memory_is_bounded() {
    for cache in [1, 2, 7, 64] {
        let mut world = World::new();
        let mut images: Vec<Box<Bytes>> = Vec::new();
        let first = world.next;
        for n in 0..20 {
            let at = world.place(n);
            images.push(world.image(at, &text(2000, b'a'), Lsn(1)));
            world.write(at, &images[n as usize]);
        }
        world.keep(first);
        for round in 1..6_u8 {
            let mut now = Vec::new();
            for n in 0..20_u32 {
                let at = world.place(n);
                now.push(world.image(at, &text(2000, b'a' + round), Lsn(1)));
            }
            let places: Vec<DiskBlock> = (0..20).map(|n| world.place(n)).collect();
            world.log(|e| {
                for n in 0..20 {
                    put(e, places[n], Some(&images[n]), &now[n]);
                }
            });
        }
        let live = world.find().unwrap();
        let done = replay_in(&world.dev, &world.context, &live, cache).unwrap();
        assert_eq!(done.blocks, if cache < 20 { 100 } else { 20 }, "{cache}");
        for n in 0..20 {
            assert_eq!(world.text(world.place(n)), text(2000, b'a' + 5));
        }
    }
}

/// A block that is not what it should be after its last record is damage; in between it may be.
#[test]
fn the_verifier_has_the_last_word() {
    let mut world = World::new();
    let at = world.place(0);
    let good = world.image(at, b"good", Lsn(0));
    let mut bad = good.clone();
    bad[core::mem::offset_of!(SymlinkBlock, len)..][..2].copy_from_slice(&[0xff; 2]);
    let first = world.log(|e| put(e, at, None, &bad));
    assert!(world.recover().unwrap_err().is(Errno::UCLEAN));
    world.keep(first);
    let other = world.place(1);
    let image = world.image(other, b"other", Lsn(0));
    world.log(|e| put(e, other, None, &image));
    world.log(|e| put(e, at, None, &good));
    for cache in [1, 10] {
        world.write(at, &[0; BLOCK_SIZE]);
        let live = world.find().unwrap();
        replay_in(&world.dev, &world.context, &live, cache).unwrap();
        assert_eq!(world.text(at), b"good");
    }
}

#[test]
fn one_block_cannot_be_two_things() {
    let mut world = World::new();
    let at = world.place(0);
    let image = world.image(at, b"text", Lsn(0));
    let ino = Ino::new(AgNumber(1), 3);
    let inode = slot(&world, ino, 1);
    world.log(|e| {
        put(e, at, None, &image);
        put_slot(e, at, ino, &inode);
    });
    assert!(world.recover().unwrap_err().is(Errno::UCLEAN));
}
