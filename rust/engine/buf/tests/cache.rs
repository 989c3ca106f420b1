// SPDX-License-Identifier: GPL-2.0

//! The cache on a disk in memory: verification, errors, writing, memory.

use super::super::*;
use crate::engine::{ail::Ail, health::Health, inode::cache::Cache as Inodes, log::item::ItemRef};
use crate::format::{header::seal, Geometry, Ino, Lsn, SymlinkBlock};
use crate::sys::device::{Backend, MemDisk};
use core::ops::Deref;
use std::sync::{mpsc, Mutex as StdMutex};

pub(super) const OWNER: Owner = Owner::inode(Ino(77));
pub(super) const KIND: BlockKind = BlockKind::Symlink;
pub(super) const BLOCKS: u64 = 65_536;

pub(super) fn context() -> Context {
    Context::new(0xabcd, Geometry::for_device(BLOCKS, None).unwrap())
}

/// A cache, and an AIL that takes what is changed as if the log were durable at once.
pub(super) struct World {
    pub(super) cache: Arc<BufCache>,
    pub(super) ail: Arc<Ail>,
    pub(super) inodes: Inodes,
}

impl Deref for World {
    type Target = Arc<BufCache>;
    fn deref(&self) -> &Arc<BufCache> {
        &self.cache
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The list owns references to buffers, and those to the cache.
        self.ail.health().go_down();
        self.ail.abort_all(&self.ail.health().log_down().unwrap());
    }
}

pub(super) fn cache_on(backend: std::sync::Arc<dyn Backend>) -> World {
    let faults = sys::try_arc(Faults::default()).unwrap();
    let dev = Device::new(backend, false);
    World {
        cache: BufCache::with_shards(dev, context(), faults, 8).unwrap(),
        ail: Ail::new(sys::try_arc(Health::new()).unwrap()).unwrap(),
        inodes: Inodes::with_shards(1).unwrap(),
    }
}

pub(super) fn new_cache() -> (World, std::sync::Arc<MemDisk>) {
    let disk = std::sync::Arc::new(MemDisk::new(BLOCKS));
    (cache_on(disk.clone()), disk)
}

/// The `n`-th block that is not static metadata, in the last group.
pub(super) fn at(n: u64) -> DiskBlock {
    DiskBlock(3 * BLOCKS / 4 + 100 + n)
}

/// A sealed symlink block with this text for `block`.
pub(super) fn image(block: DiskBlock, owner: Owner, text: &[u8]) -> [u8; 4096] {
    let mut b = [0; 4096];
    SymlinkBlock::format(&mut b, &context(), block, owner, 0, text);
    seal(&mut b, KIND, &context(), Lsn(4096));
    b
}

pub(super) fn text(buf: &BufRef) -> Vec<u8> {
    SymlinkBlock::of(&buf.data()).bytes().to_vec()
}

/// A text that is a number.
pub(super) fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

/// Makes a new block with this text dirty.
pub(super) fn put(world: &World, block: DiskBlock, text: &[u8]) -> BufRef {
    let buf = world.fresh(block, KIND, OWNER).unwrap();
    change(world, &buf, text);
    buf
}

pub(super) fn change(world: &World, buf: &BufRef, text: &[u8]) {
    let block = buf.block();
    modify(world, buf, |b| {
        SymlinkBlock::format(b, &context(), block, OWNER, 0, text)
    });
}

/// A transaction of one change, and its checkpoint.
pub(super) fn modify(world: &World, buf: &BufRef, change: impl FnOnce(&mut [u8; 4096])) {
    {
        let mut content = buf.write();
        change(&mut content);
        buf.set_dirty();
        buf.pin();
    }
    let mut items = sys::Vec::new();
    items.must_push(ItemRef::Buf(buf.clone()));
    let (bag, _tail) = world.ail.committed(&mut items, Lsn(8192));
    drop(bag);
}

