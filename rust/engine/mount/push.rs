// SPDX-License-Identifier: GPL-2.0

//! Who drives the pusher: the background worker, or whoever needs the AIL to be empty.
//!
//! With background work there is one worker; others say up to where they need the list to be empty
//! ([`Mount::ask_push`]), kick it, and wait. Without (tools, tests, a mount that is being closed)
//! they run the rounds themselves. Either way one round runs at a time, and a driver holds nothing
//! while it forces the log or waits.

use super::*;
use crate::engine::ail::Pushed;
use crate::format::Lsn;
use crate::sys::{self, ReclaimScope, Work};

/// Milliseconds after which the pusher looks again at items that somebody used.
const AGAIN_BUSY: u64 = 20;
/// Milliseconds between tries of writes that fail.
const AGAIN_FAILED: u64 = 500;

/// Seconds after which what is in the AIL goes to its place if nothing else brings it there.
const AGE: u64 = 30;

/// Rounds of an unmount without any progress after which it gives up: nobody is there any more who
/// could use what is not written.
const IDLE_ROUNDS: u32 = 250;

/// What a driver does about writes that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Tries once, and gives the error.
    Once,
    /// Tries as long as the policy says.
    Policy,
}

/// The target of the background work.
struct Pusher(Arc<Mount>);

impl Work for Pusher {
    fn run(&self) {
        // Writing metadata is what frees memory: it may use the last reserves, and must not wait
        // for memory that only it can free.
        let _scope = ReclaimScope::enter();
        self.0.push_in_background();
    }
}

impl Mount {
    /// What is durable in the log and not in its place.
    pub fn ail(&self) -> &Arc<Ail> {
        &self.ail
    }

    /// What becomes of metadata that cannot be written.
    pub fn error_policy(&self) -> &ErrorPolicy {
        self.ail.policy()
    }

    /// Starts the background pusher.
    pub(super) fn start_pusher(self: &Arc<Self>) -> Result {
        let target = sys::try_arc(Pusher(self.clone()))?;
        let item = sys::try_arc(WorkItem::new("latchfs-ail", target)?)?;
        self.pusher_stops.store(0, Ordering::Release);
        *self.pusher.lock() = Some(item);
        Ok(())
    }

    /// Stops it; a round that runs is waited for. May sleep; not from the pusher.
    pub(super) fn stop_pusher(&self) {
        let item = self.pusher.lock().take();
        self.pusher_stops.store(1, Ordering::Release);
        self.ail.wake();
        if let Some(item) = item {
            item.stop();
        }
    }

    fn pusher_item(&self) -> Option<Arc<WorkItem>> {
        self.pusher.lock().clone()
    }

    /// Asks for everything up to `target` to be brought to its place. Returns whether somebody does
    /// it: without background work it is left to the caller ([`Self::push_ail`]). Does not sleep.
    pub(crate) fn ask_push(&self, target: Lsn) -> bool {
        self.ail.ask(target);
        match self.pusher_item() {
            Some(item) => {
                item.kick();
                true
            }
            None => false,
        }
    }

    /// For the worker of the log, after a checkpoint: what is in the AIL for long goes to its place,
    /// and if the log is more than half full, the oldest quarter of it at once, before anybody has
    /// to wait. Returns the milliseconds after which to call again, if something is left. Does not
    /// sleep.
    pub(crate) fn push_old(&self) -> Option<u64> {
        let space = self.log.space();
        let mut goal = self.ail.aged(AGE)?;
        if space.free() < space.body() / 2 {
            goal = goal.max(space.tail().saturating_add(space.body() / 4));
        }
        if self.ail.has_until(goal) {
            self.ask_push(goal);
        }
        Some(AGE.saturating_mul(1000))
    }

    /// Memory is short, and metadata that is not in its place cannot be freed: asks for it to be
    /// brought there. Takes spinlocks only.
    pub fn push_for_memory(&self) {
        if let Some(newest) = self.ail.newest() {
            self.ask_push(newest);
        }
    }

    /// Shuts the file system down if a write was given up, and throws away what is on the list after
    /// a shutdown. EIO then.
    pub(crate) fn heed_ail(&self) -> Result {
        if !self.is_shutdown() {
            let Some(errno) = self.ail.hopeless() else {
                return Ok(());
            };
            let error = Error::new(errno);
            self.note_error(&error, 0, 0);
            self.fail("metadata cannot be written");
        }
        if let Some(down) = self.ail.health().log_down() {
            self.ail.abort_all(&down);
        }
        Err(Error::new(Errno::IO))
    }

    /// One round up to `target`, and the end of its writes. May sleep; at most a folio lock is held.
    /// Errors: EIO after a shutdown.
    pub(crate) fn push_ail(&self, target: Lsn) -> Result<Pushed> {
        self.heed_ail()?;
        let pushed = {
            let _turn = self.push_turn.lock();
            let _nofs = sys::NofsScope::enter();
            self.ail.round(&self.inodes.cache, target)
        };
        self.ail.wait_writes();
        self.heed_ail()?;
        Ok(pushed)
    }

