// SPDX-License-Identifier: GPL-2.0

//! A deterministic scheduler of virtual threads, for the crash simulator (feature `sim`).
//!
//! A virtual thread is an ordinary thread that runs only while it holds the one token of its run.
//! The token changes hands at points: before a lock is taken, while one waits, in [`relax`], and
//! where a simulated device delays. Who gets it is decided by a generator of random numbers, so a
//! run is a function of its seed: the same seed is the same order of everything, the same clock and
//! the same random numbers.
//!
//! Only threads made inside of [`run`] are virtual. To all others the primitives of the facade are
//! std's; with this feature on, everything else in the process works as without it.
//!
//! Atomics are no points: interleavings between single words are for shuttle, which explores
//! small models. Here whole file systems run, and what matters is which I/O meets which.
//!
//! [`relax`]: crate::relax

pub(crate) mod prim;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    sync::{
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
        Arc, Condvar, Mutex, MutexGuard, Once,
    },
    thread::Thread,
};

/// Nobody has the token: the run is over, or lost.
const NOBODY: usize = usize::MAX;

/// Nanoseconds that pass from point to point.
const TICK: u64 = 500;

/// One in this many switches makes the earliest deadline come true, though there is work to do.
const EARLY_TIMER: u64 = 256;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// One in about this many points is a switch. At least 1.
    pub preempt: u32,
    /// Switches after which a run is taken to go round in circles.
    pub steps: u64,
}

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A virtual thread panicked: its name, the message, where.
    Panic(String),
    /// All threads wait for each other: who waits.
    Deadlock(String),
    /// More switches than [`Options::steps`]: who could run.
    Endless(String),
    /// The first thread ended before others did.
    Left(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Panic(what) => write!(f, "panic: {what}"),
            Failure::Deadlock(who) => write!(f, "deadlock: {who}"),
            Failure::Endless(who) => write!(f, "endless: {who}"),
            Failure::Left(who) => write!(f, "threads left behind: {who}"),
        }
    }
}

/// What a virtual thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// Waits for a wake of `key`, until `deadline` (nanoseconds of the run's clock) at most.
    Blocked {
        key: usize,
        deadline: Option<u64>,
    },
    Done,
}

struct Vthread {
    name: String,
    state: State,
    /// How likely it is to be chosen, beside others.
    weight: u64,
    /// Known when it has started.
    os: Option<Thread>,
    timed_out: bool,
}

struct Inner {
    threads: Vec<Vthread>,
    rng: Rng,
    options: Options,
    switches: u64,
    failure: Option<Failure>,
    ended: bool,
}

/// One run.
pub(crate) struct Core {
    inner: Mutex<Inner>,
    over: Condvar,
    /// Who has the token.
    current: AtomicUsize,
    /// Points until the next switch.
    countdown: AtomicU32,
    nanos: AtomicU64,
    /// Random numbers for the engine, apart from the scheduler's.
    random: Mutex<Rng>,
}

/// A generator of random numbers: splitmix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of `seed`; near seeds are as different as far ones.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed);
        rng.next();
        rng
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        self.next() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

thread_local! {
    static ME: RefCell<Option<(Arc<Core>, usize)>> = const { RefCell::new(None) };
}

fn me() -> Option<(Arc<Core>, usize)> {
    ME.try_with(|me| me.borrow().clone()).ok().flatten()
}

/// Whether the calling thread is virtual.
pub fn is_virtual() -> bool {
    ME.try_with(|me| me.borrow().is_some()).unwrap_or(false)
}

/// Runs `f` as the first virtual thread of a run of its own and waits for it.
///
/// Errors: what went wrong in any of the threads. The other threads of a failed run stay where they
/// are, parked for ever.
pub fn run<R: Send + 'static>(
    options: &Options,
    f: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Failure> {
    catch_panics();
    let core = Arc::new(Core {
        inner: Mutex::new(Inner {
            threads: Vec::new(),
            rng: Rng::new(options.seed),
            options: *options,
            switches: 0,
            failure: None,
            ended: false,
        }),
        over: Condvar::new(),
        current: AtomicUsize::new(NOBODY),
        countdown: AtomicU32::new(1),
        nanos: AtomicU64::new(0),
        random: Mutex::new(Rng::new(options.seed ^ 0x5eed)),
    });
    let result = Arc::new(Mutex::new(None));
    let slot = result.clone();
    let id = core.start("main", move || {
        let r = f();
        *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(r);
    });
    let os = core.lock().threads[id].os.clone();
    core.current.store(id, Ordering::Release);
    if let Some(os) = os {
        os.unpark();
    }

    let mut inner = core.lock();
    while !inner.ended {
        inner = core.over.wait(inner).unwrap_or_else(|e| e.into_inner());
    }
    if let Some(failure) = inner.failure.clone() {
        return Err(failure);
    }
    drop(inner);
    let r = result.lock().unwrap_or_else(|e| e.into_inner()).take();
    r.ok_or_else(|| Failure::Panic("no result".to_string()))
}

