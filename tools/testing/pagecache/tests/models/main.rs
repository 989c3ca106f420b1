// SPDX-License-Identifier: GPL-2.0

//! The data path under shuttle: the real extent index, transactions, log and allocator under the
//! model of the page cache, on a small file.
//!
//! A model is a menu of operations. In each schedule two or three threads do some of them, chosen at
//! random, while the scheduler interleaves all their locks and atomics. Afterwards each cell of the
//! file is what a thread has written to it last, page cache, index and disk say the same, and all
//! space has an owner (O3, O4, O5).
//!
//! With a mutant chosen the model of its race has to fail.

mod ops;
#[allow(dead_code, reason = "shared with the engine, which uses more of it")]
#[path = "../../../../../rust/engine/testing/race_table.rs"]
mod race_table;
#[path = "../../../../../rust/engine/testing/schedules.rs"]
mod schedules;
mod world;

/// What the sources that are shared with the engine know the facade by.
mod sys {
    pub(crate) use latchfs_host::*;
}

use ops::{judge, Op};
use shuttle::{
    rand::{thread_rng, Rng},
    thread, Config, MaxSteps,
};
use std::{
    cell::RefCell,
    panic::{catch_unwind, resume_unwind, AssertUnwindSafe},
    sync::{Arc, Mutex},
};
use world::World;

/// Schedules of each model if LATCHFS_SCHEDULES does not say.
const SCHEDULES: usize = 100_000;

