// SPDX-License-Identifier: GPL-2.0

//! Space in the log: who may still write how much.
//!
//! Every byte of the body belongs to exactly one of: what replay may need (from the tail of the last
//! *durable* commit record to the head), the checkpoint being written, the open context, the grants
//! of open transactions, a fixed reserve, or nobody. So a commit never finds the log full, and
//! neither does a checkpoint:
//!
//! ```text
//! body = (head - tail) + writing + committed + granted + FIXED + free
//! ```
//!
//! A transaction gets its [`Grant`] before it locks anything. Waiters are served in the order of
//! their arrival; whoever is first sees to it that space appears (`Mount::relieve_log`). Chains,
//! which wait with an inode locked, have a queue of their own that goes first, and a part of the
//! log that others leave alone.
//!
//! Two rules are kept by the grants: a checkpoint has at most a quarter of the body (open context and
//! open grants together), and an empty checkpoint, which publishes a tail, always fits.
//!
//! Compare XFS's grant heads; those count what was granted on two circles, this counts bytes.

use crate::engine::{
    locks::LogSpaceLock,
    Result, //
};
use crate::format::{
    log::{
        body_bytes,
        encode::blocks_for,
        max_checkpoint, //
    },
    Lsn,
    BLOCK_SIZE, //
};
use crate::sys::{
    atomic::{AtomicU64, Ordering},
    Spin,
    WaitQueue, //
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// What a checkpoint has beside its records: the commit record, and the rests of blocks.
pub(super) const OVERHEAD: u64 = 2 * BLOCK;
/// The open context's overhead, and an empty checkpoint.
const FIXED: u64 = OVERHEAD + BLOCK;
/// Part of the body that only chains may use.
const CHAIN_PART: u64 = 8;

/// Bytes of the body that records of `bytes` bytes take: each block of it has a head.
pub const fn cost(bytes: u64) -> u64 {
    bytes.saturating_add(bytes.div_ceil(127))
}

/// Most that one transaction can be granted in a log of `log_blocks` blocks.
pub const fn most_granted(log_blocks: u32) -> u64 {
    (max_checkpoint(log_blocks) as u64)
        .saturating_mul(BLOCK)
        .saturating_sub(OVERHEAD)
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A transaction that begins and holds nothing.
    Begin,
    /// The next link of a chain, which holds an inode.
    Chain,
}

/// What stands in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The open context and the open grants would be too much for one checkpoint.
    Context,
    /// The log is full: the tail has to move.
    Tail,
    /// It is somebody else's turn.
    Turn,
}

/// First come, first served.
#[derive(Clone, Copy, Default)]
struct Queue {
    next: u64,
    serving: u64,
}

impl Queue {
    fn len(&self) -> u64 {
        self.next.saturating_sub(self.serving)
    }
}

struct Inner {
    head: u64,
    tail: u64,
    /// Promised to the checkpoint being written.
    writing: u64,
    /// Of the open context.
    committed: u64,
    granted: u64,
    begins: Queue,
    chains: Queue,
}

/// The space of one log.
pub struct LogSpace {
    inner: Spin<Inner, LogSpaceLock>,
    body: u64,
    /// Most of one checkpoint.
    most: u64,
    /// Counts what may have helped a waiter.
    events: AtomicU64,
    queue: WaitQueue,
}

/// A place in a queue.
#[must_use = "a place that is not given up blocks those behind it"]
#[derive(Debug)]
struct Ticket {
    who: Who,
    number: u64,
}

impl LogSpace {
    /// The space of a log of `log_blocks` blocks; nothing can be granted before [`Self::start`].
    pub fn new(log_blocks: u32) -> Self {
        let body = body_bytes(log_blocks);
        Self {
            inner: Spin::new(Inner {
                head: body,
                tail: 0,
                writing: 0,
                committed: 0,
                granted: 0,
                begins: Queue::default(),
                chains: Queue::default(),
            }),
            body,
            most: u64::from(max_checkpoint(log_blocks)).saturating_mul(BLOCK),
            events: AtomicU64::new(0),
            queue: WaitQueue::new(),
        }
    }

    /// The log is empty, and the next checkpoint goes to `head`.
    pub fn start(&self, head: Lsn) {
        let mut inner = self.inner.lock();
        inner.head = head.get();
        inner.tail = head.get();
    }

