// SPDX-License-Identifier: GPL-2.0

//! Waiting until something is durable.
//!
//! Whoever needs a checkpoint that nobody is making makes it itself: no other task has to run for
//! it. All who come meanwhile wait, and one of them makes the next one, which has what all of them
//! committed (group commit). A waiter whose checkpoint is durable goes on at once, whoever has the
//! turn.

use super::item::LogItem;
use super::*;
use crate::engine::{
    mount::Mount,
    Result, //
};
use crate::format::log::next_block;

/// The turn to make checkpoints. Ends when dropped.
pub(super) struct MyTurn<'a> {
    log: &'a Log,
    /// Memory for blocks.
    pub(super) blocks: sys::Vec<Block>,
}

impl Drop for MyTurn<'_> {
    fn drop(&mut self) {
        {
            let mut turn = self.log.turn.lock();
            turn.taken = false;
            turn.blocks = core::mem::take(&mut self.blocks);
        }
        self.log.turns.wake_all();
    }
}

impl Log {
    /// Takes the turn, if nobody has it.
    pub(super) fn try_turn(&self) -> Option<MyTurn<'_>> {
        let mut turn = self.turn.lock();
        if turn.taken {
            return None;
        }
        turn.taken = true;
        Some(MyTurn {
            log: self,
            blocks: core::mem::take(&mut turn.blocks),
        })
    }

    fn is_taken(&self) -> bool {
        self.turn.lock().taken
    }

    /// Returns when the checkpoint `seq` is durable. `make` makes the next one, and says whether
    /// there was anything to make; `live` fails when there is no hope any more.
    pub(super) fn force(
        &self,
        seq: u64,
        live: impl Fn() -> Result,
        mut make: impl FnMut(&mut MyTurn<'_>) -> Result<bool>,
    ) -> Result {
        loop {
            if self.durable_seq() >= seq {
                return Ok(());
            }
            live()?;
            if let Some(mut turn) = self.try_turn() {
                if self.durable_seq() >= seq || !make(&mut turn)? {
                    // If there was nothing to make, everything committed is durable.
                    return Ok(());
                }
                continue;
            }
            self.turns
                .wait(|| self.durable_seq() >= seq || !self.is_taken() || live().is_err());
        }
    }
}

impl Mount {
    /// Returns when the checkpoint with the number `seq` is durable; makes it if nobody else does.
    /// A context without content counts as durable. May sleep; at most what comes before the gate
    /// may be held, and no transaction be open.
    ///
    /// Errors: EIO if the log cannot be written, or after a shutdown.
    pub(crate) fn log_force(&self, seq: u64) -> Result {
        self.log().force(
            seq,
            || self.check_live(),
            |turn| self.make_checkpoint(turn, false),
        )
    }

    /// Brings everything that was committed before this call into the log, durably. May sleep; at
    /// most what comes before the gate may be held, and no transaction be open.
    ///
    /// Errors: EIO if the log cannot be written: the file system is shut down. On a read-only mount
    /// there is nothing to do.
    pub fn checkpoint(&self) -> Result {
        self.check_live()?;
        if self.read_only() {
            return Ok(());
        }
        self.log_force(self.log().current_seq())
    }

    /// [`Self::checkpoint`], and everything that reached the device before this call is durable, too:
    /// data that was overwritten in place came through no transaction. If the context that is open
    /// now becomes durable, its checkpoint was closed after this call began, and a flush issued
    /// after that; else one is issued here. For sync(2), freeze and synchronous operations. May
    /// sleep, as [`Self::checkpoint`]. EIO.
    pub fn sync_log(&self) -> Result {
        let open = self.log().current_seq();
        self.checkpoint()?;
        self.flush_since(open)
    }

    /// Flushes the device, unless the context `open`, which was the open one when the caller began,
    /// has become durable since: its checkpoint's flush came later. May sleep. EIO.
    pub(crate) fn flush_since(&self, open: u64) -> Result {
        if self.read_only() || self.log().durable_seq() >= open {
            return Ok(());
        }
        self.check_live()?;
        Ok(self.buf().device().flush()?)
    }

    /// Makes an object durable, and everything that reached the device before this call: what fsync
    /// wants (rules M7). If the open context has the object's last commit, its checkpoint will be
    /// closed after this call began, and its flush is issued after that. Else a flush of the device
    /// is issued here: that of the object's checkpoint may have come before the data. With
    /// `datasync`, commits that changed nothing but times do not count. May sleep. EIO.
    pub fn log_force_item(&self, item: &LogItem, datasync: bool) -> Result {
        let log = self.log();
        let seq = if datasync {
            item.data_seq()
        } else {
            item.commit_seq()
        };
        // Compared with the context that is open now, after the caller has waited for its data.
        let open = seq == log.current_seq() || crate::sys::mutant!(Seed001Flush);
        if seq != 0 {
            self.log_force(seq)?;
        }
        if open && seq != 0 {
            return Ok(());
        }
        self.check_live()?;
        Ok(self.buf().device().flush()?)
    }

    /// Writes an empty checkpoint if that makes more log space reusable than it takes: the tail in
    /// the last durable commit record is behind that of the AIL. Returns whether it did. May sleep. EIO.
    pub(crate) fn publish_tail(&self) -> Result<bool> {
        let log = self.log();
        loop {
            self.check_live()?;
            let tail = self.ail().tail().unwrap_or(log.head());
            // The empty checkpoint takes a block itself: it has to free more than that.
            if tail <= next_block(log.space.tail()) {
                return Ok(false);
            }
            if let Some(mut turn) = log.try_turn() {
                return self.make_checkpoint(&mut turn, true);
            }
            log.turns.wait(|| !log.is_taken() || self.is_shutdown());
        }
    }
}
