// SPDX-License-Identifier: GPL-2.0

//! Log space: nothing is given twice, everybody gets a turn.

use crate::engine::log::space::{cost, most_granted, Lack, LogSpace, Who, OVERHEAD};
use crate::engine::Result;
use crate::format::{
    limits::MIN_LOG_BLOCKS,
    log::{body_bytes, encode::blocks_for},
    Lsn, BLOCK_SIZE,
};
use proptest::prelude::*;
use std::collections::VecDeque;

const LOG: u32 = MIN_LOG_BLOCKS;
const BLOCK: u64 = BLOCK_SIZE as u64;

fn space() -> LogSpace {
    let space = LogSpace::new(LOG);
    space.start(Lsn(body_bytes(LOG)));
    space
}

/// A grant, if it is to be had at once.
fn now(space: &LogSpace, who: Who, bytes: u64) -> std::result::Result<(), Option<Lack>> {
    let mut why = None;
    let got: Result<bool> = space.acquire(
        who,
        bytes,
        || Ok(()),
        |lack| {
            why = Some(lack);
            Err(crate::engine::Error::new(crate::sys::Errno::AGAIN))
        },
    );
    got.map(|_| ()).map_err(|_| why)
}

#[test]
fn the_largest_transaction_fits_into_an_empty_log_and_no_larger_one() {
    let space = space();
    let most = most_granted(LOG);
    now(&space, Who::Begin, most).unwrap();
    space.give_back(most);
    assert_eq!(now(&space, Who::Begin, most + 1), Err(Some(Lack::Context)));
    now(&space, Who::Begin, most).unwrap();
    assert_eq!(now(&space, Who::Begin, 1), Err(Some(Lack::Context)));
}

#[test]
fn a_log_that_nobody_empties_fills_up_and_chains_get_more_of_it() {
    let space = space();
    let bytes = 100 * BLOCK;
    let mut n = 0;
    let lack = loop {
        match now(&space, Who::Begin, bytes) {
            Ok(()) => {}
            Err(lack) => break lack,
        }
        space.commit(bytes as i64);
        let records = bytes - bytes / 100;
        space.close(records);
        // The tail stays where it began.
        space.durable(blocks_for(records), Lsn(body_bytes(LOG)));
        n += 1;
    };
    assert_eq!(lack, Some(Lack::Tail));
    assert!(n >= 5);
    now(&space, Who::Chain, bytes).unwrap();
    space.give_back(bytes);
    // The tail moves: all is free again.
    space.close(0);
    let head = space.head();
    space.durable(1, head);
    now(&space, Who::Begin, bytes).unwrap();
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A transaction begins; the next link of a chain.
    Ask(bool, u64),
    /// The oldest open one logs a part of its grant, and ends.
    Commit(u64),
    /// The open context is closed.
    Close,
    /// The checkpoint under way is durable; that part of what is live is in its place.
    Durable(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (any::<bool>(), 1..most_granted(LOG)).prop_map(|(chain, n)| Op::Ask(chain, n / 3 + 1)),
        4 => (0..=100_u64).prop_map(Op::Commit),
        1 => Just(Op::Close),
        2 => (0..=100_u64).prop_map(Op::Durable),
    ];
    proptest::collection::vec(op, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_overwritten_that_replay_needs(ops in ops()) {
        let space = space();
        let mut open: VecDeque<u64> = VecDeque::new();
        // Bytes of records in the open context, and of the one being written.
        let mut records = 0_u64;
        let mut writing: Option<u64> = None;
        for op in ops {
            match op {
                Op::Ask(chain, bytes) => {
                    let who = if chain { Who::Chain } else { Who::Begin };
                    if now(&space, who, cost(bytes)).is_ok() {
                        open.push_back(bytes);
                    }
                }
                Op::Commit(percent) => {
                    if let Some(bytes) = open.pop_front() {
                        let logged = bytes * percent / 100 / 8 * 8;
                        let grown = cost(records + logged) - cost(records);
                        records += logged;
                        space.commit(grown as i64);
                        space.give_back(cost(bytes) - grown);
                    }
                }
                Op::Close => {
                    if writing.is_none() {
                        space.close(records);
                        writing = Some(std::mem::take(&mut records));
                    }
                }
                Op::Durable(percent) => {
                    if let Some(bytes) = writing.take() {
                        let blocks = blocks_for(bytes);
                        prop_assert!(blocks * BLOCK <= u64::from(LOG / 4) * BLOCK);
                        let (tail, head) = (space.tail().get(), space.head().get());
                        // What is written does not reach what is live.
                        prop_assert!(head + blocks * BLOCK - tail <= body_bytes(LOG));
                        let to = tail + (head - tail) * percent / 100 / BLOCK * BLOCK;
                        space.durable(blocks, Lsn(to));
                    }
                }
            }
            // An empty checkpoint always fits, behind the one that is to come.
            let live = space.head().get() - space.tail().get();
            let coming = writing.map_or(0, |n| blocks_for(n) * BLOCK);
            let next = blocks_for(records) * BLOCK;
            prop_assert!(live + coming + next + BLOCK <= body_bytes(LOG));
            let granted: u64 = open.iter().map(|n| cost(*n)).sum();
            prop_assert_eq!(space.granted(), granted);
            prop_assert!(cost(records) + granted + OVERHEAD <= u64::from(LOG / 4) * BLOCK);
        }
    }
}

#[test]
fn waiters_are_served_in_their_order_and_chains_first() {
    use std::sync::Mutex;
    let space = space();
    let most = most_granted(LOG);
    now(&space, Who::Begin, most).unwrap();
    let order = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        let (space, order) = (&space, &order);
        let wait = |name: &'static str, who, behind: u64| {
            s.spawn(move || {
                let got = space.acquire(who, most, || Ok(()), |_| Ok(false));
                assert!(got.unwrap());
                order.lock().unwrap().push(name);
                space.give_back(most);
            });
            while space.waiting() < behind {
                std::thread::yield_now();
            }
        };
        wait("first", Who::Begin, 1);
        wait("second", Who::Begin, 2);
        wait("chain", Who::Chain, 3);
        wait("third", Who::Begin, 4);
        space.give_back(most);
    });
    assert_eq!(
        *order.lock().unwrap(),
        ["chain", "first", "second", "third"]
    );
}

#[test]
fn who_gives_up_lets_the_others_pass() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let space = space();
    let most = most_granted(LOG);
    now(&space, Who::Begin, most).unwrap();
    let down = AtomicBool::new(false);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let live = || {
                    if down.load(Ordering::SeqCst) {
                        Err(crate::engine::Error::new(crate::sys::Errno::IO))
                    } else {
                        Ok(())
                    }
                };
                assert!(space
                    .acquire(Who::Begin, most, live, |_| Ok(false))
                    .is_err());
            });
        }
        while space.waiting() < 4 {
            std::thread::yield_now();
        }
        down.store(true, Ordering::SeqCst);
        space.wake();
    });
    assert_eq!(space.waiting(), 0);
    space.give_back(most);
    now(&space, Who::Begin, most).unwrap();
}