/// The checkpoint that frees these blocks is durable.
pub(super) fn cancel(world: &World, blocks: &[DiskBlock]) {
    let mut bufs = sys::Vec::new();
    for block in blocks {
        let buf = world.peek(*block).unwrap();
        buf.pin();
        bufs.must_push(buf);
    }
    let (bag, _tail) = world.ail.cancelled(&mut bufs);
    drop(bag);
}

/// A round of the pusher, and the end of its writes.
pub(super) fn sync(world: &World) -> sys::SysResult<()> {
    world.ail.round(&world.inodes, Lsn(u64::MAX));
    world.ail.wait_writes();
    match world.ail.has_failed() {
        true => Err(Errno::IO),
        false => Ok(()),
    }
}

#[test]
fn a_block_is_read_once_and_verified() {
    let (cache, disk) = new_cache();
    disk.write(at(0).get(), &image(at(0), OWNER, b"hello"))
        .unwrap();
    let a = cache.read(at(0), KIND, OWNER).unwrap();
    let b = cache.read(at(0), KIND, OWNER).unwrap();
    assert!(a.same(&b));
    assert_eq!(text(&a), b"hello");
    assert_eq!(disk.io_counts().0, 1);
    assert_eq!(cache.count(), 1);
}

#[test]
fn damage_is_named_and_gives_the_right_errno() {
    let good = image(at(0), OWNER, b"x");
    let mut crc = good;
    crc[2000] ^= 1;
    let mut magic = good;
    magic[0] ^= 1;
    let mut foreign = good;
    foreign[8] ^= 1;
    let elsewhere = image(at(1), OWNER, b"x");
    let others = image(at(0), Owner::inode(Ino(78)), b"x");
    for (what, block, errno) in [
        ("crc", crc, Errno::BADMSG),
        ("magic", magic, Errno::UCLEAN),
        ("instance", foreign, Errno::UCLEAN),
        ("place", elsewhere, Errno::UCLEAN),
        ("owner", others, Errno::UCLEAN),
        ("zeroes", [0; 4096], Errno::UCLEAN),
    ] {
        let (cache, disk) = new_cache();
        disk.write(at(0).get(), &block).unwrap();
        let e = cache.read(at(0), KIND, OWNER).unwrap_err();
        assert!(e.is(errno), "{what}: {e}");
        assert_eq!(cache.faults.count(), 1, "{what} is recorded");
        assert_eq!(cache.count(), 0, "{what}: not kept");
        // Repaired behind our back: the next read sees it.
        disk.write(at(0).get(), &good).unwrap();
        assert_eq!(text(&cache.read(at(0), KIND, OWNER).unwrap()), b"x");
    }
}

#[test]
fn wild_pointers_cost_no_io() {
    let (cache, disk) = new_cache();
    for block in [0, 17, 18, BLOCKS - 1, BLOCKS, u64::MAX] {
        let e = cache.read(DiskBlock(block), KIND, OWNER).unwrap_err();
        assert!(e.is(Errno::UCLEAN), "{block}");
        assert!(cache.fresh(DiskBlock(block), KIND, OWNER).is_err());
    }
    let e = cache.read(at(0), BlockKind::Bitmap, OWNER).unwrap_err();
    assert!(e.is(Errno::UCLEAN));
    assert_eq!(disk.io_counts(), (0, 0));
    assert_eq!(cache.count(), 0);
}

#[test]
fn the_second_use_of_a_block_is_corruption() {
    let (cache, disk) = new_cache();
    disk.write(at(0).get(), &image(at(0), OWNER, b"x")).unwrap();
    let _held = cache.read(at(0), KIND, OWNER).unwrap();
    let e = cache.read(at(0), KIND, Owner::inode(Ino(5))).unwrap_err();
    assert!(e.is(Errno::UCLEAN));
    let e = cache.read(at(0), BlockKind::Tree, OWNER).unwrap_err();
    assert!(e.is(Errno::UCLEAN));
    // The allocator hands out a block that somebody uses.
    let e = cache.fresh(at(0), KIND, OWNER).unwrap_err();
    assert!(e.is(Errno::UCLEAN));
    put(&cache, at(1), b"dirty, and nobody holds it");
    let e = cache.fresh(at(1), KIND, OWNER).unwrap_err();
    assert!(e.is(Errno::UCLEAN));
}

