// SPDX-License-Identifier: GPL-2.0

//! The AIL under shuttle: the real list, buffers, inodes and write path, with writes that end in
//! another thread and may fail, and a log that is a list.
//!
//! What is checked is what the races of the seed would break. A write never has a change that is not
//! durable in the log, and never hits a freed block. When the device has healed, everything reaches
//! its place, and nothing is left behind: no entry, token, pin, dirty mark or reference. A device
//! that does not heal does not keep an unmount from its end.

use crate::engine::{
    ail::Ail,
    buf::{BufCache, BufRef},
    faults::Faults,
    health::Health,
    inode::{cache::Cache, Inode, InodeRef},
    log::item::{ItemRef, CORE},
    testing::schedules,
};
use crate::format::{
    inode::InodeSlot,
    units::Ino,
    AgNumber,
    BlockKind,
    Context,
    DiskBlock,
    Geometry,
    Lsn,
    Owner,
    SymlinkBlock, //
};
use crate::sys::{
    self,
    device::{Backend, Device, Done, MemDisk, Queue},
    Errno,
    SysResult, //
};
use shuttle::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
        Condvar,
        Mutex, //
    },
    thread,
};
use std::collections::VecDeque;

/// Schedules of each model, random and biased to few preemptions each half.
const SCHEDULES: usize = 100_000;

const BLOCKS: u64 = 65_536;
const KIND: BlockKind = BlockKind::Symlink;
const OWNER: Owner = Owner::inode(Ino(77));

fn context() -> Context {
    Context::new(0xabcd, Geometry::for_device(BLOCKS, None).unwrap())
}

/// A block that may be anything.
fn at(n: u64) -> DiskBlock {
    DiskBlock(3 * BLOCKS / 4 + 100 + n)
}

type Job = (u64, Box<[u8; 4096]>, Done<()>);

/// A disk whose writes end later, in the thread that runs [`Disk::work`].
struct Disk {
    mem: MemDisk,
    jobs: Mutex<VecDeque<Job>>,
    more: Condvar,
    /// Writes that are going to fail.
    bad: AtomicU64,
    closing: AtomicBool,
    /// Looks at each block that is written.
    check: fn(&Disk, u64, &[u8; 4096]),
    /// What the log has of the block or inode: written by the log, looked at by `check`.
    durable: [AtomicU64; 2],
}

impl Backend for Disk {
    fn blocks(&self) -> u64 {
        BLOCKS
    }
    fn read(&self, block: u64, buf: &mut [u8; 4096]) -> SysResult<()> {
        self.mem.read(block, buf)
    }
    fn write(&self, block: u64, buf: &[u8; 4096]) -> SysResult<()> {
        self.mem.write(block, buf)
    }
    fn flush(&self) -> SysResult<()> {
        Ok(())
    }
    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Ok(())
    }
    fn queue(&self) -> Option<&dyn Queue> {
        Some(self)
    }
}

impl Queue for Disk {
    fn start_read(&self, block: u64, done: Done<Box<[u8; 4096]>>) {
        let mut buf = Box::new([0; 4096]);
        let r = self.mem.read(block, &mut buf);
        done(r.map(|()| buf));
    }
    fn start_write(&self, block: u64, buf: &[u8; 4096], done: Done<()>) {
        (self.check)(self, block, buf);
        let job = (block, Box::new(*buf), done);
        self.jobs.lock().unwrap().push_back(job);
        self.more.notify_all();
    }
}

impl Disk {
    /// Ends writes until the disk is closed and there is none.
    fn work(&self) {
        loop {
            let mut jobs = self.jobs.lock().unwrap();
            while jobs.is_empty() {
                if self.closing.load(Ordering::SeqCst) {
                    return;
                }
                jobs = self.more.wait(jobs).unwrap();
            }
            let (block, buf, done) = jobs.pop_front().unwrap();
            drop(jobs);
            let bad = self.bad.load(Ordering::SeqCst);
            if bad > 0 {
                self.bad.store(bad - 1, Ordering::SeqCst);
                done(Err(Errno::IO));
            } else {
                (self.check)(self, block, &buf);
                self.mem.write(block, &buf).unwrap();
                done(Ok(()));
            }
        }
    }

    fn close(&self) {
        let jobs = self.jobs.lock().unwrap();
        self.closing.store(true, Ordering::SeqCst);
        drop(jobs);
        self.more.notify_all();
    }
}