    /// Bytes that nobody has. Not exact a moment later.
    pub fn free(&self) -> u64 {
        self.free_of(&self.inner.lock())
    }

    fn free_of(&self, inner: &Inner) -> u64 {
        let live = inner.head.saturating_sub(inner.tail);
        let taken = live
            .saturating_add(inner.writing)
            .saturating_add(inner.committed)
            .saturating_add(inner.granted)
            .saturating_add(FIXED);
        self.body.saturating_sub(taken)
    }

    /// Why `bytes` cannot be granted now, apart from whose turn it is.
    fn lack(&self, inner: &Inner, who: Who, bytes: u64) -> Option<Lack> {
        let context = inner
            .committed
            .saturating_add(inner.granted)
            .saturating_add(bytes)
            .saturating_add(OVERHEAD);
        if context > self.most {
            return Some(Lack::Context);
        }
        let reserve = match who {
            Who::Begin => self.body / CHAIN_PART,
            Who::Chain => 0,
        };
        (self.free_of(inner) < bytes.saturating_add(reserve)).then_some(Lack::Tail)
    }

    fn give(inner: &mut Inner, bytes: u64) {
        inner.granted = inner.granted.saturating_add(bytes);
    }

    /// Grants `bytes` if nobody waits and there is room; else a place in the queue. Takes a spinlock
    /// only.
    fn ask(&self, who: Who, bytes: u64) -> core::result::Result<(), Ticket> {
        let mut inner = self.inner.lock();
        let waiting = match who {
            Who::Begin => inner.begins.len().saturating_add(inner.chains.len()),
            Who::Chain => inner.chains.len(),
        };
        if waiting == 0 && self.lack(&inner, who, bytes).is_none() {
            Self::give(&mut inner, bytes);
            return Ok(());
        }
        let queue = match who {
            Who::Begin => &mut inner.begins,
            Who::Chain => &mut inner.chains,
        };
        let number = queue.next;
        queue.next = number.wrapping_add(1);
        Err(Ticket { who, number })
    }

    /// What stands in the way of a waiter; [`Ok`] if it was granted and has left the queue.
    fn try_ticket(&self, ticket: &Ticket, bytes: u64) -> core::result::Result<(), Lack> {
        {
            let mut inner = self.inner.lock();
            let chains = inner.chains.len();
            let queue = match ticket.who {
                Who::Begin => &inner.begins,
                Who::Chain => &inner.chains,
            };
            if queue.serving != ticket.number || (ticket.who == Who::Begin && chains != 0) {
                return Err(Lack::Turn);
            }
            if let Some(lack) = self.lack(&inner, ticket.who, bytes) {
                return Err(lack);
            }
            Self::give(&mut inner, bytes);
            Self::leave(&mut inner, ticket.who);
        }
        self.wake();
        Ok(())
    }

    fn leave(inner: &mut Inner, who: Who) {
        let queue = match who {
            Who::Begin => &mut inner.begins,
            Who::Chain => &mut inner.chains,
        };
        queue.serving = queue.serving.wrapping_add(1);
    }

    /// Leaves the queue without a grant. Whoever is not at its front waits until it is, which is
    /// quick: those before leave as well, or are served.
    fn give_up(&self, ticket: &Ticket) {
        self.queue.wait(|| {
            let inner = self.inner.lock();
            let queue = match ticket.who {
                Who::Begin => &inner.begins,
                Who::Chain => &inner.chains,
            };
            queue.serving == ticket.number
        });
        Self::leave(&mut self.inner.lock(), ticket.who);
        self.wake();
    }