std::thread_local! {
    /// What the schedule has done so far. All tasks of a schedule are in one thread.
    static STORY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn tell(line: String) {
    STORY.with_borrow_mut(|story| story.push(line));
}

/// Runs `model` under both schedulers. What a schedule that fails has done is shown.
fn explore(schedules: usize, model: impl Fn() + Clone + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(1_000_000);
    config.failure_persistence = shuttle::FailurePersistence::None;
    let model = move || {
        STORY.with_borrow_mut(Vec::clear);
        model();
    };
    let run = catch_unwind(AssertUnwindSafe(|| {
        schedules::prepare(&config, World::prepare);
        schedules::explore(schedules, &config, model);
    }));
    if let Err(e) = run {
        STORY.with_borrow(|story| println!("{}", story.join("\n")));
        resume_unwind(e);
    }
}

/// One schedule: each thread does `each` operations of its menu, one of them at least.
fn schedule(menus: &[&'static [Op]], each: usize) {
    let world = World::new();
    // Half of the time something is dirty already.
    if thread_rng().gen() {
        Op::Write.run(&world.file, 5);
        if thread_rng().gen() {
            world.file.writepages(0, u64::MAX, 1);
        }
    }
    let first = World::cells(&world.file);
    tell(format!("at first: {first:?}"));
    let weak = menus.iter().any(|menu| menu.contains(&Op::Direct))
        && menus.iter().any(|menu| menu.contains(&Op::Mkwrite));
    let threads: Vec<_> = menus
        .iter()
        .enumerate()
        .map(|(n, menu)| {
            let menu: &'static [Op] = menu;
            let file = world.file.clone();
            thread::spawn(move || {
                (0..thread_rng().gen_range(1..=each))
                    .map(|i| {
                        let op = menu[thread_rng().gen_range(0..menu.len())];
                        let value = (10 * (n + 1) + i) as u8;
                        tell(format!("thread {n}: {op:?} of {value}"));
                        let effects = op.run(&file, value);
                        tell(format!("thread {n}: {op:?} has written {effects:?}"));
                        effects
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let effects: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    judge(&world.end(), &first, &effects, weak);
}

/// A model on the real build: each of its threads does one or two operations of its menu.
fn model(menus: &'static [&'static [Op]]) {
    explore(schedules::schedules(SCHEDULES), move || schedule(menus, 2));
}

/// A seed decides all that happens, so nothing that decides may depend on addresses, on the time or
/// on what other tests do meanwhile.
#[test]
fn the_same_seed_is_the_same_schedules() {
    let run = || {
        let all = Arc::new(Mutex::new(Vec::new()));
        let stories = all.clone();
        explore(300, move || {
            schedule(&[ALL, ALL, ALL], 2);
            let story = STORY.with_borrow(Clone::clone);
            stories.lock().unwrap().push(story);
        });
        Arc::into_inner(all).unwrap().into_inner().unwrap()
    };
    let (a, b) = (run(), run());
    assert_eq!(a.len(), 300);
    for (n, (a, b)) in a.iter().zip(&b).enumerate() {
        assert_eq!(a, b, "schedule {n}");
    }
}

#[test]
fn truncation() {
    model(&[
        &[Op::Truncate],
        &[Op::Write, Op::Mkwrite],
        &[Op::Writeback, Op::Fsync, Op::Flush],
    ]);
}

#[test]
fn direct_writes_and_stores() {
    model(&[
        &[Op::Direct],
        &[Op::Mkwrite],
        &[Op::Punch, Op::Writeback, Op::Background],
    ]);
}

/// Every operation there is.
const ALL: &[Op] = &[
    Op::Write,
    Op::Short,
    Op::Mkwrite,
    Op::Allocate,
    Op::Punch,
    Op::Zero,
    Op::Truncate,
    Op::Writeback,
    Op::Direct,
    Op::Fsync,
    Op::Read,
    Op::Background,
];

#[test]
fn everything() {
    model(&[ALL, ALL, ALL]);
}

/// The models that have mutants to catch, on those and on the real build.
mod mutants {
    use super::*;
    use crate::race_table::Model;
    use latchfs_host::sync_point::points::Mutant;

    fn check(mutants: &'static [Mutant], name: &'static str, menus: &'static [&'static [Op]]) {
        Model {
            mutants,
            name,
            with: "shuttle",
        }
        .check(|| model(menus));
    }

    #[test]
    fn writes_and_stores() {
        check(
            &[Mutant::Seed003, Mutant::Seed004, Mutant::Seed004Valid],
            "write, mkwrite, writeback",
            &[
                &[Op::Write, Op::Short],
                &[Op::Mkwrite, Op::Read],
                &[Op::Writeback, Op::Background, Op::Flush],
            ],
        );
    }

    #[test]
    fn fallocate() {
        check(
            &[Mutant::Seed003],
            "fallocate, punch, mkwrite",
            &[
                &[Op::Allocate, Op::Punch, Op::Zero],
                &[Op::Mkwrite, Op::Write],
                &[Op::Writeback, Op::Flush, Op::Background],
            ],
        );
    }

    #[test]
    fn direct_writes() {
        check(
            &[Mutant::Seed001],
            "direct write, read, fsync",
            &[
                &[Op::Direct],
                &[Op::Direct, Op::Write, Op::Allocate, Op::Punch],
                &[Op::Fsync, Op::Flush, Op::Read, Op::Background],
            ],
        );
    }
}

/// The operations whose pairs are explored one by one: the long form.
const PAIRED: [&[Op]; 8] = [
    &[Op::Write, Op::Short],
    &[Op::Mkwrite],
    &[Op::Allocate, Op::Zero],
    &[Op::Punch],
    &[Op::Truncate],
    &[Op::Writeback, Op::Background],
    &[Op::Direct],
    &[Op::Fsync],
];

/// Every pair that begins with the operation number `a`.
fn pairs(a: usize) {
    for b in &PAIRED[a..] {
        let menus = [PAIRED[a], b];
        let n = schedules::schedules(SCHEDULES);
        explore(n, move || schedule(&menus, 2));
        println!("{:?} {:?}: {n} schedules", menus[0], menus[1]);
    }
}

macro_rules! pairs {
    ($($name:ident: $n:literal;)*) => {
        $(
            #[test]
            #[ignore = "the long form: make shuttle-long"]
            fn $name() {
                pairs($n);
            }
        )*
    };
}

pairs! {
    pairs_write: 0;
    pairs_mkwrite: 1;
    pairs_fallocate: 2;
    pairs_punch: 3;
    pairs_truncate: 4;
    pairs_writeback: 5;
    pairs_direct: 6;
    pairs_fsync: 7;
}