#[test]
fn a_read_error_is_not_remembered() {
    let (cache, disk) = new_cache();
    disk.write(at(0).get(), &image(at(0), OWNER, b"x")).unwrap();
    disk.fail_reads(true);
    assert!(cache.read(at(0), KIND, OWNER).unwrap_err().is(Errno::IO));
    cache.readahead(at(0), KIND, OWNER);
    assert_eq!(cache.count(), 0);
    disk.fail_reads(false);
    cache.readahead(at(0), KIND, OWNER);
    assert_eq!(cache.count(), 1);
    let reads = disk.io_counts().0;
    assert_eq!(text(&cache.read(at(0), KIND, OWNER).unwrap()), b"x");
    assert_eq!(disk.io_counts().0, reads, "readahead had it");
}

#[test]
fn what_was_written_can_be_read_by_another_cache() {
    let (cache, disk) = new_cache();
    for n in 0..200 {
        put(&cache, at(n), format!("block {n}").as_bytes());
    }
    assert_eq!(cache.dirty_count(), 200);
    sync(&cache).unwrap();
    assert_eq!(cache.dirty_count(), 0);
    assert_eq!(disk.io_counts().1, 200);
    let other = cache_on(disk.clone());
    for n in 0..200 {
        let buf = other.read(at(n), KIND, OWNER).unwrap();
        assert_eq!(text(&buf), format!("block {n}").as_bytes());
        assert_eq!(BlockHeader::of(&buf.data()).lsn(), Lsn(8192));
    }
    sync(&cache).unwrap();
    assert_eq!(disk.io_counts().1, 200, "clean is not written again");
}

#[test]
fn a_write_error_is_reported_and_the_block_stays_dirty() {
    let (cache, disk) = new_cache();
    put(&cache, at(0), b"one");
    put(&cache, at(1), b"two");
    disk.fail_writes(true);
    assert_eq!(sync(&cache), Err(Errno::IO));
    assert_eq!(cache.dirty_count(), 2);
    assert_eq!(cache.reclaim(10), 0);
    assert_eq!(sync(&cache), Err(Errno::IO), "again");
    disk.fail_writes(false);
    sync(&cache).unwrap();
    assert_eq!(cache.dirty_count(), 0);
    let other = cache_on(disk);
    assert_eq!(text(&other.read(at(0), KIND, OWNER).unwrap()), b"one");
}

#[test]
fn a_block_that_fails_its_verifier_is_not_written() {
    let (cache, disk) = new_cache();
    let bad = put(&cache, at(0), b"bad");
    put(&cache, at(1), b"good");
    modify(&cache, &bad, |b| b[44] = 0xff);
    assert!(sync(&cache).is_err());
    assert_eq!(cache.ail.hopeless(), Some(Errno::UCLEAN));
    assert_eq!(disk.io_counts().1, 1, "the good one was");
    assert_eq!(cache.dirty_count(), 1);
    change(&cache, &bad, b"good again");
    sync(&cache).unwrap();
}

#[test]
fn a_freed_block_is_not_written_and_not_read() {
    let (cache, disk) = new_cache();
    let held = put(&cache, at(0), b"a tree node");
    put(&cache, at(1), b"another");
    cache.forget(at(0));
    cache.forget(at(1));
    assert_eq!(cache.dirty_count(), 0);
    sync(&cache).unwrap();
    assert_eq!(disk.io_counts().1, 0);
    assert_eq!(
        cache.count(),
        2,
        "the log still has to say that they are free"
    );
    cancel(&cache, &[at(0), at(1)]);
    assert_eq!(cache.count(), 1, "only the one that is held is left");
    assert!(cache.find(at(0)).is_none());
    let e = cache.read(at(0), KIND, OWNER).unwrap_err();
    assert!(e.is(Errno::UCLEAN), "pointer to a freed block");

    // A new life while somebody still holds the old one: one buffer, one more generation.
    let generation = held.generation();
    let new = cache.fresh(at(0), KIND, Owner::inode(Ino(5))).unwrap();
    assert!(new.same(&held));
    assert_eq!(new.generation(), generation + 1);
    assert_eq!(new.owner(), Owner::inode(Ino(5)));
    drop((new, held));
    assert_eq!(cache.count(), 1);
}