/// A virtual thread that somebody waits for.
pub struct Handle<T>(prim::thread::JoinHandle<T>);

impl<T> Handle<T> {
    /// Waits for the end of the thread.
    pub fn join(self) -> T {
        match self.0.join() {
            Ok(r) => r,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Starts a thread in the run of the caller (outside of a run: an ordinary one).
pub fn spawn<T: Send + 'static>(name: &str, f: impl FnOnce() -> T + Send + 'static) -> Handle<T> {
    let thread = prim::thread::Builder::new().name(name.to_string()).spawn(f);
    Handle(thread.expect("a thread"))
}

/// A place where another thread may run. Does nothing outside of a run.
pub fn point() {
    let switch = ME
        .try_with(|me| match &*me.borrow() {
            Some((core, _)) => {
                core.nanos.fetch_add(TICK, Ordering::Relaxed);
                core.countdown.fetch_sub(1, Ordering::Relaxed) <= 1
            }
            None => false,
        })
        .unwrap_or(false);
    if switch {
        yield_now();
    }
}

/// Lets another thread run, if one can. Outside of a run: `std::thread::yield_now`.
pub fn yield_now() {
    match me() {
        Some((core, id)) => {
            let inner = core.lock();
            core.switch(inner, id);
        }
        None => std::thread::yield_now(),
    }
}

/// Nanoseconds since the run began. 0 outside of a run.
pub fn nanos() -> u64 {
    me().map_or(0, |(core, _)| core.nanos.load(Ordering::Relaxed))
}

/// A random number of the run. [`None`] outside of one.
pub fn random() -> Option<u64> {
    let (core, _) = me()?;
    let mut rng = core.random.lock().unwrap_or_else(|e| e.into_inner());
    Some(rng.next())
}

/// Waits for a [`wake`] of `key`, `timeout` nanoseconds at most. Returns whether it was woken.
/// For virtual threads only.
pub fn block(key: usize, timeout: Option<u64>) -> bool {
    let Some((core, id)) = me() else {
        panic!("blocked outside of a run");
    };
    let mut inner = core.lock();
    let now = core.nanos.load(Ordering::Relaxed);
    let me = &mut inner.threads[id];
    me.state = State::Blocked {
        key,
        deadline: timeout.map(|t| now.saturating_add(t)),
    };
    me.timed_out = false;
    core.switch(inner, id);
    let timed_out = core.lock().threads[id].timed_out;
    !timed_out
}

/// Wakes all threads that wait for `key`. Does nothing outside of a run.
pub fn wake(key: usize) {
    if let Some((core, _)) = me() {
        core.lock().wake(key);
    }
}

/// Takes the panics of virtual threads out of the hands of the default hook: the run fails with the
/// message, and the thread goes no further than to the next point.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let Some((core, id)) = me() else {
                default(info);
                return;
            };
            let text = info
                .payload()
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| info.payload().downcast_ref::<&str>().map(|s| s.to_string()))
                .unwrap_or_default();
            let at = info
                .location()
                .map(|l| format!(" at {l}"))
                .unwrap_or_default();
            let mut trace = String::new();
            if std::env::var_os("RUST_BACKTRACE").is_some() {
                trace = format!("\n{}", std::backtrace::Backtrace::force_capture());
            }
            let inner = core.lock();
            let name = inner.threads[id].name.clone();
            // The hook is under a lock of std's: the thread stops at its next point.
            core.fail(inner, Failure::Panic(format!("{name}: {text}{at}{trace}")));
        }));
    });
}

fn park_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

impl Inner {
    fn wake(&mut self, wanted: usize) {
        for thread in self.threads.iter_mut() {
            if matches!(thread.state, State::Blocked { key, .. } if key == wanted) {
                thread.state = State::Ready;
            }
        }
    }

    /// One of those that can run.
    fn pick(&mut self) -> Option<usize> {
        let ready = |t: &Vthread| if t.state == State::Ready { t.weight } else { 0 };
        let total = self.threads.iter().map(ready).sum();
        if total == 0 {
            return None;
        }
        let mut at = self.rng.below(total);
        self.threads.iter().position(|t| {
            let weight = ready(t);
            let hit = at < weight;
            at = at.saturating_sub(weight);
            hit && weight > 0
        })
    }

