// SPDX-License-Identifier: GPL-2.0

//! The real cache, the real AIL and its pusher under shuttle, over a disk whose requests end in
//! threads of their own, in any order, and the first of which fail.
//!
//! What is checked: what was committed last is on the disk when the AIL is empty, which it becomes;
//! each block has one living buffer; nothing that has gone is used.

use crate::engine::{
    ail::Ail,
    buf::{BufCache, BufRef},
    faults::Faults,
    health::Health,
    inode::cache::Cache as Inodes,
    log::item::ItemRef,
    testing::schedules, //
};
use crate::format::{BlockKind, Context, DiskBlock, Geometry, Ino, Lsn, Owner, SymlinkBlock};
use crate::sys::{
    self,
    device::{Backend, Done, Queue},
    Arc,
    Device,
    Errno,
    SysResult, //
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;

/// Schedules of each model, random and biased to few preemptions each half.
const SCHEDULES: usize = 100_000;

const OWNER: Owner = Owner::inode(Ino(77));
const KIND: BlockKind = BlockKind::Symlink;
const BLOCKS: u64 = 65_536;
/// The one block.
const BLOCK: DiskBlock = DiskBlock(3 * BLOCKS / 4 + 100);
/// Rounds after which a pusher that cannot write should have been told to give up.
const ROUNDS: usize = 8;

/// Not modelled: only what is on it counts.
struct Disk {
    blocks: Mutex<HashMap<u64, Box<[u8; 4096]>>>,
    /// How many writes fail.
    failures: AtomicU32,
}

/// A disk that takes its time.
struct Slow(Arc<Disk>);

impl Backend for Slow {
    fn blocks(&self) -> u64 {
        BLOCKS
    }
    fn read(&self, block: u64, buf: &mut [u8; 4096]) -> SysResult<()> {
        match self.0.blocks.lock().unwrap().get(&block) {
            Some(data) => buf.copy_from_slice(&data[..]),
            None => buf.fill(0),
        }
        Ok(())
    }
    fn write(&self, block: u64, buf: &[u8; 4096]) -> SysResult<()> {
        let left = self.0.failures.load(Ordering::SeqCst);
        if left != 0 {
            self.0.failures.store(left - 1, Ordering::SeqCst);
            return Err(Errno::IO);
        }
        self.0.blocks.lock().unwrap().insert(block, Box::new(*buf));
        Ok(())
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

impl Queue for Slow {
    fn start_read(&self, block: u64, done: Done<Box<[u8; 4096]>>) {
        let disk = Slow(self.0.clone());
        shuttle::thread::spawn(move || {
            let mut data = Box::new([0; 4096]);
            let result = disk.read(block, &mut data);
            done(result.map(|()| data));
        });
    }
    fn start_write(&self, block: u64, buf: &[u8; 4096], done: Done<()>) {
        let disk = Slow(self.0.clone());
        let data = Box::new(*buf);
        shuttle::thread::spawn(move || done(disk.write(block, &data)));
    }
}

struct World {
    disk: Arc<Disk>,
    cache: Arc<BufCache>,
    ail: Arc<Ail>,
    inodes: Inodes,
}

impl World {
    fn new(failures: u32) -> Arc<Self> {
        let disk = Arc::new(Disk {
            blocks: Mutex::new(HashMap::new()),
            failures: AtomicU32::new(failures),
        });
        let dev = Device::new(Arc::new(Slow(disk.clone())), false);
        let faults = sys::try_arc(Faults::new(Default::default())).unwrap();
        Arc::new(Self {
            disk,
            cache: BufCache::with_shards(dev, context(), faults, 1).unwrap(),
            ail: Ail::new(sys::try_arc(Health::new()).unwrap()).unwrap(),
            inodes: Inodes::with_shards(1).unwrap(),
        })
    }

    /// A transaction that makes the text of the block, and its checkpoint, at `lsn`.
    fn commit(&self, buf: &BufRef, lsn: u64, text: impl FnOnce(u8) -> u8) {
        {
            let mut content = buf.write();
            let old = SymlinkBlock::of(&content).bytes().first().copied();
            let text = [text(old.unwrap_or(0))];
            SymlinkBlock::format(&mut content, &context(), BLOCK, OWNER, 0, &text);
            buf.set_dirty();
            buf.pin();
        }
        let mut items = sys::Vec::new();
        items.must_push(ItemRef::Buf(buf.clone()));
        let (bag, _tail) = self.ail.committed(&mut items, Lsn(lsn));
        drop(bag);
    }

    /// One round of the pusher.
    fn round(&self) {
        self.ail.round(&self.inodes, Lsn(u64::MAX));
    }

    /// Rounds until the AIL is empty.
    fn drain(&self) {
        for _ in 0..ROUNDS {
            self.ail.wait_writes();
            if self.ail.state().is_quiet() {
                return;
            }
            self.round();
        }
        panic!("the AIL does not drain: {:?}", self.ail.state());
    }

    /// The text on the disk.
    fn on_disk(&self) -> u8 {
        let blocks = self.disk.blocks.lock().unwrap();
        let data = blocks.get(&BLOCK.get()).expect("the block was written");
        SymlinkBlock::of(data).bytes()[0]
    }

    /// Breaks the circle of list, buffers and cache.
    fn close(&self) {
        assert_eq!(self.cache.purge(), (0, 0), "lost or held");
    }
}

fn context() -> Context {
    Context::new(0xabcd, Geometry::for_device(BLOCKS, None).unwrap())
}

/// Runs `model` under both schedulers, as often as LATCHFS_SCHEDULES says or [`SCHEDULES`].
fn explore(model: fn()) {
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    schedules::explore(schedules::schedules(SCHEDULES), &config, model);
}

fn spawn(
    world: &Arc<World>,
    f: impl FnOnce(&World) + Send + 'static,
) -> shuttle::thread::JoinHandle<()> {
    let world = world.clone();
    shuttle::thread::spawn(move || f(&world))
}

/// The pusher, a disk that fails at first, the shrinker, and a transaction that changes the block
/// again.
fn push_fail_reclaim() {
    let world = World::new(1);
    let buf = world.cache.fresh(BLOCK, KIND, OWNER).unwrap();
    world.commit(&buf, 4096, |_| b'a');
    drop(buf);
    let pusher = spawn(&world, |w| {
        for _ in 0..3 {
            w.round();
        }
    });
    let shrinker = spawn(&world, |w| {
        w.cache.reclaim(1);
        w.cache.reclaim(1);
    });
    let buf = world.cache.read(BLOCK, KIND, OWNER).unwrap();
    world.commit(&buf, 8192, |_| b'b');
    drop(buf);
    pusher.join().unwrap();
    shrinker.join().unwrap();
    world.drain();
    assert_eq!(world.on_disk(), b'b');
    world.close();
}

/// Two tasks look for a block that is not cached and change it, with a shrinker.
fn two_creators() {
    let world = World::new(0);
    let buf = world.cache.fresh(BLOCK, KIND, OWNER).unwrap();
    world.commit(&buf, 4096, |_| 1);
    drop(buf);
    world.drain();
    while world.cache.reclaim(1) != 0 {}
    let other = spawn(&world, |w| {
        let buf = w.cache.read(BLOCK, KIND, OWNER).unwrap();
        w.commit(&buf, 8192, |old| old + 1);
    });
    let shrinker = spawn(&world, |w| {
        w.cache.reclaim(1);
    });
    let buf = world.cache.read(BLOCK, KIND, OWNER).unwrap();
    world.commit(&buf, 8192, |old| old + 1);
    drop(buf);
    other.join().unwrap();
    shrinker.join().unwrap();
    world.drain();
    assert_eq!(world.on_disk(), 3);
    world.close();
}

/// An unmount of a device that takes nothing any more.
fn nothing_can_be_written() {
    let world = World::new(u32::MAX);
    let buf = world.cache.fresh(BLOCK, KIND, OWNER).unwrap();
    world.commit(&buf, 4096, |_| b'a');
    drop(buf);
    world.ail.begin_unmount();
    let mut rounds = 0;
    while world.ail.hopeless().is_none() {
        rounds += 1;
        assert!(rounds < ROUNDS, "it does not end");
        world.round();
        world.ail.wait_writes();
    }
    world.ail.health().go_down();
    world.ail.abort_all(&world.ail.health().log_down().unwrap());
    assert!(world.ail.state().is_quiet());
    world.close();
}

#[cfg(not(latchfs_races))]
#[test]
fn what_was_committed_last_reaches_the_disk() {
    explore(push_fail_reclaim);
}

#[cfg(not(latchfs_races))]
#[test]
fn one_buffer_of_a_block() {
    explore(two_creators);
}

#[cfg(not(latchfs_races))]
#[test]
fn unmount_ends() {
    explore(nothing_can_be_written);
}

/// What has to be caught, and the models of it on the real build.
#[cfg(latchfs_races)]
mod mutants {
    use super::*;
    use crate::engine::testing::race_table::Model;
    use crate::sys::sync_point::points::Mutant;

    fn caught(mutants: &'static [Mutant], name: &'static str, model: fn()) {
        Model {
            mutants,
            name,
            with: "shuttle",
        }
        .check(|| explore(model));
    }

    #[test]
    fn failed_state_without_its_buffer_and_item_touched_after_push() {
        caught(
            &[Mutant::Seed000, Mutant::Seed000Sibling],
            "push, fail, reclaim",
            push_fail_reclaim,
        );
    }

    #[test]
    fn policy_not_asked() {
        caught(
            &[Mutant::Seed000Retry],
            "nothing can be written",
            nothing_can_be_written,
        );
    }

    #[test]
    fn duplicate_insert() {
        caught(&[Mutant::Seed002Insert], "two creators", two_creators);
    }
}