/// The log: what is committed, and not durable; and how far it is.
#[derive(Default)]
struct Log {
    items: Vec<ItemRef>,
    freed: Vec<BufRef>,
    /// What the objects will be when this is durable.
    values: [u64; 2],
    lsn: u64,
}

struct World {
    disk: Arc<Disk>,
    cache: sys::Arc<BufCache>,
    ail: sys::Arc<Ail>,
    inodes: Cache,
    log: Mutex<Log>,
    /// One checkpoint at a time.
    turn: Mutex<()>,
    truth: [AtomicU64; 2],
}

impl World {
    fn new(bad: u64, check: fn(&Disk, u64, &[u8; 4096])) -> Arc<Self> {
        let disk = Arc::new(Disk {
            mem: MemDisk::new(BLOCKS),
            jobs: Mutex::new(VecDeque::new()),
            more: Condvar::new(),
            bad: AtomicU64::new(bad),
            closing: AtomicBool::new(false),
            check,
            durable: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let faults = sys::try_arc(Faults::new(Default::default())).unwrap();
        let dev = Device::new(disk.clone(), false);
        let health = sys::try_arc(Health::new()).unwrap();
        Arc::new(Self {
            disk,
            cache: BufCache::with_shards(dev, context(), faults, 1).unwrap(),
            ail: Ail::new(health).unwrap(),
            inodes: Cache::with_shards(1).unwrap(),
            log: Mutex::new(Log::default()),
            turn: Mutex::new(()),
            truth: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// The commit of an item that has a pin for it.
    fn commit(&self, item: ItemRef, n: usize) {
        let value = self.truth[n].fetch_add(1, Ordering::SeqCst) + 1;
        let mut log = self.log.lock().unwrap();
        log.values[n] = value;
        let same = |other: &ItemRef| match (other, &item) {
            (ItemRef::Buf(a), ItemRef::Buf(b)) => a.same(b),
            (ItemRef::Inode(a), ItemRef::Inode(b)) => sys::Arc::ptr_eq(a, b),
            _ => false,
        };
        if log.items.iter().any(same) {
            assert!(!item.item().unpin(), "the context has a pin of its own");
            drop(log);
        } else {
            log.items.push(item);
        }
    }

    /// A checkpoint of what was committed.
    fn checkpoint(&self) {
        let _turn = self.turn.lock().unwrap();
        let (items, freed, values, lsn) = {
            let mut log = self.log.lock().unwrap();
            log.lsn += 4096;
            let items = std::mem::take(&mut log.items);
            let freed = std::mem::take(&mut log.freed);
            (items, freed, log.values, log.lsn)
        };
        for (durable, value) in self.disk.durable.iter().zip(values) {
            durable.store(value, Ordering::SeqCst);
        }
        let mut all = sys::Vec::new();
        items.into_iter().for_each(|item| all.must_push(item));
        let mut bufs = sys::Vec::new();
        freed.into_iter().for_each(|buf| bufs.must_push(buf));
        let (entered, _) = self.ail.committed(&mut all, Lsn(lsn));
        let (left, _) = self.ail.cancelled(&mut bufs);
        drop((entered, left));
    }

    fn round(&self) {
        self.ail.round(&self.inodes, Lsn(u64::MAX));
    }

    /// Until nothing is on the list: the device has healed.
    fn drain(&self) {
        for _ in 0..50 {
            self.checkpoint();
            self.round();
            self.ail.wait_writes();
            if self.ail.is_empty() {
                return;
            }
            thread::yield_now();
        }
        panic!("the list does not drain: {:?}", self.ail.state());
    }

    /// The block, with a number in it.
    fn change_block(&self) {
        let buf = self.cache.read(at(0), KIND, OWNER).unwrap();
        {
            let mut content = buf.write();
            let n = number(&content) + 1;
            format(&mut content, n);
            // As a transaction does: the pin comes with the first change.
            buf.pin();
        }
        buf.item().log(1);
        buf.set_dirty();
        self.commit(ItemRef::Buf(buf), 0);
    }

    fn inode(&self, n: usize) -> InodeRef {
        match self.inodes.find(ino(n)) {
            crate::engine::inode::cache::Found::Object(inode) => inode,
            _ => panic!("inode {n} is gone"),
        }
    }

    fn join(&self, inode: &InodeRef) {
        if !self.ail.join(inode.object()) {
            let owner = Owner::inode_file(AgNumber(0));
            let buf = self.cache.read(at(0), BlockKind::Inodes, owner).unwrap();
            self.ail.attach(inode.object(), buf);
        }
    }

    /// A transaction that changes an inode, or gives it back unchanged.
    fn change_inode(&self, n: usize, commit: bool) {
        let inode = self.inode(n);
        let mut inner = inode.ilock.write();
        self.join(&inode);
        if !commit {
            drop(self.ail.detach(inode.object()));
            return;
        }
        inner.core.version += 1;
        inode.log.log(CORE);
        inode.state.set_dirty();
        self.commit(ItemRef::Inode(inode.object().clone()), n);
    }

    /// The end: nothing is left behind.
    fn check_quiet(&self) {
        let state = self.ail.state();
        assert!(state.is_quiet(), "{state:?}");
        assert_eq!(self.cache.dirty_count(), 0);
        for n in 0..2 {
            if let Some(inode) = self.inodes.peek(ino(n)) {
                assert!(!inode.state.is_dirty() && !inode.log.is_pinned());
                assert_eq!(inode.log.logged(), 0);
            }
        }
        if let Some(buf) = self.cache.find(at(0)) {
            assert!(!buf.item().is_pinned());
            assert_eq!((buf.item().logged(), buf.item().entry()), (0, None));
        }
        assert_eq!(self.cache.purge(), (0, 0), "(lost, held)");
    }
}

fn number(content: &[u8; 4096]) -> u64 {
    let text = SymlinkBlock::of(content).bytes();
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

fn format(content: &mut [u8; 4096], n: u64) {
    let text = n.to_string();
    SymlinkBlock::format(content, &context(), at(0), OWNER, 0, text.as_bytes());
}

fn ino(n: usize) -> Ino {
    Ino::new(AgNumber(0), 64 + n as u32)
}

/// Runs the tasks, and the thread that ends writes, to their ends; then `end`, while writes end.
fn run(world: &Arc<World>, tasks: Vec<fn(&World)>, end: fn(&World)) {
    let disk = world.disk.clone();
    let worker = thread::spawn(move || disk.work());
    let threads: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let world = world.clone();
            thread::spawn(move || task(&world))
        })
        .collect();
    for t in threads {
        t.join().unwrap();
    }
    end(world);
    world.disk.close();
    worker.join().unwrap();
    world.check_quiet();
}

fn explore(model: fn()) {
    let config = shuttle::Config::new();
    schedules::explore(schedules::schedules(SCHEDULES), &config, model);
}

/// No write has what the log has not.
fn block_is_durable(disk: &Disk, _block: u64, content: &[u8; 4096]) {
    let durable = disk.durable[0].load(Ordering::SeqCst);
    assert!(number(content) <= durable, "written before it was logged");
}

fn world_of_a_block(bad: u64) -> Arc<World> {
    let world = World::new(bad, block_is_durable);
    let mut content = [0; 4096];
    format(&mut content, 0);
    crate::format::header::seal(&mut content, KIND, &context(), Lsn(1));
    world.disk.mem.write(at(0).get(), &content).unwrap();
    world
}

fn value_on_disk(world: &World) -> u64 {
    let mut content = [0; 4096];
    world.disk.mem.read(at(0).get(), &mut content).unwrap();
    number(&content)
}

#[test]
fn push_against_completion_relog_and_reclaim() {
    explore(|| {
        let world = world_of_a_block(0);
        run(
            &world,
            vec![
                |w| {
                    for _ in 0..2 {
                        w.change_block();
                        w.checkpoint();
                    }
                },
                |w| {
                    w.round();
                    w.cache.reclaim(2);
                    w.round();
                },
            ],
            World::drain,
        );
        assert_eq!(value_on_disk(&world), 2);
    });
}

#[test]
fn failed_writes_are_written_again_until_they_are_there() {
    explore(|| {
        let world = world_of_a_block(2);
        run(
            &world,
            vec![
                |w| {
                    w.change_block();
                    w.checkpoint();
                    w.change_block();
                },
                |w| {
                    w.round();
                    w.round();
                    w.cache.reclaim(2);
                },
            ],
            World::drain,
        );
        assert_eq!(value_on_disk(&world), 2);
    });
}

#[test]
fn a_freed_block_is_not_written() {
    explore(|| {
        let world = world_of_a_block(1);
        run(
            &world,
            vec![
                |w| {
                    w.change_block();
                    w.checkpoint();
                    // The transaction that frees it, and the checkpoint that says so.
                    let buf = w.cache.read(at(0), KIND, OWNER).unwrap();
                    drop(w.cache.forget(at(0)));
                    buf.pin();
                    w.log.lock().unwrap().freed.push(buf);
                    w.checkpoint();
                    // Somebody else's data.
                    w.disk.mem.write(at(0).get(), &[0x55; 4096]).unwrap();
                },
                |w| {
                    w.round();
                    w.round();
                },
            ],
            World::drain,
        );
        let mut content = [0; 4096];
        world.disk.mem.read(at(0).get(), &mut content).unwrap();
        assert_eq!(content, [0x55; 4096], "a freed block was written");
    });
}

#[test]
fn an_unmount_ends_though_nothing_can_be_written() {
    explore(|| {
        let world = world_of_a_block(u64::MAX);
        run(
            &world,
            vec![
                |w| {
                    w.change_block();
                    w.checkpoint();
                    w.change_block();
                },
                |w| {
                    w.ail.begin_unmount();
                    for n in 0.. {
                        assert!(n < 1000, "the unmount does not end");
                        thread::yield_now();
                        if w.ail.round(&w.inodes, Lsn(u64::MAX)).pinned != 0 {
                            w.checkpoint();
                        }
                        w.ail.wait_writes();
                        if w.ail.is_empty() || w.ail.hopeless().is_some() {
                            break;
                        }
                    }
                },
            ],
            |w| {
                w.ail.health().go_down();
                let down = w.ail.health().log_down().unwrap();
                let mut items = sys::Vec::new();
                let left = std::mem::take(&mut w.log.lock().unwrap().items);
                left.into_iter().for_each(|item| items.must_push(item));
                drop(w.ail.aborted(&mut items, &down));
                w.ail.abort_all(&down);
                w.ail.wait_writes();
                w.ail.abort_all(&down);
            },
        );
        assert_eq!(value_on_disk(&world), 0);
    });
}

/// No slot has what the log has not.
fn slots_are_durable(disk: &Disk, _block: u64, content: &[u8; 4096]) {
    for (n, durable) in disk.durable.iter().enumerate() {
        let slot = InodeSlot::of(content, ino(n)).unwrap();
        slot.verify_identity(&context(), ino(n)).unwrap();
        let durable = durable.load(Ordering::SeqCst);
        assert!(
            slot.version.get() <= durable,
            "flushed before it was logged"
        );
    }
}

fn world_of_inodes(bad: u64) -> Arc<World> {
    let world = World::new(bad, slots_are_durable);
    let mut content = [0; 4096];
    for n in 0..8 {
        let slot = InodeSlot::of_mut(&mut content, ino(n)).unwrap();
        slot.reset(&context(), ino(n), 1);
        slot.seal(&context(), Lsn(1));
    }
    world.disk.mem.write(at(0).get(), &content).unwrap();
    for n in 0..2 {
        let inode = Inode::alloc(ino(n)).unwrap();
        {
            let mut inner = inode.ilock.write();
            inner.core.mode = 0o100_644;
            inner.core.nlink = 1;
            inner.core.generation = 1;
            inner.data =
                crate::engine::fork::Fork::new(crate::engine::fork::ForkFormat::InlineExtents);
        }
        world.inodes.publish(&inode);
    }
    world
}

fn versions_on_disk(world: &World) -> [u64; 2] {
    let mut content = [0; 4096];
    world.disk.mem.read(at(0).get(), &mut content).unwrap();
    [0, 1].map(|n| InodeSlot::of(&content, ino(n)).unwrap().version.get())
}

#[test]
fn two_inodes_of_a_block_are_flushed_changed_and_given_back() {
    explore(|| {
        let world = world_of_inodes(0);
        run(
            &world,
            vec![
                |w| {
                    w.change_inode(0, true);
                    w.checkpoint();
                    w.change_inode(0, true);
                },
                |w| {
                    w.change_inode(1, true);
                    w.change_inode(1, false);
                },
                |w| {
                    w.round();
                    w.round();
                },
            ],
            World::drain,
        );
        assert_eq!(versions_on_disk(&world), [2, 1]);
    });
}

#[test]
fn failed_flushes_fail_the_inodes_they_had_and_no_other() {
    explore(|| {
        let world = world_of_inodes(1);
        run(
            &world,
            vec![
                |w| {
                    w.change_inode(0, true);
                    w.checkpoint();
                    w.change_inode(0, false);
                    w.change_inode(1, true);
                },
                |w| {
                    w.round();
                    w.round();
                    w.cache.reclaim(2);
                },
            ],
            World::drain,
        );
        assert_eq!(versions_on_disk(&world), [1, 1]);
    });
}
