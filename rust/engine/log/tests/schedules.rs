// SPDX-License-Identifier: GPL-2.0

//! Group commit and the queue for log space under shuttle, with the real turn, space and wait loops
//! and a checkpoint of one number.

use crate::engine::{
    locks::TxnGate,
    log::{
        force::MyTurn,
        space::{cost, most_granted, Lack, LogSpace, Who},
        Log,
    },
    testing::schedules::{explore, schedules},
    Result,
};
use crate::format::{
    limits::MIN_LOG_BLOCKS, log::body_bytes, log::encode::blocks_for, BlockRange, DiskBlock, Lsn,
    BLOCK_SIZE,
};
use crate::sys::{
    atomic::{AtomicU64, Ordering},
    Arc, RwSem,
};
use shuttle::thread;
use std::vec::Vec;

/// Schedules of each model, random and biased to few preemptions each half.
const SCHEDULES: usize = 100_000;
const LOG: u32 = MIN_LOG_BLOCKS;

fn check(model: impl Fn() + Send + Sync + Clone + 'static) {
    explore(schedules(SCHEDULES), &shuttle::Config::new(), model);
}

/// Tasks commit one number after the other and want them durable.
struct World {
    log: Log,
    gate: RwSem<(), TxnGate>,
    /// Numbers committed: in the open context, or in one before.
    committed: AtomicU64,
    /// Numbers in durable checkpoints.
    durable: AtomicU64,
    checkpoints: AtomicU64,
}

impl World {
    /// What `make_checkpoint` does, as far as the order is concerned.
    fn make(&self, _turn: &mut MyTurn<'_>) -> Result<bool> {
        let (seq, has) = {
            let _gate = self.gate.write();
            let has = self.committed.load(Ordering::Acquire);
            if has == self.durable.load(Ordering::Acquire) {
                return Ok(false);
            }
            let seq = self.log.current_seq();
            self.log.current.store(seq + 1, Ordering::Release);
            (seq, has)
        };
        // The write takes its time: others commit.
        thread::yield_now();
        self.durable.store(has, Ordering::Release);
        self.log.durable.store(seq, Ordering::Release);
        self.log.turns.wake_all();
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn commit(&self) -> (u64, u64) {
        let _gate = self.gate.read();
        let number = self.committed.fetch_add(1, Ordering::AcqRel) + 1;
        (number, self.log.current_seq())
    }
}

#[test]
fn whoever_forces_finds_its_commit_durable() {
    check(|| {
        let range = BlockRange::new(DiskBlock(100), LOG);
        let w = Arc::new(World {
            log: Log::new(range, Lsn(body_bytes(LOG))),
            gate: RwSem::new(()),
            committed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
        });
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let w = w.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        let (_, seq) = w.commit();
                        w.log.force(seq, || Ok(()), |turn| w.make(turn)).unwrap();
                        // Everything up to there is in a checkpoint that is durable.
                        assert!(w.log.durable_seq() >= seq);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(w.durable.load(Ordering::Acquire), 6);
        assert!(w.checkpoints.load(Ordering::Relaxed) <= 6);
    });
}

/// Transactions of a third of what one may have, in a log whose tail only moves when a waiter sees
/// to it.
struct Full {
    space: LogSpace,
    /// The context is closed and written by one task at a time.
    gate: RwSem<u64, TxnGate>,
    ended: AtomicU64,
}

impl Full {
    fn relieve(&self, _lack: Lack) -> Result<bool> {
        let mut records = self.gate.write();
        let bytes = core::mem::take(&mut *records);
        let live = self.space.head().get() - self.space.tail().get();
        if bytes == 0 && live <= BLOCK_SIZE as u64 {
            // Others have grants; they will end.
            return Ok(false);
        }
        let head = self.space.close(bytes);
        thread::yield_now();
        // Everything before this checkpoint is in its place.
        self.space.durable(blocks_for(bytes), head);
        Ok(true)
    }
}

#[test]
fn everybody_gets_log_space() {
    check(|| {
        let space = LogSpace::new(LOG);
        space.start(Lsn(body_bytes(LOG)));
        let w = Arc::new(Full {
            space,
            gate: RwSem::new(0),
            ended: AtomicU64::new(0),
        });
        let bytes = most_granted(LOG) * 2 / 5 / 8 * 8;
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let w = w.clone();
                thread::spawn(move || {
                    let who = if task == 0 { Who::Chain } else { Who::Begin };
                    for _ in 0..3 {
                        w.space
                            .acquire(who, cost(bytes), || Ok(()), |lack| w.relieve(lack))
                            .unwrap();
                        {
                            // Like commits, one after the other as far as the count goes.
                            let mut records = w.gate.write();
                            let grown = cost(*records + bytes) - cost(*records);
                            *records += bytes;
                            w.space.commit(grown as i64);
                            w.space.give_back(cost(bytes) - grown);
                        }
                        w.ended.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(w.ended.load(Ordering::Relaxed), 9);
        assert_eq!(w.space.granted(), 0);
        assert_eq!(w.space.waiting(), 0);
    });
}
