// SPDX-License-Identifier: GPL-2.0

//! What rings 0 and 1 rely on from `crate::sys`, as executable cases.
//!
//! One source, run against both implementations: by `cargo test` on the host and by KUnit in the
//! kernel. A case returns why it failed instead of panicking, because a panic in the kernel is
//! `BUG()`.

use crate::sys::{
    self,
    atomic::{AtomicU32, AtomicU64, Ordering},
    try_arc, Arc, Block, ContentLock, Errno, Mutex, RwSem, Spares, Spin, Time, TxnSlot, Vec,
    WaitQueue, Work, WorkItem,
};

/// One case: its name and what it checks.
pub type Case = (&'static str, fn() -> CaseResult);

/// `Err` says what did not hold.
pub type CaseResult = Result<(), &'static str>;

crate::sys::lock_class! {
    /// Outer class of the cases.
    pub ConfOuter = "conformance-outer", rank 10;
    /// Inner class of the cases.
    pub ConfInner = "conformance-inner", rank 20;
    /// Spinning class of the cases.
    pub ConfSpin = "conformance-spin", rank 30;
    /// Content class of the cases.
    pub ConfContent = "conformance-content", rank 15;
}

/// All cases.
pub const CASES: &[Case] = &[
    ("crc32c_known_answer", crc_known_answer),
    ("crc32c_continues", crc_continues),
    ("errno_values", errno_values),
    ("atomic_operations", atomic_operations),
    ("vec_grows_and_shrinks", vec_grows_and_shrinks),
    ("vec_insert_remove", vec_insert_remove),
    ("vec_drops_elements_once", vec_drops_elements_once),
    ("arc_counts", arc_counts),
    ("spares_come_back_once", spares),
    ("block_is_zeroed", block_is_zeroed),
    ("spin_try_lock", spin_try_lock),
    ("mutex_try_lock", mutex_try_lock),
    ("rwsem_shared_and_exclusive", rwsem_shared_and_exclusive),
    ("locks_nest_by_class", locks_nest_by_class),
    ("unlocked_lock_may_move", unlocked_lock_may_move),
    ("content_guards", content_guards),
    ("content_tokens", content_tokens),
    ("content_write_waits_for_shared_token", content_write_waits),
    ("locks_exclude_each_other", locks_exclude),
    ("content_lock_contended", content_contended),
    ("txn_slot_does_not_nest", txn_slot),
    ("nofs_scope_nests", nofs_scope),
    ("reclaim_scope_nests", reclaim_scope),
    ("uptime_counts_forward", uptime),
    ("wait_sees_a_true_condition", wait_true),
    ("wait_until_expires", wait_until_expires),
    ("work_runs_and_coalesces", work_runs),
    ("work_kicked_while_running_runs_again", work_rekick),
    ("work_beside_other_work", work_beside),
    ("work_stop_drops_the_target", work_stop),
    ("work_kicked_for_later_runs", work_later),
    ("clock_is_sane", clock),
    ("random_differs", random),
];

fn ensure(cond: bool, what: &'static str) -> CaseResult {
    if cond {
        Ok(())
    } else {
        Err(what)
    }
}

fn nomem(_: Errno) -> &'static str {
    "out of memory"
}

fn crc_known_answer() -> CaseResult {
    // The check value of CRC-32C: RFC 3720 and every catalogue of CRCs.
    ensure(
        sys::crc32c(0, b"123456789") == 0xe306_9283,
        "crc32c(123456789)",
    )?;
    ensure(sys::crc32c(0, &[]) == 0, "crc32c of nothing")?;
    ensure(sys::crc32c(0, &[0; 32]) == 0x8a91_36aa, "crc32c of zeroes")
}

fn crc_continues() -> CaseResult {
    let whole = sys::crc32c(7, b"latchfs metadata block");
    let part = sys::crc32c(sys::crc32c(7, b"latchfs meta"), b"data block");
    ensure(whole == part, "crc32c in two parts differs")
}

