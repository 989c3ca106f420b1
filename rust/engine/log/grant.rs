// SPDX-License-Identifier: GPL-2.0

//! Log space of a transaction, and what is done if there is none.

use super::cil::{Batch, Room};
use super::space::{cost, most_granted, Lack, Who};
use super::*;
use crate::engine::{
    mount::Mount,
    Error,
    Result, //
};
use crate::sys::Errno;

/// The right to put so much into the open context. Dropping it gives back what is left.
#[must_use = "a grant that is dropped is given back"]
pub struct Grant<'m> {
    log: &'m Log,
    bytes: u64,
}

impl Grant<'_> {
    /// Bytes left.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes = self.bytes.saturating_sub(more);
        self.log.space.give_back(more);
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.log.space.give_back(self.bytes);
    }
}

impl Log {
    /// Puts what a transaction changed into the open context, out of `grant`. The caller holds the
    /// gate shared, and what keeps the objects from changing. May sleep for memory, before the
    /// spinlock is taken. Returns the bytes of the context, and whether it was empty before.
    pub(crate) fn insert(&self, batch: &mut Batch, grant: &mut Grant<'_>) -> (u64, bool) {
        let mut room = Room::default();
        let (grown, first) = loop {
            let lack = {
                let mut ctx = self.ctx.lock();
                match ctx.prepare(batch, &mut room) {
                    None => {
                        let (before, first) = (cost(ctx.bytes()), ctx.is_empty());
                        ctx.put(batch);
                        let grown = (cost(ctx.bytes()) as i64).wrapping_sub(before as i64);
                        break (grown, first);
                    }
                    Some(lack) => lack,
                }
            };
            room.must_have(lack);
        };
        if grown > 0 {
            debug_assert!(grown as u64 <= grant.bytes, "more logged than reserved");
            grant.bytes = grant.bytes.saturating_sub(grown as u64);
        }
        (self.space.commit(grown), first)
    }
}

impl Mount {
    /// Log space for records of `bytes` bytes. May sleep: waits in the order of arrival, and brings
    /// about that there will be space. A transaction that begins holds at most a folio lock; the
    /// next link of a chain (`Who::Chain`) what it has locked, all of which it has just committed.
    ///
    /// Errors: EIO after a shutdown; ENOSPC if no log can hold it, which is a bug.
    pub(crate) fn grant(&self, who: Who, bytes: u64) -> Result<Grant<'_>> {
        let log = self.log();
        let bytes = cost(bytes);
        if bytes > most_granted(log.log.len) {
            debug_assert!(false, "a transaction that no log can hold");
            return Err(Error::new(Errno::NOSPC));
        }
        let live = || self.check_live();
        let waited = log
            .space
            .acquire(who, bytes, live, |lack| self.relieve_log(lack))?;
        if waited {
            self.stats().add_log_waits(1);
        }
        Ok(Grant { log, bytes })
    }

    /// Whoever is first in a queue calls this: brings about that there will be space. With
    /// background work it is asked for, without it is done here. Returns whether it makes sense to
    /// look again at once.
    fn relieve_log(&self, lack: Lack) -> Result<bool> {
        let log = self.log();
        let goal = log.space.tail().saturating_add(log.space.body() / 4);
        if self.log_worker_kick() {
            if lack == Lack::Tail {
                self.ask_push(goal);
            }
            return Ok(false);
        }
        let before = (log.durable_seq(), log.space.tail());
        self.checkpoint()?;
        if lack == Lack::Tail {
            self.push_ail(goal)?;
            self.publish_tail()?;
        }
        Ok((log.durable_seq(), log.space.tail()) != before)
    }

    /// The tail of the AIL has moved: whoever waits for log space may go on when that is in the log,
    /// which is seen to here. Does not sleep.
    pub(crate) fn log_tail_moved(&self) {
        if self.log().space.has_waiters() && !self.log_worker_kick() {
            self.log().space.wake();
        }
    }
}
