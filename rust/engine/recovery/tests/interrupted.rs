// SPDX-License-Identifier: GPL-2.0

//! Recovery that is interrupted, and repeated.

use super::*;
use crate::sys::{Errno, SysResult};
use std::sync::{
    atomic::{AtomicU64, Ordering},
    Mutex,
};

/// A disk with a volatile cache, which loses power after so many writes.
struct Fragile {
    /// What is durable.
    disk: Arc<MemDisk>,
    /// What was written since the last flush, oldest first.
    cached: Mutex<Vec<(u64, Box<Bytes>)>>,
    writes: AtomicU64,
    power: u64,
    flushes: Mutex<Vec<u64>>,
}

impl Fragile {
    fn new(disk: &Arc<MemDisk>, power: u64) -> Arc<Self> {
        Arc::new(Self {
            disk: disk.clone(),
            cached: Mutex::new(Vec::new()),
            writes: AtomicU64::new(0),
            power,
            flushes: Mutex::new(Vec::new()),
        })
    }

    fn off(&self) -> bool {
        self.writes.load(Ordering::Relaxed) >= self.power
    }

    /// What of the cache reached the disk: every block for which `kept` says so, the last one
    /// perhaps torn.
    fn cut(&self, mut kept: impl FnMut() -> u8) {
        for (at, bytes) in self.cached.lock().unwrap().drain(..) {
            let mask = kept();
            let mut block = [0; BLOCK_SIZE];
            self.disk.read(at, &mut block).unwrap();
            for sector in 0..8 {
                if mask >> sector & 1 != 0 {
                    block[sector * 512..][..512].copy_from_slice(&bytes[sector * 512..][..512]);
                }
            }
            self.disk.write(at, &block).unwrap();
        }
    }
}

impl Backend for Fragile {
    fn blocks(&self) -> u64 {
        self.disk.blocks()
    }

    fn read(&self, block: u64, buf: &mut Bytes) -> SysResult<()> {
        let cached = self.cached.lock().unwrap();
        match cached.iter().rev().find(|(at, _)| *at == block) {
            Some((_, bytes)) => buf.copy_from_slice(&bytes[..]),
            None => self.disk.read(block, buf)?,
        }
        Ok(())
    }

    fn write(&self, block: u64, buf: &Bytes) -> SysResult<()> {
        if self.off() {
            return Err(Errno::IO);
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.cached.lock().unwrap().push((block, Box::new(*buf)));
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        if self.off() {
            return Err(Errno::IO);
        }
        let writes = self.writes.load(Ordering::Relaxed);
        self.flushes.lock().unwrap().push(writes);
        self.cut(|| 0xff);
        Ok(())
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }
}

/// A log with everything in it, over blocks in every state.
fn world() -> World {
    let mut world = World::new();
    let places: Vec<DiskBlock> = (0..60).map(|n| world.place(n)).collect();
    let old: Vec<Box<Bytes>> = (0..10)
        .map(|n| world.image(places[n], &text(3000, b'a'), Lsn(1)))
        .collect();
    for (at, image) in places.iter().zip(&old) {
        world.write(*at, image);
    }
    let first = world.next;
    world.keep(first);
    let chunk = places[16];
    for round in 1..6_u8 {
        let new: Vec<Box<Bytes>> = (0..10)
            .map(|n| world.image(places[n], &text(3000, b'a' + round), Lsn(1)))
            .collect();
        let inodes: Vec<_> = (0..8)
            .map(|k| {
                let ino = Ino::new(AgNumber(1), 64 + k);
                (ino, slot(&world, ino, u64::from(round) * 10))
            })
            .collect();
        let (freed, data) = (places[30 + usize::from(round)], [round; BLOCK_SIZE]);
        let image = world.image(freed, b"freed", Lsn(1));
        world.log(|e| {
            for n in 0..10 {
                if (n + usize::from(round)) % 3 != 0 {
                    put(e, places[n], Some(&old[n]), &new[n]);
                }
            }
            if round == 1 {
                e.inode_init(chunk, Ino::new(AgNumber(1), 64)).unwrap();
            }
            for (ino, slot) in &inodes[..usize::from(round)] {
                put_slot(e, chunk, *ino, slot);
            }
            put(e, freed, None, &image);
            if round > 1 {
                e.cancel(BlockRange::new(freed.checked_sub(1).unwrap(), 1))
                    .unwrap();
            }
        });
        if round < 5 {
            world.write(freed, &data);
        }
    }
    world
}

/// The power fails at every write, again and again with every second one, and whatever of the
/// cache is lost or torn: in the end it is all the same.
#[test]
fn at_every_write() {
    let world = world();
    let start = copy(&world.disk);
    let done = world.recover().unwrap();
    assert!(done.blocks > 15, "{done:?}");
    let want = outside(&world.disk, &world.context);
    let sb = world.sb();
    let mut seed = 3_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize
    };

    let mut interrupted = 0;
    for round in 0..3 {
        for power in 0..done.blocks + 1 {
            let disk = copy(&start);
            let mut left = power;
            loop {
                let fragile = Fragile::new(&disk, left);
                let dev = Device::new(fragile.clone(), false);
                // A small cache: blocks are written before they are complete.
                let live = Live::find(&dev, &world.context, &sb).unwrap();
                let result = replay_in(&dev, &world.context, &live, 1 + round * 8);
                if result.is_ok() {
                    break;
                }
                interrupted += 1;
                fragile.cut(|| [0, 0xff, 1, random() as u8][random() % 4]);
                left += 1 + left / 2;
            }
            assert!(outside(&disk, &world.context) == want, "{round} {power}");
        }
    }
    assert!(interrupted > 30, "{interrupted}");
}

/// The log is durable before the first block that comes from it, and the blocks are when it ends.
#[test]
fn flushes_around_the_writes() {
    let world = world();
    let fragile = Fragile::new(&world.disk, u64::MAX);
    let dev = Device::new(fragile.clone(), false);
    let done = recover(&dev, &world.context, &world.sb()).unwrap();
    assert_eq!(*fragile.flushes.lock().unwrap(), [0, done.blocks]);
}

#[test]
fn errors_of_the_device_are_passed_on() {
    let world = world();
    world.disk.fail_writes(true);
    assert!(world.recover().unwrap_err().is(Errno::IO));
    world.disk.fail_writes(false);
    world.disk.fail_reads(true);
    let live = Live::find(&world.dev, &world.context, &Superblock::zeroed());
    assert!(live.map(drop).unwrap_err().is(Errno::IO));
    world.disk.fail_reads(false);
    world.recover().unwrap();
}