fn errno_values() -> CaseResult {
    ensure(Errno::UCLEAN.raw() == 117, "EUCLEAN")?;
    ensure(Errno::BADMSG.raw() == 74, "EBADMSG")?;
    ensure(Errno::NOSPC.raw() == 28, "ENOSPC")?;
    ensure(Errno::from_raw(-5) == Errno::IO, "negative errno")?;
    ensure(Errno::from_raw(2) == Errno::NOENT, "from_raw")
}

fn atomic_operations() -> CaseResult {
    let a = AtomicU64::new(5);
    ensure(a.fetch_add(3, Ordering::AcqRel) == 5, "fetch_add")?;
    ensure(a.load(Ordering::Acquire) == 8, "load")?;
    ensure(
        a.compare_exchange(8, u64::MAX, Ordering::AcqRel, Ordering::Acquire) == Ok(8),
        "compare_exchange succeeds",
    )?;
    ensure(
        a.compare_exchange(8, 1, Ordering::AcqRel, Ordering::Acquire) == Err(u64::MAX),
        "compare_exchange fails with the value",
    )?;
    ensure(a.fetch_and(0xff, Ordering::AcqRel) == u64::MAX, "fetch_and")?;
    ensure(a.fetch_or(0x100, Ordering::AcqRel) == 0xff, "fetch_or")?;
    ensure(a.swap(1, Ordering::AcqRel) == 0x1ff, "swap")?;
    let b = AtomicU32::new(1);
    ensure(b.fetch_sub(1, Ordering::Release) == 1, "fetch_sub")?;
    ensure(b.load(Ordering::Relaxed) == 0, "fetch_sub result")
}

fn vec_grows_and_shrinks() -> CaseResult {
    let mut v: Vec<u64> = Vec::new();
    for i in 0..100_000u64 {
        v.try_push(i).map_err(nomem)?;
    }
    ensure(v.len() == 100_000, "length")?;
    ensure(v.get(99_999) == Some(&99_999), "last element")?;
    v.truncate(10);
    ensure(v.pop() == Some(9) && v.len() == 9, "truncate and pop")?;
    v.try_resize(12, 77).map_err(nomem)?;
    ensure(v.get(11) == Some(&77) && v.len() == 12, "resize")?;
    v.clear();
    ensure(v.is_empty() && v.capacity() > 0, "clear keeps memory")
}

fn vec_insert_remove() -> CaseResult {
    let mut v: Vec<u32> = Vec::new();
    v.try_extend_from_slice(&[1, 2, 4]).map_err(nomem)?;
    v.try_insert(2, 3).map_err(nomem)?;
    v.try_insert(99, 5).map_err(nomem)?;
    ensure(v[..] == [1, 2, 3, 4, 5], "insert")?;
    ensure(v.remove(0) == Some(1), "remove")?;
    ensure(v.remove(4).is_none(), "remove beyond the end")?;
    ensure(v.swap_remove(0) == Some(2), "swap_remove")?;
    ensure(v[..] == [5, 3, 4], "order after swap_remove")?;
    let mut full: Vec<u8> = Vec::new();
    ensure(
        full.push_within_capacity(1) == Err(1),
        "push without capacity",
    )?;
    full.must_reserve(1);
    ensure(full.push_within_capacity(1).is_ok(), "push with capacity")
}

struct CountDrops<'a>(&'a AtomicU32);

impl Drop for CountDrops<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn vec_drops_elements_once() -> CaseResult {
    let drops = AtomicU32::new(0);
    let mut v = Vec::new();
    for _ in 0..5 {
        v.must_push(CountDrops(&drops));
    }
    drop(v.remove(1));
    ensure(drops.load(Ordering::Acquire) == 1, "remove drops once")?;
    v.truncate(3);
    ensure(drops.load(Ordering::Acquire) == 2, "truncate drops")?;
    let mut it = v.into_iter();
    drop(it.next());
    drop(it);
    ensure(
        drops.load(Ordering::Acquire) == 5,
        "into_iter drops the rest",
    )
}