    /// Brings everything that was committed before this call to its place. May sleep; nothing may be
    /// held. Errors: EIO if something could not be written (it is tried again later), or after a
    /// shutdown.
    pub fn push_ail_all(&self) -> Result {
        self.checkpoint()?;
        let Some(goal) = self.ail.newest() else {
            return Ok(());
        };
        self.drive(goal, Patience::Once)
    }

    /// [`Self::push_ail_all`] until it is done or the policy gives up: for unmount.
    pub(super) fn push_ail_out(&self) -> Result {
        loop {
            self.checkpoint()?;
            let Some(goal) = self.ail.newest() else {
                return Ok(());
            };
            self.drive(goal, Patience::Policy)?;
        }
    }

    /// Until nothing up to `goal` is on the list.
    fn drive(&self, goal: Lsn, patience: Patience) -> Result {
        let mut idle = 0_u32;
        // The failure of a write that was begun before says nothing about the device of now.
        let before = {
            let _turn = self.push_turn.lock();
            self.ail.wait_writes();
            self.ail.failures()
        };
        let fails = || self.ail.failures() != before && self.ail.has_failed();
        while self.ail.has_until(goal) {
            if patience == Patience::Once && self.ask_push(goal) {
                // The worker does it. What has failed will be tried again, but not while we wait.
                self.ail
                    .wait(|| !self.ail.has_until(goal) || self.is_shutdown() || fails());
                self.heed_ail()?;
                if self.ail.has_until(goal) && fails() {
                    return Err(Error::new(Errno::IO));
                }
                continue;
            }
            let ended = self.ail.ended();
            let pushed = self.push_ail(goal)?;
            if !self.ail.has_until(goal) {
                break;
            }
            idle = if pushed.written == 0 { idle + 1 } else { 0 };
            if patience == Patience::Policy && idle > IDLE_ROUNDS {
                sys::pr_err!("metadata that nobody can write: {}", self.observe());
                return Err(Error::new(Errno::UCLEAN));
            }
            if patience == Patience::Once && fails() {
                return Err(Error::new(Errno::IO));
            }
            let failed = self.ail.has_failed();
            self.after_round(&pushed, ended, failed, false, &|| self.is_shutdown())?;
        }
        Ok(())
    }

    /// What has to happen before the next round makes sense. Does not wait any longer when `stop`
    /// says so. In the background the log is forced by its own worker: the pusher may use the last
    /// memory, a checkpoint must not.
    fn after_round(
        &self,
        pushed: &Pushed,
        ended: u64,
        failed: bool,
        background: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result {
        if pushed.pinned != 0 {
            // Their newest state is only in memory; or in a transaction that is still open, and then
            // there may be nothing to write.
            let durable = self.log.durable_seq();
            if background && self.log_worker_kick() {
                let forced = || self.log.durable_seq() != durable || stop();
                self.ail.wait_for(forced, AGAIN_BUSY);
            } else {
                self.checkpoint()?;
            }
            if self.log.durable_seq() != durable {
                return Ok(());
            }
        }
        if pushed.again != 0 && failed {
            self.ail.wait_for(stop, AGAIN_FAILED);
        } else if pushed.written == 0 {
            self.ail
                .wait_for(|| self.ail.ended() != ended || stop(), AGAIN_BUSY);
        }
        Ok(())
    }

    /// The worker: rounds until the target is reached.
    fn push_in_background(&self) {
        let stop = || self.pusher_stops.load(Ordering::Acquire) != 0 || self.is_shutdown();
        let mut tail = None;
        loop {
            if self.heed_ail().is_err() {
                self.record_errors();
                return;
            }
            self.tell_tail(&mut tail);
            let target = self.ail.target();
            if stop() || !self.ail.has_until(target) {
                return;
            }
            let ended = self.ail.ended();
            let pushed = {
                let _turn = self.push_turn.lock();
                self.ail.round(&self.inodes.cache, target)
            };
            // All that could be written is on its way. Whoever waits for log space hears of each
            // step of the tail; there is nothing more to do before the writes have ended.
            let mut more = pushed.written != 0;
            while more {
                let moved = self.ail.wait_for(
                    || self.ail.tail() != tail || self.ail.inflight() == 0 || stop(),
                    AGAIN_BUSY,
                );
                more = moved && self.ail.inflight() != 0 && !stop();
                self.tell_tail(&mut tail);
            }
            let failed = self.ail.has_failed();
            if self
                .after_round(&pushed, ended, failed, true, &stop)
                .is_err()
            {
                // A checkpoint failed, which has shut the file system down.
                self.ail.wait_for(stop, AGAIN_FAILED);
            }
        }
    }

    /// Tells the log if the tail is not where it was.
    fn tell_tail(&self, before: &mut Option<Lsn>) {
        let tail = self.ail.tail();
        if tail != *before {
            *before = tail;
            self.log_tail_moved();
        }
    }

    /// After a shutdown: what was recorded of errors goes into the superblock, if the device takes
    /// it. May sleep.
    pub(super) fn record_errors(&self) {
        if self.read_only() || !self.faults.has_unwritten() {
            return;
        }
        if let Err(error) = self.write_super(|_| ()) {
            sys::pr_err!("errors are not recorded in the superblock: {}\n", error);
        }
    }
}
