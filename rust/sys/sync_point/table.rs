// SPDX-License-Identifier: GPL-2.0

//! What is armed, who is held where, and what has happened.
//!
//! One source for the kernel and the host; `super` has the machine. All of it is atomic words, so
//! that a point can be hit under any lock. It is one table for the machine: a race is reproduced by
//! one test at a time.
//!
//! Commands (in the kernel written to `latchfs/sync/control` in debugfs, on the host given to
//! [`command`]):
//!
//! ```text
//! arm NAME park|count|fail=ERRNO [key=N] [nth=N] [times=N] [until=NAME[,NAME]] [limit=MS] [task=N]
//! wait NAME [MS]      until a task is held at NAME, or has been
//! release NAME
//! mutant NAME|none
//! reset               releases everybody, disarms, forgets counts and damage; mutant none
//! ```
//!
//! A task that hits an armed point for the `nth` time (1 at first; hits that the filters `key` and
//! `task` let through are counted) is held until `release`, or until some task hits one of the
//! `until` points, but at most for `limit`. `times` is how many hits are acted upon (1; for `fail`
//! all of them, if it is not given).

use super::points::{Damage, Def, Kind, Mutant, DAMAGES, MUTANTS, POINTS};
use super::{
    monotonic_ms, relax, sleep_until, task_id, wake, AtomicU32, AtomicU64, Errno, Ordering,
    SysResult,
};
use core::fmt;

/// How long a spinning task is held if the arm does not say.
pub const SPIN_LIMIT_MS: u32 = 200;
/// How long a sleeping task is held if the arm does not say.
pub const SLEEP_LIMIT_MS: u32 = 20_000;
/// How long `wait` waits if it is not told.
pub const WAIT_MS: u64 = 10_000;

/// Arms there can be at a time.
const ARMS: usize = 12;
/// Points an arm can be released by.
const UNTIL: usize = 3;
/// A filter that lets everything through.
const ANY: u64 = u64::MAX;

/// What is done with a task at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hold it.
    Park,
    /// Let it pass.
    Count,
    /// Let the operation fail.
    Fail(Errno),
}

/// How far an arm has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No such arm.
    Unarmed,
    /// Nobody has come.
    Waiting,
    /// A task is held.
    Held,
    /// The task was released, or was only to be counted.
    Passed,
    /// The task went on by itself because the limit was over: the other side did not arrive, and
    /// the run says nothing.
    Expired,
}

impl State {
    fn code(self) -> u32 {
        match self {
            State::Unarmed => 0,
            State::Waiting => 1,
            State::Held => 2,
            State::Passed => 3,
            State::Expired => 4,
        }
    }

    fn from_code(code: u32) -> Self {
        match code {
            1 => State::Waiting,
            2 => State::Held,
            3 => State::Passed,
            4 => State::Expired,
            _ => State::Unarmed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            State::Unarmed => "unarmed",
            State::Waiting => "not reached",
            State::Held => "held",
            State::Passed => "passed",
            State::Expired => "expired",
        }
    }
}

/// An order for a point.
#[derive(Clone, Copy, Debug)]
pub struct ArmSpec {
    /// Number of the point.
    pub point: usize,
    /// What to do.
    pub action: Action,
    /// Only this key.
    pub key: Option<u64>,
    /// Only this task.
    pub task: Option<u64>,
    /// The first hit that counts, from 1.
    pub nth: u32,
    /// How many hits are acted upon.
    pub times: u32,
    /// Points whose hit releases.
    pub until: [Option<usize>; UNTIL],
    /// Limit in milliseconds.
    pub limit: u32,
}

impl ArmSpec {
    /// An order for the point number `point`, without filters.
    pub fn new(point: usize, action: Action) -> Self {
        let sleeps = POINTS.get(point).is_some_and(|d| d.kind == Kind::Sleep);
        Self {
            point,
            action,
            key: None,
            task: None,
            nth: 1,
            times: if matches!(action, Action::Fail(_)) {
                u32::MAX
            } else {
                1
            },
            until: [None; UNTIL],
            limit: if sleeps {
                SLEEP_LIMIT_MS
            } else {
                SPIN_LIMIT_MS
            },
        }
    }
}

struct Arm {
    /// Number of the point plus one; 0 is free, [`RESERVED`] is being filled in.
    point: AtomicU32,
    state: AtomicU32,
    action: AtomicU32,
    errno: AtomicU32,
    key: AtomicU64,
    task: AtomicU64,
    nth: AtomicU32,
    times: AtomicU32,
    until: [AtomicU32; UNTIL],
    limit: AtomicU32,
    hits: AtomicU32,
    released: AtomicU32,
}

const RESERVED: u32 = u32::MAX;
const PARK: u32 = 0;
const COUNT: u32 = 1;
const FAIL: u32 = 2;

