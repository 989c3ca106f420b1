// SPDX-License-Identifier: GPL-2.0

//! Writing a buffer: sealed, verified, asynchronous, with the flush tokens of the items it carries.
//!
//! A [`LockedBuf`] is a buffer held exclusively together with a reference of its own. Writing it
//! makes a [`WbToken`] of it: the shared hold on the content, and the tokens of all items whose
//! images are in it, travel with the I/O and none of them can be left behind.

use super::*;
use crate::engine::{
    ail::{policy::Retry, Ail, FlushToken},
    health::LogDown, //
};
use crate::format::{header::seal, verify_block, Ino, Lsn};
use crate::sys::{ExclToken, Report, SharedToken, SysResult};

/// The write of one buffer: there is one while it is under way, and after it has failed.
#[derive(Default)]
pub(super) struct Flight {
    /// What the write owns.
    tokens: sys::Vec<FlushToken>,
    /// Failures since the last success.
    retry: Retry,
}

/// A buffer whose content is held exclusively, and a reference of its own. Unlocks when dropped.
/// May be handed to another task.
#[must_use]
pub struct LockedBuf {
    buf: BufRef,
    token: Option<ExclToken>,
    /// An inode whose slot is in it, if it is an inode block and the caller said so.
    inode: Option<Ino>,
}

impl LockedBuf {
    /// Locks a buffer if that needs no waiting. Takes the reference: nobody can lock a buffer that
    /// he has none on. Any context but interrupts.
    pub(crate) fn try_lock(buf: BufRef) -> core::result::Result<Self, BufRef> {
        match buf.buf.content.try_lock_owned() {
            Some(token) => Ok(Self {
                buf,
                token: Some(token),
                inode: None,
            }),
            None => Err(buf),
        }
    }

    /// The buffer.
    pub fn buf(&self) -> &BufRef {
        &self.buf
    }

    /// Says which inode the block has a slot of: what is in the slots may be anything, the numbers
    /// of a block follow from one of them.
    pub(crate) fn with_inode(mut self, ino: Option<Ino>) -> Self {
        self.inode = ino;
        self
    }

    /// See [`Self::with_inode`].
    pub(crate) fn inode(&self) -> Option<Ino> {
        self.inode
    }

    /// What `f` makes of the content. [`None`] never.
    pub(crate) fn with<R>(
        &mut self,
        f: impl FnOnce(&mut [u8; sys::BLOCK_BYTES]) -> R,
    ) -> Option<R> {
        let token = self.token.as_mut()?;
        Some(f(&mut self.buf.buf.content.access(token)))
    }

    /// Starts writing the buffer, sealed at `lsn`; `tokens` are those of the items it has images
    /// of, and belong to the write from here on. Does not wait for the I/O. False if it is not
    /// written because it would not pass its own verifier: its items have failed for good then.
    pub(crate) fn write(mut self, ail: &Arc<Ail>, lsn: Lsn, tokens: sys::Vec<FlushToken>) -> bool {
        let Some(mut token) = self.token.take() else {
            return false;
        };
        let buf = self.buf.buf.clone();
        // An image of an inode makes its block dirty.
        self.buf.set_dirty();
        if !buf.state.start_writeback() {
            // Stale, and nobody looked: what was in it is not needed.
            buf.content.unlock(token);
            end_items(ail, tokens, Err(Errno::STALE), &buf);
            return false;
        }
        buf.cache.dirty.fetch_sub(1, Ordering::Relaxed);

        let verdict = {
            let mut content = buf.content.access(&mut token);
            seal(&mut content, buf.kind(), &buf.cache.context, lsn);
            verify_block(
                &content,
                buf.kind(),
                &buf.cache.context,
                buf.block,
                Some(buf.owner()),
            )
        };
        if let Err(defect) = verdict {
            // Wrong in memory: writing it again will not make it better.
            let error = buf.damaged("write", defect);
            end_items(ail, tokens, Err(error.errno()), &buf);
            buf.end_write(false);
            buf.content.unlock(token);
            ail.give_up(error.errno());
            return false;
        }

        let hold = buf.content.downgrade(token);
        let failed = buf.flight.lock().take();
        let mut flight = match failed {
            Some(failed) => failed,
            None => sys::must_box(Flight::default()),
        };
        flight.tokens = tokens;
        *buf.flight.lock() = Some(flight);
        ail.write_begins();
        let block = buf.block.get();
        let device = buf.cache.dev.clone();
        device.submit_write(block, buf, hold);
        true
    }
}