    /// The thread whose deadline comes first, and when.
    fn first_deadline(&self) -> Option<(usize, u64)> {
        self.threads
            .iter()
            .enumerate()
            .filter_map(|(id, t)| match t.state {
                State::Blocked {
                    deadline: Some(at), ..
                } => Some((id, at)),
                _ => None,
            })
            .min_by_key(|(_, at)| *at)
    }

    fn expire(&mut self, id: usize) {
        self.threads[id].state = State::Ready;
        self.threads[id].timed_out = true;
    }

    fn list(&self, which: impl Fn(&State) -> bool) -> String {
        let names = self.threads.iter().filter(|t| which(&t.state));
        names
            .map(|t| t.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Makes a virtual thread; it runs when it is chosen.
    fn start(self: &Arc<Self>, name: &str, f: impl FnOnce() + Send + 'static) -> usize {
        let mut inner = self.lock();
        let id = inner.threads.len();
        let weight = [1, 4, 4, 16][inner.rng.below(4) as usize];
        inner.threads.push(Vthread {
            name: name.to_string(),
            state: State::Ready,
            weight,
            os: None,
            timed_out: false,
        });
        let core = self.clone();
        let handle = std::thread::Builder::new()
            .name(name.to_string())
            .spawn(move || {
                core.wait_turn(id);
                ME.with(|me| *me.borrow_mut() = Some((core.clone(), id)));
                f();
                ME.with(|me| *me.borrow_mut() = None);
                core.finish(id);
            });
        match handle {
            Ok(handle) => inner.threads[id].os = Some(handle.thread().clone()),
            Err(error) => panic!("no thread: {error}"),
        }
        id
    }

    fn wait_turn(&self, id: usize) {
        while self.current.load(Ordering::Acquire) != id {
            std::thread::park();
        }
    }

    /// Gives the token to whoever the dice say, and returns when it comes back.
    fn switch(&self, mut inner: MutexGuard<'_, Inner>, id: usize) {
        if inner.ended {
            // Unwinding after a panic.
            drop(inner);
            park_for_ever();
        }
        let Some(next) = self.choose(&mut inner) else {
            let who = inner.list(|s| matches!(s, State::Blocked { .. }));
            self.fail(inner, Failure::Deadlock(who));
            park_for_ever();
        };
        if inner.switches > inner.options.steps {
            let who = inner.list(|s| *s == State::Ready);
            self.fail(inner, Failure::Endless(who));
            park_for_ever();
        }
        if next == id {
            return;
        }
        self.hand_over(inner, next);
        self.wait_turn(id);
    }

    /// Chooses who runs until the next switch.
    fn choose(&self, inner: &mut Inner) -> Option<usize> {
        inner.switches += 1;
        let preempt = u64::from(inner.options.preempt.max(1));
        let points = 1 + inner.rng.below(preempt * 2);
        self.countdown.store(points as u32, Ordering::Relaxed);
        if let Some((id, at)) = inner.first_deadline() {
            let now = self.nanos.load(Ordering::Relaxed);
            if at <= now || inner.rng.one_in(EARLY_TIMER) {
                self.nanos.store(now.max(at), Ordering::Relaxed);
                inner.expire(id);
            }
        }
        inner.pick().or_else(|| {
            // Nothing to do until a deadline.
            let (id, at) = inner.first_deadline()?;
            self.nanos.store(at, Ordering::Relaxed);
            inner.expire(id);
            Some(id)
        })
    }

    fn hand_over(&self, inner: MutexGuard<'_, Inner>, next: usize) {
        let os = inner.threads[next].os.clone();
        drop(inner);
        self.current.store(next, Ordering::Release);
        if let Some(os) = os {
            os.unpark();
        }
    }

    fn finish(&self, id: usize) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        inner.threads[id].state = State::Done;
        inner.wake(join_key(self, id));
        if id == 0 {
            let left = inner.list(|s| *s != State::Done);
            if left.is_empty() {
                inner.ended = true;
                self.current.store(NOBODY, Ordering::Release);
                self.over.notify_all();
            } else {
                self.fail(inner, Failure::Left(left));
            }
            return;
        }
        match self.choose(&mut inner) {
            Some(next) => self.hand_over(inner, next),
            None => {
                let who = inner.list(|s| matches!(s, State::Blocked { .. }));
                self.fail(inner, Failure::Deadlock(who));
            }
        }
    }

    /// Ends the run without a result; the first reason counts.
    fn fail(&self, mut inner: MutexGuard<'_, Inner>, failure: Failure) {
        inner.failure.get_or_insert(failure);
        inner.ended = true;
        self.current.store(NOBODY, Ordering::Release);
        self.over.notify_all();
    }
}

/// What a thread that joins another waits for: an address nobody else uses.
fn join_key(core: &Core, id: usize) -> usize {
    (core as *const Core as usize).wrapping_add(1 + id)
}