    /// Gives `bytes` of a grant back.
    pub fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let waiters = {
            let mut inner = self.inner.lock();
            debug_assert!(
                inner.granted >= bytes,
                "more log space given back than granted"
            );
            inner.granted = inner.granted.saturating_sub(bytes);
            Self::waiters(&inner)
        };
        if waiters {
            self.wake();
        }
    }

    /// A commit: `bytes` of its grant belong to the open context now. Negative if its records
    /// replaced larger ones. Returns what the context has.
    pub fn commit(&self, bytes: i64) -> u64 {
        let (committed, waiters) = {
            let mut inner = self.inner.lock();
            let n = bytes.unsigned_abs();
            if bytes >= 0 {
                debug_assert!(inner.granted >= n, "more logged than reserved");
                inner.granted = inner.granted.saturating_sub(n);
                inner.committed = inner.committed.saturating_add(n);
            } else {
                inner.committed = inner.committed.saturating_sub(n);
            }
            (inner.committed, Self::waiters(&inner))
        };
        if waiters {
            // There is something to close now, even if nothing is given back.
            self.wake();
        }
        committed
    }

    /// The open context, with records of `bytes` bytes, is closed and will be written. Returns where.
    pub fn close(&self, bytes: u64) -> Lsn {
        let mut inner = self.inner.lock();
        inner.writing = blocks_for(bytes).saturating_mul(BLOCK);
        debug_assert!(
            inner.writing <= inner.committed.saturating_add(OVERHEAD),
            "the context is larger than its commits"
        );
        debug_assert!(inner.writing <= self.most, "the context is too large");
        inner.committed = 0;
        Lsn(inner.head)
    }

    /// The checkpoint of `blocks` blocks is durable, with `tail` in its commit record.
    pub fn durable(&self, blocks: u64, tail: Lsn) {
        {
            let mut inner = self.inner.lock();
            inner.writing = 0;
            inner.head = inner.head.saturating_add(blocks.saturating_mul(BLOCK));
            debug_assert!(inner.tail <= tail.get() && tail.get() <= inner.head);
            inner.tail = inner.tail.max(tail.get());
        }
        self.wake();
    }

    /// Position behind the newest durable checkpoint.
    pub fn head(&self) -> Lsn {
        Lsn(self.inner.lock().head)
    }

    /// The tail in the newest durable commit record.
    pub fn tail(&self) -> Lsn {
        Lsn(self.inner.lock().tail)
    }

    /// Bytes of the body.
    pub fn body(&self) -> u64 {
        self.body
    }

    /// Bytes of open grants.
    pub fn granted(&self) -> u64 {
        self.inner.lock().granted
    }

    fn waiters(inner: &Inner) -> bool {
        inner.begins.len() != 0 || inner.chains.len() != 0
    }

    /// Whether somebody waits for space, or soon will.
    pub fn is_tight(&self) -> bool {
        let inner = self.inner.lock();
        Self::waiters(&inner) || self.free_of(&inner) < self.body / CHAIN_PART
    }

    /// How many wait.
    pub fn waiting(&self) -> u64 {
        let inner = self.inner.lock();
        inner.begins.len().saturating_add(inner.chains.len())
    }

    /// Whether somebody waits for space.
    pub fn has_waiters(&self) -> bool {
        Self::waiters(&self.inner.lock())
    }

    /// Something has changed that may help a waiter. Never sleeps.
    pub fn wake(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
        self.queue.wake_all();
    }

    /// Grants `bytes`; waits for them in the order of arrival. Whoever is first in its queue calls
    /// `relieve` with what stands in the way, which returns whether to look again at once; `live`
    /// fails when there is no hope any more. Whether there was a wait is returned.
    pub fn acquire(
        &self,
        who: Who,
        bytes: u64,
        live: impl Fn() -> Result,
        mut relieve: impl FnMut(Lack) -> Result<bool>,
    ) -> Result<bool> {
        let ticket = match self.ask(who, bytes) {
            Ok(()) => return Ok(false),
            Err(ticket) => ticket,
        };
        let mut place = Place {
            space: self,
            ticket: Some(ticket),
        };
        loop {
            live()?;
            let seen = self.events.load(Ordering::Acquire);
            let Some(ticket) = &place.ticket else {
                return Ok(true);
            };
            match self.try_ticket(ticket, bytes) {
                Ok(()) => place.ticket = None,
                Err(Lack::Turn) => self.wait(seen, &live),
                Err(lack) => {
                    if !relieve(lack)? {
                        self.wait(seen, &live);
                    }
                }
            }
        }
    }

    /// Sleeps until something has changed since `seen`, or there is no hope.
    fn wait(&self, seen: u64, live: &impl Fn() -> Result) {
        self.queue
            .wait(|| self.events.load(Ordering::Acquire) != seen || live().is_err());
    }
}

/// A place in a queue, given up when dropped.
struct Place<'a> {
    space: &'a LogSpace,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            self.space.give_up(ticket);
        }
    }
}