impl Drop for LockedBuf {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.buf.buf.content.unlock(token);
        }
    }
}

/// One write that has come back from the device.
#[must_use = "its items have to hear of it"]
struct WbToken {
    buf: Arc<Buf>,
    hold: SharedToken,
    flight: sys::Box<Flight>,
}

/// The items of a write hear what became of it.
fn end_items(ail: &Arc<Ail>, tokens: sys::Vec<FlushToken>, result: SysResult<()>, buf: &Arc<Buf>) {
    let _ = buf;
    sys::sync_point!("buf.ioend.before_items", buf.block.get());
    let (bag, tail) = ail.complete(tokens, result);
    sys::sync_point!("buf.ioend.after_ail_remove", buf.block.get());
    drop(bag);
    sys::sync_point!("buf.ioend.after_detach", buf.block.get());
    if tail.moved {
        // The pusher is among those who wait, and tells the log.
        ail.wake();
    }
}

impl WbToken {
    /// The end: items, then the buffer's word, then the content lock. Does not wait for anything.
    fn finish(self, ail: &Arc<Ail>, result: SysResult<()>) {
        let Self {
            buf,
            hold,
            mut flight,
        } = self;
        let tokens = core::mem::take(&mut flight.tokens);
        if let Err(errno) = result {
            buf.write_failed(ail, errno, &mut flight.retry);
            // The next write counts on.
            *buf.flight.lock() = Some(flight);
        }
        end_items(ail, tokens, result, &buf);
        buf.end_write(result.is_ok());
        buf.content.unshare(hold);
    }
}

impl Buf {
    /// The state part of the end of a write; the content lock is still held.
    fn end_write(self: &Arc<Self>, ok: bool) {
        if !ok {
            self.cache.dirty.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(token) = self.state.end_writeback(ok) {
            self.cache.bury(self, token);
        }
    }

    /// Counts a failure, tells it once, and asks the policy.
    fn write_failed(&self, ail: &Arc<Ail>, errno: Errno, retry: &mut Retry) {
        let known = retry.errno == errno.raw() as u32;
        ail.judge(errno, retry);
        if known {
            return;
        }
        sys::pr_err!(
            "block {} ({}) could not be written: {}\n",
            self.block,
            self.kind().as_str(),
            errno
        );
        // Not an error worth remembering: it is tried again, and the mount notes it when that is
        // given up.
        self.cache.dev.report(Report::Metadata(errno));
    }

    /// The end of a write's I/O. In task context; does not wait for anything.
    pub(super) fn write_done(self: Arc<Self>, hold: SharedToken, result: SysResult<()>) {
        let result = result.and(sys::fail_point!("buf.write.submit", self.block.get()));
        let flight = self.flight.lock().take();
        let ail = flight
            .as_ref()
            .and_then(|flight| flight.tokens.first())
            .map(|token| token.ail().clone());
        let (Some(flight), Some(ail)) = (flight, ail) else {
            // Every write has a token; without one nobody can be told.
            debug_assert!(false, "a write without a flush token");
            self.end_write(result.is_ok());
            self.content.unshare(hold);
            return;
        };
        let write = WbToken {
            buf: self,
            hold,
            flight,
        };
        write.finish(&ail, result);
        // The buffer may be gone; who waits for the write may go on.
        ail.write_ended();
    }
}

impl BufRef {
    /// The log is down: what is in memory and not on the disk is given up. Does not sleep.
    pub(crate) fn abandon(&self, _down: &LogDown) {
        if self.buf.state.abandon() {
            self.buf.cache.dirty.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
