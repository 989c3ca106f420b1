// SPDX-License-Identifier: GPL-2.0

//! One seed: a run of the engine, and the crash states that come of it.

use crate::{
    check::{check, fsck_unrecovered},
    crash::{Replay, STYLES},
    disk::{Broken, SimDisk},
    image::{Base, BaseKind, Image},
    model::Model,
    trace::Trace,
    workload::{self, Plan},
    world::{Flusher, World},
};
use latchfs_host::sim::{self, Options, Rng};
use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

/// How thoroughly.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Crash states of each seed, at most.
    pub states: u64,
    /// fsck -n looks at some states before they are recovered.
    pub unrecovered: bool,
    /// What of the disk is broken, for tests of the simulator.
    pub broken: Broken,
}

/// What came of a seed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Operations.
    pub ops: u64,
    /// Events at the disk.
    pub events: u64,
    /// Crash states that were recovered and checked, those of crashes in recovery included.
    pub states: u64,
    /// Crashes in recovery among them.
    pub nested: u64,
    /// What was wrong, with all that is known about it.
    pub violations: Vec<String>,
}

/// What a run leaves behind.
pub struct Record {
    /// What was done.
    pub model: Model,
    /// What the disk saw.
    pub trace: Trace,
    /// What was wrong while it ran.
    pub wrong: Vec<String>,
}

fn base(kind: BaseKind) -> Arc<Base> {
    static EMPTY: OnceLock<Arc<Base>> = OnceLock::new();
    static FULL: OnceLock<Arc<Base>> = OnceLock::new();
    let cell = match kind {
        BaseKind::Empty => &EMPTY,
        BaseKind::Full => &FULL,
    };
    cell.get_or_init(|| Arc::new(Base::new(kind))).clone()
}

/// The disk a run of this plan begins with.
pub fn beginning(plan: &Plan) -> Image {
    let mut image = Image::new(base(plan.base));
    image.begin_log(plan.log_at);
    image
}

/// Runs the engine as `plan` says. Errors: the run has no result; why.
pub fn record(seed: u64, plan: &Plan, broken: Broken) -> Result<Record, String> {
    let options = Options {
        seed,
        preempt: plan.preempt,
        steps: 2_000_000,
    };
    let (plan, image) = (*plan, beginning(plan));
    sim::run(&options, move || drive(seed, &plan, broken, image)).map_err(|e| e.to_string())?
}

/// The first virtual thread.
fn drive(seed: u64, plan: &Plan, broken: Broken, image: Image) -> Result<Record, String> {
    let mut rng = Rng::new(seed ^ 0xd15c);
    let disk = Arc::new(SimDisk::new(image, rng.next(), plan.slow));
    let server = {
        let disk = disk.clone();
        sim::spawn("disk", move || disk.serve())
    };
    let mut faults = plan.faults;
    faults.broken = broken;
    disk.set_faults(crate::disk::Faults {
        broken,
        ..Default::default()
    });
    let world = World::new(disk.clone(), plan.setup).map_err(|e| format!("mount: {e}"))?;
    let world = Arc::new(world);
    world.model().data_errors = faults.data + faults.dead_after + faults.log + faults.flushes != 0;
    disk.set_faults(faults);

    for phase in 0..plan.phases {
        let users: Vec<_> = (0..plan.threads)
            .map(|n| {
                let world = world.clone();
                let mut rng = Rng::new(rng.next());
                let (mix, ops) = (plan.mix, plan.ops);
                sim::spawn(&format!("user {n}"), move || {
                    workload::user(&world, mix, ops, &mut rng);
                })
            })
            .collect();
        let flusher = (plan.flusher != 0).then(|| Flusher::start(&world, plan.flusher, &mut rng));
        for user in users {
            user.join();
        }
        if let Some(flusher) = flusher {
            flusher.stop();
        }
        let clean = world.unmount();
        if phase + 1 == plan.phases || !clean || !world.remount() {
            break;
        }
    }
    if world.is_mounted() {
        world.unmount();
    }
    disk.stop();
    server.join();
    let wrong = world.wrong();
    let model = std::mem::take(&mut *world.model());
    Ok(Record {
        model,
        trace: disk.take_trace(),
        wrong,
    })
}