#[test]
fn the_shrinker_takes_what_is_not_needed() {
    let (cache, _disk) = new_cache();
    for n in 0..1000 {
        put(&cache, at(n), b"x");
    }
    assert_eq!(cache.reclaim(1000), 0, "dirty");
    sync(&cache).unwrap();
    let held: Vec<_> = (0..10).map(|n| cache.find(at(n)).unwrap()).collect();
    assert_eq!(cache.reclaim(100), 100);
    assert_eq!(cache.count(), 900);
    let mut freed = 0;
    loop {
        match cache.reclaim(200) {
            0 => break,
            n => freed += n,
        }
    }
    assert_eq!(freed, 890);
    assert_eq!(cache.count(), 10);
    drop(held);
    assert_eq!(cache.reclaim(100), 10);
    assert_eq!(cache.purge(), (0, 0));
}

#[test]
fn a_buffer_that_is_used_survives_one_that_is_not() {
    let (cache, _disk) = new_cache();
    for n in 0..64 {
        put(&cache, at(n), b"x");
    }
    sync(&cache).unwrap();
    // The first round takes the mark of use away from all.
    cache.reclaim(1);
    let hot = cache.find(at(7)).map(|b| b.block());
    cache.reclaim(cache.count() as usize - 1);
    assert_eq!(cache.count(), 1);
    assert_eq!(cache.find(at(7)).map(|b| b.block()), hot);
}

#[test]
fn a_large_cache_stays_complete() {
    const N: u64 = 15_000;
    let (cache, _disk) = new_cache();
    for n in 0..N {
        put(&cache, at(n), &n.to_le_bytes());
    }
    assert_eq!(cache.count(), N);
    for n in (0..N).step_by(3) {
        cache.forget(at(n));
        cancel(&cache, &[at(n)]);
    }
    for n in 0..N {
        let found = cache.find(at(n));
        assert_eq!(found.is_some(), n % 3 != 0, "{n}");
        if let Some(buf) = found {
            assert_eq!(text(&buf), n.to_le_bytes());
        }
    }
    assert_eq!(cache.dirty_count(), N - N.div_ceil(3));
    assert_eq!(cache.ail.len() as u64, N - N.div_ceil(3));
    cache.ail.health().go_down();
    let down = cache.ail.health().log_down().unwrap();
    cache.ail.abort_all(&down);
    assert_eq!(cache.purge(), (0, 0));
    assert_eq!(cache.count(), 0);
}

/// A disk that notes the order of writes, and can be told to let none pass.
pub(super) struct Gate {
    disk: MemDisk,
    order: StdMutex<Vec<u64>>,
    pass: Option<StdMutex<mpsc::Receiver<()>>>,
    arrived: StdMutex<Option<mpsc::Sender<()>>>,
}

impl Backend for Gate {
    fn blocks(&self) -> u64 {
        self.disk.blocks()
    }
    fn read(&self, block: u64, buf: &mut [u8; 4096]) -> sys::SysResult<()> {
        self.disk.read(block, buf)
    }
    fn write(&self, block: u64, buf: &[u8; 4096]) -> sys::SysResult<()> {
        self.order.lock().unwrap().push(block);
        if let Some(arrived) = &*self.arrived.lock().unwrap() {
            arrived.send(()).unwrap();
        }
        if let Some(pass) = &self.pass {
            pass.lock().unwrap().recv().unwrap();
        }
        self.disk.write(block, buf)
    }
    fn flush(&self) -> sys::SysResult<()> {
        self.disk.flush()
    }
    fn discard(&self, start: u64, len: u64) -> sys::SysResult<()> {
        self.disk.discard(start, len)
    }
}