impl Arm {
    const fn new() -> Self {
        Self {
            point: AtomicU32::new(0),
            state: AtomicU32::new(0),
            action: AtomicU32::new(0),
            errno: AtomicU32::new(0),
            key: AtomicU64::new(0),
            task: AtomicU64::new(0),
            nth: AtomicU32::new(0),
            times: AtomicU32::new(0),
            until: [const { AtomicU32::new(0) }; UNTIL],
            limit: AtomicU32::new(0),
            hits: AtomicU32::new(0),
            released: AtomicU32::new(0),
        }
    }

    fn state(&self) -> State {
        State::from_code(self.state.load(Ordering::Acquire))
    }

    fn is_for(&self, point: usize) -> bool {
        self.point.load(Ordering::Acquire) == code(point)
    }

    fn lets_through(&self, key: u64) -> bool {
        let want = self.key.load(Ordering::Relaxed);
        let task = self.task.load(Ordering::Relaxed);
        (want == ANY || want == key) && (task == ANY || task == task_id())
    }

    fn release(&self) {
        self.released.store(1, Ordering::Release);
        wake();
    }

    /// Whether the hit number `n`, from 1, is one to act upon.
    fn acts_on(&self, n: u32) -> bool {
        let nth = self.nth.load(Ordering::Relaxed);
        n >= nth && n.wrapping_sub(nth) < self.times.load(Ordering::Relaxed)
    }

    /// Says that a task is held here. Before it lets others go on: what they do next may be what
    /// releases this one.
    fn begin_hold(&self) {
        self.state.store(State::Held.code(), Ordering::Release);
        wake();
    }

    fn hold(&self, kind: Kind) {
        let limit = self.limit.load(Ordering::Relaxed);
        let free = || self.released.load(Ordering::Acquire) != 0;
        let in_time = match kind {
            Kind::Sleep => sleep_until(free, limit.into()),
            Kind::Spin => {
                let end = monotonic_ms().saturating_add(limit.into());
                loop {
                    if free() {
                        break true;
                    }
                    if monotonic_ms() >= end {
                        break false;
                    }
                    relax();
                }
            }
        };
        let end = if in_time {
            State::Passed
        } else {
            State::Expired
        };
        self.state.store(end.code(), Ordering::Release);
        wake();
    }
}

fn code(point: usize) -> u32 {
    (point as u32).wrapping_add(1)
}

static TABLE: [Arm; ARMS] = [const { Arm::new() }; ARMS];
/// Hits of each point since the last [`reset`], whatever the key. Counted while something is armed.
static HITS: [AtomicU32; POINTS.len()] = [const { AtomicU32::new(0) }; POINTS.len()];
static DAMAGE: [AtomicU32; DAMAGES.len()] = [const { AtomicU32::new(0) }; DAMAGES.len()];
static DAMAGE_KEY: [AtomicU64; DAMAGES.len()] = [const { AtomicU64::new(0) }; DAMAGES.len()];
/// Whether anything is armed: all that a hit looks at in the ordinary case.
static ARMED: AtomicU32 = AtomicU32::new(0);
/// The mutant that runs, as its place in [`MUTANTS`] plus one; 0 is the real build.
static MUTANT: AtomicU32 = AtomicU32::new(0);

/// A number that was not given out before: mutants name lives by it.
pub fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A task has come to a point. Used by the macros.
pub fn hit(point: usize, key: u64) -> SysResult<()> {
    let kind = match POINTS.get(point) {
        Some(Def {
            kind: Kind::Sleep, ..
        }) => {
            super::might_sleep();
            Kind::Sleep
        }
        _ => Kind::Spin,
    };
    if ARMED.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    if let Some(hits) = HITS.get(point) {
        hits.fetch_add(1, Ordering::Relaxed);
    }
    let mut verdict = Ok(());
    let mut held = None;
    for arm in &TABLE {
        if !arm.is_for(point) || !arm.lets_through(key) {
            continue;
        }
        let n = arm.hits.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        if !arm.acts_on(n) {
            continue;
        }
        match arm.action.load(Ordering::Relaxed) {
            PARK if held.is_none() => {
                arm.begin_hold();
                held = Some(arm);
            }
            action => {
                arm.state.store(State::Passed.code(), Ordering::Release);
                wake();
                if action == FAIL {
                    let errno = arm.errno.load(Ordering::Relaxed);
                    verdict = Err(Errno::from_raw(errno as i32));
                }
            }
        }
    }
    for arm in &TABLE {
        let mut until = arm.until.iter();
        if until.any(|u| u.load(Ordering::Relaxed) == code(point)) && arm.state() == State::Held {
            arm.release();
        }
    }
    if let Some(arm) = held {
        arm.hold(kind);
    }
    verdict
}