fn arc_counts() -> CaseResult {
    let drops = AtomicU32::new(0);
    let a = sys::must_arc(CountDrops(&drops));
    let b = a.clone();
    ensure(Arc::ptr_eq(&a, &b), "clones are the same object")?;
    drop(a);
    ensure(drops.load(Ordering::Acquire) == 0, "dropped too early")?;
    drop(b);
    ensure(drops.load(Ordering::Acquire) == 1, "dropped by the last")
}

fn spares() -> CaseResult {
    struct Thing<'a> {
        memory: Vec<u8>,
        _count: CountDrops<'a>,
    }
    let (made, drops) = (AtomicU32::new(0), AtomicU32::new(0));
    let spares = Spares::new().map_err(|_| "no memory")?;
    let lend = || {
        let make = || {
            made.fetch_add(1, Ordering::AcqRel);
            Ok(sys::must_box(Thing {
                memory: Vec::new(),
                _count: CountDrops(&drops),
            }))
        };
        spares.lend(make).map_err(|_| "no memory")
    };
    const MANY: u32 = 500;
    let mut lent = Vec::new();
    for _ in 0..MANY {
        let mut thing = lend()?;
        ensure(thing.memory.is_empty(), "nobody else has it")?;
        thing.memory.must_push(1);
        lent.must_push(thing);
    }
    drop(lent);
    ensure(drops.load(Ordering::Acquire) < MANY, "one is kept")?;
    // The task may be moved to another CPU in between, but not each time.
    let comes_back = (0..MANY).any(|_| {
        drop(lend());
        lend().is_ok_and(|thing| !thing.memory.is_empty())
    });
    ensure(comes_back, "comes back as it was")?;
    drop(spares);
    ensure(
        drops.load(Ordering::Acquire) == made.load(Ordering::Acquire),
        "each is dropped once",
    )
}

fn block_is_zeroed() -> CaseResult {
    let mut b = Block::try_zeroed().map_err(nomem)?;
    ensure(b.iter().all(|x| *x == 0), "not zeroed")?;
    ensure(b.len() == sys::BLOCK_BYTES, "size")?;
    b.fill(0xa5);
    ensure(
        Block::must_zeroed().iter().all(|x| *x == 0),
        "second block not zeroed",
    )
}

fn spin_try_lock() -> CaseResult {
    let s: Spin<u32, ConfSpin> = Spin::new(1);
    {
        let mut g = s.lock();
        *g += 1;
        ensure(s.try_lock().is_none(), "taken twice")?;
    }
    let g = s.try_lock().ok_or("free lock not taken")?;
    ensure(*g == 2, "value")
}

fn mutex_try_lock() -> CaseResult {
    let mut s: Mutex<u32, ConfOuter> = Mutex::new(1);
    {
        let mut g = s.lock();
        *g += 1;
        ensure(s.try_lock().is_none(), "taken twice")?;
    }
    ensure(*s.get_mut() == 2, "value")
}

fn rwsem_shared_and_exclusive() -> CaseResult {
    let s: RwSem<u32, ConfOuter> = RwSem::new(1);
    {
        let r = s.read();
        ensure(*r == 1, "value")?;
        ensure(s.try_write().is_none(), "writer beside a reader")?;
        ensure(s.try_read().is_some(), "second reader refused")?;
    }
    {
        let mut w = s.write();
        *w = 9;
        ensure(s.try_read().is_none(), "reader beside a writer")?;
        ensure(s.try_write().is_none(), "two writers")?;
    }
    let r = s.try_read().ok_or("free rwsem not taken")?;
    ensure(*r == 9, "value after write")
}