#[test]
fn blocks_are_written_in_ascending_order() {
    let gate = std::sync::Arc::new(Gate {
        disk: MemDisk::new(BLOCKS),
        order: StdMutex::new(Vec::new()),
        pass: None,
        arrived: StdMutex::new(None),
    });
    let cache = cache_on(gate.clone());
    for n in 0..500 {
        put(&cache, at(n * 7919 % 1009), b"x");
    }
    sync(&cache).unwrap();
    let order = gate.order.lock().unwrap();
    assert_eq!(order.len(), 500);
    assert!(order.chunks(64).all(|plug| plug.is_sorted()));
}

#[test]
fn readers_go_on_during_writeback_and_modifiers_wait() {
    let (go, pass) = mpsc::channel();
    let (arrived, there) = mpsc::channel();
    let gate = std::sync::Arc::new(Gate {
        disk: MemDisk::new(BLOCKS),
        order: StdMutex::new(Vec::new()),
        pass: Some(StdMutex::new(pass)),
        arrived: StdMutex::new(Some(arrived)),
    });
    let cache = cache_on(gate);
    let buf = put(&cache, at(0), b"old");
    std::thread::scope(|s| {
        let writer = s.spawn(|| sync(&cache));
        there.recv().unwrap();
        // The write is at the disk and stays there.
        assert_eq!(text(&buf), b"old");
        assert!(!buf.is_clean());
        let (done, changed) = mpsc::channel();
        let theirs = buf.clone();
        let world = &cache;
        let modifier = s.spawn(move || {
            change(world, &theirs, b"new");
            done.send(()).unwrap();
        });
        let soon = std::time::Duration::from_millis(50);
        assert!(changed.recv_timeout(soon).is_err(), "changed under I/O");
        assert_eq!(cache.reclaim(10), 0);
        go.send(()).unwrap();
        modifier.join().unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(text(&buf), b"new");
        assert_eq!(cache.dirty_count(), 1);
        go.send(()).unwrap();
        sync(&cache).unwrap();
    });
}

#[test]
fn many_threads_lose_nothing() {
    const BLOCKS_USED: u64 = 40;
    const ROUNDS: u64 = 3000;
    let (cache, disk) = new_cache();
    for n in 0..BLOCKS_USED {
        put(&cache, at(n), b"0");
    }
    std::thread::scope(|s| {
        for t in 0..3_u64 {
            let cache = &cache;
            s.spawn(move || {
                for i in 0..ROUNDS {
                    let n = (i * (t + 1) * 31) % BLOCKS_USED;
                    let buf = cache.read(at(n), KIND, OWNER).unwrap();
                    // Read and change under one exclusive hold.
                    modify(cache, &buf, |b| {
                        let new = number(SymlinkBlock::of(b).bytes()) + 1;
                        let new = new.to_string();
                        SymlinkBlock::format(b, &context(), at(n), OWNER, 0, new.as_bytes());
                    });
                }
            });
        }
        let cache = &cache;
        s.spawn(move || {
            for _ in 0..200 {
                sync(cache).unwrap();
                cache.reclaim(BLOCKS_USED as usize);
            }
        });
    });
    sync(&cache).unwrap();
    let other = cache_on(disk);
    let sum: u64 = (0..BLOCKS_USED)
        .map(|n| other.read(at(n), KIND, OWNER).unwrap())
        .map(|b| number(&text(&b)))
        .sum();
    assert_eq!(sum, 3 * ROUNDS);
}

#[test]
fn memory_beside_a_block_is_bounded() {
    // What the kernel's content lock takes besides the pointer to the page, without lockdep.
    const KERNEL_LOCK: usize = 16;
    let own = size_of::<Buf>() - size_of::<ContentLock<Block, BufContent>>();
    let object = own + KERNEL_LOCK + size_of::<usize>() + size_of::<u64>();
    // A shard doubles when it is full: at worst two slots and two chain heads a buffer.
    let index = 2 * (index::SLOT_BYTES + size_of::<u32>());
    assert!(object + index <= 192, "{object} + {index}");
}