/// Gives an order. Errors: EINVAL if there is no such point, EBUSY if the table is full.
pub fn arm(spec: &ArmSpec) -> SysResult<()> {
    if spec.point >= POINTS.len() {
        return Err(Errno::INVAL);
    }
    let free = TABLE.iter().find(|arm| {
        arm.point
            .compare_exchange(0, RESERVED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    });
    let Some(arm) = free else {
        return Err(Errno::BUSY);
    };
    let (action, errno) = match spec.action {
        Action::Park => (PARK, 0),
        Action::Count => (COUNT, 0),
        Action::Fail(errno) => (FAIL, errno.raw() as u32),
    };
    arm.action.store(action, Ordering::Relaxed);
    arm.errno.store(errno, Ordering::Relaxed);
    arm.key.store(spec.key.unwrap_or(ANY), Ordering::Relaxed);
    arm.task.store(spec.task.unwrap_or(ANY), Ordering::Relaxed);
    arm.nth.store(spec.nth, Ordering::Relaxed);
    arm.times.store(spec.times, Ordering::Relaxed);
    arm.limit.store(spec.limit, Ordering::Relaxed);
    arm.hits.store(0, Ordering::Relaxed);
    arm.released.store(0, Ordering::Relaxed);
    for (to, from) in arm.until.iter().zip(spec.until) {
        to.store(from.map_or(0, code), Ordering::Relaxed);
    }
    arm.state.store(State::Waiting.code(), Ordering::Release);
    arm.point.store(code(spec.point), Ordering::Release);
    ARMED.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

/// How far the first arm of the point has come.
pub fn state(point: usize) -> State {
    TABLE
        .iter()
        .find(|arm| arm.is_for(point))
        .map_or(State::Unarmed, Arm::state)
}

/// Waits until a task is held at the point or has been, for at most `millis`. Says how far it is:
/// [`State::Waiting`] means that nobody came. May sleep.
pub fn wait_for(point: usize, millis: u64) -> State {
    sleep_until(|| state(point) != State::Waiting, millis);
    state(point)
}

/// Lets go who is held at the point, and disarms it. Its state stays readable.
pub fn release(point: usize) {
    for arm in TABLE.iter().filter(|arm| arm.is_for(point)) {
        arm.times.store(0, Ordering::Relaxed);
        arm.release();
    }
}

/// Hits of the point since the last [`reset`], while anything was armed.
pub fn hits(point: usize) -> u32 {
    HITS.get(point).map_or(0, |h| h.load(Ordering::Acquire))
}

/// Chooses the mutant that runs from now on; [`None`] is the real build.
pub fn select(mutant: Option<Mutant>) {
    let number = mutant.map_or(0, |m| {
        MUTANTS
            .iter()
            .position(|(other, _)| *other == m)
            .map_or(0, code)
    });
    MUTANT.store(number, Ordering::Release);
}

/// Whether this mutant runs. Used by the macro.
pub fn selected(mutant: Mutant) -> bool {
    let number = MUTANT.load(Ordering::Acquire);
    number != 0
        && MUTANTS
            .get(number.wrapping_sub(1) as usize)
            .is_some_and(|(m, _)| *m == mutant)
}

/// Notes damage done to the object `key`. Used by the macro. Does not sleep.
pub fn damaged(damage: Damage, key: u64) {
    if let Some(at) = DAMAGES.iter().position(|(d, _)| *d == damage) {
        if let (Some(count), Some(last)) = (DAMAGE.get(at), DAMAGE_KEY.get(at)) {
            last.store(key, Ordering::Relaxed);
            count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// How often this damage was done since the last [`reset`].
pub fn damage(damage: Damage) -> u32 {
    let at = DAMAGES.iter().position(|(d, _)| *d == damage);
    at.and_then(|at| DAMAGE.get(at))
        .map_or(0, |n| n.load(Ordering::Acquire))
}

/// Calls `f` with each damage that was done, how often, and the key of the last.
pub fn each_damage(mut f: impl FnMut(Damage, u32, u64)) {
    for ((count, key), (damage, _)) in DAMAGE.iter().zip(&DAMAGE_KEY).zip(DAMAGES) {
        let n = count.load(Ordering::Acquire);
        if n != 0 {
            f(*damage, n, key.load(Ordering::Relaxed));
        }
    }
}

/// Releases everybody, disarms everything, forgets hits and damage, and runs the real build.
///
/// Tasks that are held leave within moments; an arm is free for others only when its task has gone.
/// May sleep.
pub fn reset() {
    MUTANT.store(0, Ordering::Release);
    for arm in &TABLE {
        if matches!(arm.point.load(Ordering::Acquire), 0 | RESERVED) {
            continue;
        }
        arm.times.store(0, Ordering::Relaxed);
        arm.release();
        sleep_until(|| arm.state() != State::Held, SLEEP_LIMIT_MS.into());
        arm.state.store(State::Unarmed.code(), Ordering::Release);
        arm.point.store(0, Ordering::Release);
        ARMED.fetch_sub(1, Ordering::AcqRel);
    }
    for n in HITS.iter().chain(&DAMAGE) {
        n.store(0, Ordering::Release);
    }
}

/// Number of the point called `name`.
pub fn find(name: &str) -> SysResult<usize> {
    POINTS
        .iter()
        .position(|def| def.name == name)
        .ok_or(Errno::INVAL)
}

fn number(text: &str) -> SysResult<u64> {
    text.parse().map_err(|_| Errno::INVAL)
}

fn number32(text: &str) -> SysResult<u32> {
    text.parse().map_err(|_| Errno::INVAL)
}

/// Carries out one command; see the head of this file. `wait` may sleep.
///
/// Errors: EINVAL for what is no command, EBUSY if too much is armed, EAGAIN if nobody came to the
/// point that was waited for.
pub fn command(line: &str) -> SysResult<()> {
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        None => Ok(()),
        Some("arm") => {
            let point = find(words.next().ok_or(Errno::INVAL)?)?;
            let action = match words.next() {
                Some("park") => Action::Park,
                Some("count") => Action::Count,
                Some(word) => {
                    let errno = word.strip_prefix("fail=").ok_or(Errno::INVAL)?;
                    Action::Fail(Errno::from_raw(number32(errno)? as i32))
                }
                None => return Err(Errno::INVAL),
            };
            let mut spec = ArmSpec::new(point, action);
            for word in words {
                option(&mut spec, word)?;
            }
            arm(&spec)
        }
        Some("wait") => {
            let point = find(words.next().ok_or(Errno::INVAL)?)?;
            let millis = words.next().map_or(Ok(WAIT_MS), number)?;
            match wait_for(point, millis) {
                State::Unarmed => Err(Errno::INVAL),
                State::Waiting => Err(Errno::AGAIN),
                State::Held | State::Passed | State::Expired => Ok(()),
            }
        }
        Some("release") => {
            release(find(words.next().ok_or(Errno::INVAL)?)?);
            Ok(())
        }
        Some("mutant") => {
            let name = words.next().ok_or(Errno::INVAL)?;
            let mutant = MUTANTS.iter().find(|(_, n)| *n == name).map(|(m, _)| *m);
            if mutant.is_none() && name != "none" {
                return Err(Errno::INVAL);
            }
            select(mutant);
            Ok(())
        }
        Some("reset") => {
            reset();
            Ok(())
        }
        Some(_) => Err(Errno::INVAL),
    }
}

fn option(spec: &mut ArmSpec, word: &str) -> SysResult<()> {
    let (name, value) = word.split_once('=').ok_or(Errno::INVAL)?;
    match name {
        "key" => spec.key = Some(number(value)?),
        "task" => spec.task = Some(number(value)?),
        "nth" => spec.nth = number32(value)?.max(1),
        "times" => spec.times = number32(value)?,
        "limit" => spec.limit = number32(value)?,
        "until" => {
            let mut slots = spec.until.iter_mut();
            for name in value.split(',') {
                *slots.next().ok_or(Errno::INVAL)? = Some(find(name)?);
            }
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(())
}

/// Writes what is armed, hit and damaged, a line each.
pub fn status(out: &mut impl fmt::Write) -> fmt::Result {
    let number = MUTANT.load(Ordering::Acquire);
    let mutant = MUTANTS.get(number.wrapping_sub(1) as usize);
    let name = match mutant {
        Some((_, name)) if number != 0 => name,
        _ => "none",
    };
    writeln!(out, "mutant {name}")?;
    for arm in &TABLE {
        let point = arm.point.load(Ordering::Acquire);
        let Some(def) = POINTS.get(point.wrapping_sub(1) as usize) else {
            continue;
        };
        let hits = arm.hits.load(Ordering::Relaxed);
        writeln!(out, "arm {} {} hits={hits}", def.name, arm.state().name())?;
    }
    for (def, hits) in POINTS.iter().zip(&HITS) {
        let n = hits.load(Ordering::Relaxed);
        if n != 0 {
            writeln!(out, "hits {} {n}", def.name)?;
        }
    }
    for ((count, key), (_, name)) in DAMAGE.iter().zip(&DAMAGE_KEY).zip(DAMAGES) {
        let n = count.load(Ordering::Acquire);
        if n != 0 {
            let key = key.load(Ordering::Relaxed);
            writeln!(out, "damage {n} key={key} {name}")?;
        }
    }
    Ok(())
}