fn locks_nest_by_class() -> CaseResult {
    let a: RwSem<u32, ConfOuter> = RwSem::new(1);
    let b: RwSem<u32, ConfOuter> = RwSem::new(2);
    let c: Mutex<u32, ConfInner> = Mutex::new(3);
    let d: Spin<u32, ConfSpin> = Spin::new(4);
    let ga = a.write();
    let gb = b.write_nested(1);
    let gc = c.lock();
    let gd = d.lock();
    ensure(*ga + *gb + *gc + *gd == 10, "values")
}

fn unlocked_lock_may_move() -> CaseResult {
    let m: Mutex<u32, ConfOuter> = Mutex::new(1);
    *m.lock() += 1;
    // Another address: on the heap.
    let mut moved = Vec::new();
    moved.must_push(m);
    for m in &moved {
        *m.lock() += 1;
    }
    let back: Mutex<u32, ConfOuter> = moved.pop().ok_or("lost on the way")?;
    let g = back.lock();
    ensure(*g == 3, "value after two moves")
}

fn content_guards() -> CaseResult {
    let l: ContentLock<u32, ConfContent> = ContentLock::new(1);
    {
        let r = l.read();
        ensure(*r == 1, "value")?;
        ensure(l.try_write().is_none(), "writer beside a reader")?;
        ensure(l.try_lock_owned().is_none(), "owner beside a reader")?;
    }
    {
        let mut w = l.write();
        *w = 2;
        ensure(l.try_write().is_none(), "two writers")?;
    }
    let w = l.try_write().ok_or("free lock not taken")?;
    ensure(*w == 2, "value after write")
}

fn content_tokens() -> CaseResult {
    let l: ContentLock<u32, ConfContent> = ContentLock::new(1);
    let mut t = l.lock_owned();
    *l.access(&mut t) = 5;
    ensure(l.try_write().is_none(), "writer beside an owner")?;
    let t = l.downgrade(t);
    ensure(*l.peek(&t) == 5, "value under a shared token")?;
    ensure(*l.read() == 5, "readers go on beside a shared token")?;
    ensure(l.try_write().is_none(), "writer beside a shared token")?;
    l.unshare(t);
    let t = l.try_lock_owned().ok_or("free lock not taken")?;
    l.unlock(t);
    let free = l.try_write().is_some();
    ensure(free, "free after unlock")
}

struct Writer {
    lock: ContentLock<u32, ConfContent>,
    seen: AtomicU32,
}

impl Work for Writer {
    fn run(&self) {
        let mut w = self.lock.write();
        *w += 1;
        self.seen.store(*w, Ordering::Release);
    }
}

fn content_write_waits() -> CaseResult {
    let target = try_arc(Writer {
        lock: ContentLock::new(1),
        seen: AtomicU32::new(0),
    })
    .map_err(nomem)?;
    let work = WorkItem::new("latchfs-conf", target.clone()).map_err(nomem)?;
    let token = target.lock.lock_owned();
    let token = target.lock.downgrade(token);
    work.kick();
    for _ in 0..64 {
        sys::relax();
    }
    ensure(
        target.seen.load(Ordering::Acquire) == 0,
        "wrote under a shared token",
    )?;
    target.lock.unshare(token);
    work.flush();
    work.stop();
    ensure(target.seen.load(Ordering::Acquire) == 2, "writer not woken")
}

/// Rounds of each of the tasks that contend.
const ROUNDS: u32 = 500;

/// Counters that only add up if the lock around each really excludes.
struct Shared {
    spin: Spin<u32, ConfSpin>,
    mutex: Mutex<u32, ConfOuter>,
    rwsem: RwSem<(u32, u32), ConfInner>,
    torn: AtomicU32,
}