/// A seed from beginning to end.
pub fn seed(seed: u64, effort: &Effort) -> Outcome {
    let plan = Plan::new(seed);
    let mut outcome = Outcome::default();
    match record(seed, &plan, effort.broken) {
        Ok(record) => {
            outcome.violations.extend(record.wrong.clone());
            explore(seed, &plan, &record, effort, &mut outcome);
        }
        Err(what) => outcome.violations.push(what),
    }
    outcome
}

/// Crash states of a run, in the order of time.
fn explore(seed: u64, plan: &Plan, record: &Record, effort: &Effort, outcome: &mut Outcome) {
    let mut rng = Rng::new(seed ^ 0xc4a5);
    outcome.ops = record.model.ops.len() as u64;
    outcome.events = record.trace.events.len() as u64;
    let mut points: Vec<usize> = (0..effort.states)
        .map(|_| rng.below(outcome.events + 1) as usize)
        .collect();
    points.sort_unstable();

    let mut replay = Replay::new(&record.trace, beginning(plan));
    let mut seen = HashSet::new();
    for point in points {
        while replay.position() < point && replay.step() {}
        let style = STYLES[rng.below(STYLES.len() as u64) as usize];
        let choice = replay.choose(style, &mut rng);
        let fingerprint = (replay.fingerprint(&choice), replay.position());
        if !seen.insert(fingerprint) {
            continue;
        }
        let image = replay.image(&choice);
        let tick = replay.tick();
        let mut result = if effort.unrecovered && rng.one_in(8) {
            fsck_unrecovered(&image)
        } else {
            Ok(())
        };
        outcome.states += 1;
        if result.is_ok() {
            result = check(&image, &record.model, tick).and_then(|recovery| {
                if rng.one_in(6) && !recovery.events.is_empty() {
                    outcome.states += 1;
                    outcome.nested += 1;
                    return again(&image, &recovery, &record.model, tick, &mut rng);
                }
                Ok(())
            });
        }
        if let Err(violation) = result {
            outcome.violations.push(format!(
                "{violation}\n  crash before event {point} of {} (tick {tick}), {style:?}\n  {}",
                outcome.events,
                replay.describe(&choice).replace('\n', "\n  "),
            ));
            return;
        }
    }
}

/// Power fails again, during recovery.
fn again(
    image: &Image,
    recovery: &Trace,
    model: &Model,
    tick: u64,
    rng: &mut Rng,
) -> Result<(), crate::check::Violation> {
    let mut replay = Replay::new(recovery, image.clone());
    let point = rng.below(recovery.events.len() as u64 + 1) as usize;
    while replay.position() < point && replay.step() {}
    let style = STYLES[rng.below(STYLES.len() as u64) as usize];
    let choice = replay.choose(style, rng);
    check(&replay.image(&choice), model, tick)
        .map(|_| ())
        .map_err(|mut violation| {
            violation.what = format!(
                "{}\n  after a second crash, before event {point} of {} of recovery, {style:?}\n  {}",
                violation.what,
                recovery.events.len(),
                replay.describe(&choice).replace('\n', "\n  "),
            );
            violation
        })
}

/// What a seed did, for people.
pub fn tell(seed: u64) -> String {
    let plan = Plan::new(seed);
    let mut text = format!("{plan:#?}\n");
    match record(seed, &plan, Broken::No) {
        Ok(record) => {
            for (n, op) in record.model.ops.iter().enumerate() {
                text += &format!("op {n} [{} .. {}] {}\n", op.invoked, op.returned, op.what);
            }
            text += &format!("sync {:?}\n", record.model.syncs);
            for (id, object) in record.model.objects.iter().enumerate() {
                text += &format!("object {id} {:?}: fsync {:?}\n", object.key, object.syncs);
                for sync in &object.ranged {
                    text += &format!("  {sync:?}\n");
                }
            }
            for event in &record.trace.events {
                text += &format!("tick {}: {:?}", event.at, event.kind);
                if let crate::trace::Kind::Submit(id) = event.kind {
                    let write = &record.trace.writes[id];
                    text += &format!(" block {} + {}", write.start, write.data.len());
                }
                text.push('\n');
            }
        }
        Err(what) => text += &what,
    }
    text
}