impl Work for Shared {
    fn run(&self) {
        for _ in 0..ROUNDS {
            {
                let mut m = self.mutex.lock();
                let seen = *m;
                sys::relax();
                *m = seen + 1;
                let mut s = self.spin.lock();
                let seen = *s;
                *s = seen + 1;
            }
            {
                let mut w = self.rwsem.write();
                w.0 += 1;
                sys::relax();
                w.1 += 1;
            }
            let r = self.rwsem.read();
            if r.0 != r.1 {
                self.torn.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn locks_exclude() -> CaseResult {
    let shared = try_arc(Shared {
        spin: Spin::new(0),
        mutex: Mutex::new(0),
        rwsem: RwSem::new((0, 0)),
        torn: AtomicU32::new(0),
    })
    .map_err(nomem)?;
    run_together(&shared)?;
    ensure(*shared.mutex.lock() == 3 * ROUNDS, "mutex lost an update")?;
    ensure(*shared.spin.lock() == 3 * ROUNDS, "spin lost an update")?;
    ensure(shared.rwsem.read().0 == 3 * ROUNDS, "rwsem lost an update")?;
    ensure(
        shared.torn.load(Ordering::Relaxed) == 0,
        "a reader beside a writer",
    )
}

/// Three tasks do the work of `target` at once.
fn run_together<W: Work>(target: &Arc<W>) -> CaseResult {
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let task = WorkItem::new("latchfs-conf", target.clone()).map_err(nomem)?;
        tasks.try_push(task).map_err(nomem)?;
    }
    for task in &tasks {
        task.kick();
    }
    for task in &tasks {
        task.flush();
    }
    Ok(())
}

struct Contended {
    lock: ContentLock<(u32, u32), ConfContent>,
    torn: AtomicU32,
}

impl Work for Contended {
    fn run(&self) {
        for round in 0..ROUNDS {
            match round % 3 {
                0 => {
                    let mut w = self.lock.write();
                    w.0 += 1;
                    sys::relax();
                    w.1 += 1;
                }
                1 => {
                    let mut token = self.lock.lock_owned();
                    {
                        let mut w = self.lock.access(&mut token);
                        w.0 += 1;
                        w.1 += 1;
                    }
                    let token = self.lock.downgrade(token);
                    sys::relax();
                    self.lock.unshare(token);
                }
                _ => {
                    let r = self.lock.read();
                    if r.0 != r.1 {
                        self.torn.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

fn content_contended() -> CaseResult {
    let target = try_arc(Contended {
        lock: ContentLock::new((0, 0)),
        torn: AtomicU32::new(0),
    })
    .map_err(nomem)?;
    run_together(&target)?;
    // Two of three rounds write.
    let writes = 3 * (ROUNDS - ROUNDS / 3);
    ensure(target.lock.read().0 == writes, "an update was lost")?;
    ensure(
        target.torn.load(Ordering::Relaxed) == 0,
        "a reader beside a writer",
    )
}

fn txn_slot() -> CaseResult {
    ensure(!sys::in_txn(), "slot taken at the start")?;
    {
        let _slot = TxnSlot::enter().ok_or("free slot not given")?;
        ensure(sys::in_txn(), "slot not seen")?;
        ensure(TxnSlot::enter().is_none(), "slot given twice")?;
    }
    ensure(!sys::in_txn(), "slot not given back")
}

fn nofs_scope() -> CaseResult {
    let outer = sys::NofsScope::enter();
    let inner = sys::NofsScope::enter();
    let b = sys::must_box(1u8);
    drop(inner);
    drop(outer);
    ensure(*b == 1, "allocation in a scope")
}

fn reclaim_scope() -> CaseResult {
    let _outer = sys::ReclaimScope::enter();
    let _inner = sys::ReclaimScope::enter();
    try_arc(1_u8).map_err(nomem)?;
    Ok(())
}

fn uptime() -> CaseResult {
    let before = sys::uptime();
    ensure(sys::uptime() >= before, "the clock went back")
}

fn wait_true() -> CaseResult {
    let q = WaitQueue::new();
    q.wait(|| true);
    q.wake_all();
    ensure(q.wait_until(|| true, 1000), "true condition timed out")
}

fn wait_until_expires() -> CaseResult {
    let q = WaitQueue::new();
    ensure(!q.wait_until(|| false, 10), "false condition held")
}

#[derive(Default)]
struct Gate {
    runs: AtomicU32,
    open: AtomicU32,
    started: AtomicU32,
}

struct Counter {
    gate: Gate,
    queue: WaitQueue,
}

impl Work for Counter {
    fn run(&self) {
        self.gate.started.fetch_add(1, Ordering::AcqRel);
        self.queue.wake_all();
        self.queue
            .wait(|| self.gate.open.load(Ordering::Acquire) != 0);
        self.gate.runs.fetch_add(1, Ordering::AcqRel);
    }
}

fn target(open: u32) -> Result<Arc<Counter>, &'static str> {
    try_arc(Counter {
        gate: Gate {
            open: AtomicU32::new(open),
            ..Gate::default()
        },
        queue: WaitQueue::new(),
    })
    .map_err(nomem)
}

fn counter(open: u32) -> Result<(Arc<Counter>, WorkItem), &'static str> {
    let c = target(open)?;
    let w = WorkItem::new("latchfs-conf", c.clone()).map_err(nomem)?;
    Ok((c, w))
}

fn work_runs() -> CaseResult {
    let (c, w) = counter(1)?;
    w.flush();
    ensure(c.gate.runs.load(Ordering::Acquire) == 0, "ran unasked")?;
    w.kick();
    w.flush();
    ensure(c.gate.runs.load(Ordering::Acquire) == 1, "did not run")
}

fn work_rekick() -> CaseResult {
    let (c, w) = counter(0)?;
    w.kick();
    c.queue.wait(|| c.gate.started.load(Ordering::Acquire) == 1);
    // Running now: these make one more run, not three.
    w.kick();
    w.kick();
    w.kick();
    c.gate.open.store(1, Ordering::Release);
    c.queue.wake_all();
    w.flush();
    ensure(
        c.gate.runs.load(Ordering::Acquire) == 2,
        "kicks during a run make exactly one more",
    )
}

fn work_beside() -> CaseResult {
    let (c, w) = counter(0)?;
    let second = target(1)?;
    let beside = w.beside(second.clone()).map_err(nomem)?;
    w.kick();
    c.queue.wait(|| c.gate.started.load(Ordering::Acquire) == 1);
    beside.kick();
    beside.flush();
    ensure(
        second.gate.runs.load(Ordering::Acquire) == 1,
        "did not run beside the first",
    )?;
    c.gate.open.store(1, Ordering::Release);
    c.queue.wake_all();
    w.flush();
    drop(w);
    beside.kick();
    beside.flush();
    ensure(
        second.gate.runs.load(Ordering::Acquire) == 2,
        "the queue has gone with the first",
    )
}

fn work_stop() -> CaseResult {
    let (c, w) = counter(1)?;
    w.kick();
    w.flush();
    w.stop();
    w.kick();
    w.stop();
    ensure(c.gate.runs.load(Ordering::Acquire) == 1, "ran after stop")?;
    drop(w);
    Ok(())
}

fn work_later() -> CaseResult {
    let (c, w) = counter(1)?;
    // The earlier one of two stands: this test would take an hour.
    w.kick_after(3_600_000);
    w.kick_after(1);
    c.queue.wait(|| c.gate.started.load(Ordering::Acquire) == 1);
    w.flush();
    ensure(c.gate.runs.load(Ordering::Acquire) == 1, "did not run once")?;
    w.stop();
    w.kick_after(0);
    w.stop();
    ensure(c.gate.runs.load(Ordering::Acquire) == 1, "ran after stop")
}

fn clock() -> CaseResult {
    let Time { secs, nanos } = sys::now();
    // 2020-01-01; a clock before that is a machine that lost it.
    ensure(secs > 1_577_836_800, "clock before 2020")?;
    ensure(nanos < 1_000_000_000, "nanoseconds")
}

fn random() -> CaseResult {
    ensure(
        sys::random_u64() != sys::random_u64(),
        "two equal random numbers",
    )
}
