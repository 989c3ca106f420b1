// SPDX-License-Identifier: GPL-2.0

//! Making a checkpoint.
//!
//! The order is what everything else relies on (rules M6):
//!
//! 1. the context is closed with the gate held exclusively: no commit is half in it. With it the
//!    counters of the commit record are sampled, and what was freed up to now is marked as waiting;
//! 2. the tail is sampled from the AIL, which has all items of the checkpoint before. What left the
//!    AIL was written before the flush that comes now, so it is on the media when the commit record
//!    is;
//! 3. the blocks are written: at once, with a flush before and FUA, if one bio can hold them; else
//!    first all but the last, and when they are written the last one like that;
//! 4. it is durable: those who wait for it go on; its items enter the AIL at the position of its
//!    *first* byte, or the tail would pass its body; what was freed may be used again; the log is
//!    free up to the tail that was written.
//!
//! A log that cannot be written is the end: nothing committed since can ever be durable.

use super::cil::{Ctx, Image};
use super::force::MyTurn;
use super::space::OVERHEAD;
use super::*;
use crate::engine::{
    mount::Mount,
    Error,
    Result, //
};
use crate::format::{
    self,
    inode::LITERAL_OFFSET,
    log::{
        block_at,
        blocks_before_wrap,
        encode::{blocks_for, BlockList, Encoder, NoRoom},
        record::{CommitBody, CORE_OFFSET, CORE_SIZE}, //
    },
    BLOCK_SIZE, //
};
use crate::sys::{self, Errno, NofsScope};
use zerocopy::little_endian::{I64, U64};

/// Most blocks of one bio, and blocks whose memory is kept between checkpoints.
const BIO_BLOCKS: usize = 256;

/// Blocks to be filled.
struct Blocks<'a>(&'a mut sys::Vec<Block>);

impl BlockList for Blocks<'_> {
    fn block(&mut self, index: usize) -> Option<&mut format::Block> {
        self.0.get_mut(index).map(|block| &mut **block)
    }
}

/// Numbers of a commit record, as of one moment with no commit under way.
struct Counts {
    free: u64,
    inodes: u64,
    free_inodes: u64,
    orphans: u64,
}

impl Mount {
    /// Makes the next checkpoint. `publish`: also if it is empty. Returns whether there was one to
    /// make. May sleep. EIO: the file system is shut down.
    pub(super) fn make_checkpoint(&self, turn: &mut MyTurn<'_>, publish: bool) -> Result<bool> {
        let _nofs = NofsScope::enter();
        let Some((mut ctx, counts, start)) = self.close_context(publish)? else {
            return Ok(false);
        };
        let tail = self.ail().tail().map_or(start, |tail| tail.min(start));
        let written = self
            .encode(&ctx, &counts, start, tail, &mut turn.blocks)
            .and_then(|n| self.write_blocks(&turn.blocks, n, start).map(|()| n));
        turn.blocks.truncate(BIO_BLOCKS);
        match written {
            Ok(n) => {
                self.checkpoint_durable(&mut ctx, n, start, tail);
                Ok(true)
            }
            Err(error) => {
                self.log_failed(&error);
                self.abandon(&mut ctx);
                Err(error)
            }
        }
    }

    /// Closes the open context. [`None`] if it is empty, unless it is to be published.
    fn close_context(&self, publish: bool) -> Result<Option<(Ctx, Counts, Lsn)>> {
        let log = self.log();
        let _gate = self.gate.write();
        self.check_live()?;
        if !publish && log.is_idle() {
            return Ok(None);
        }
        if let Err(error) = self.alloc().close() {
            self.log_failed(&error);
            return Err(error);
        }
        #[cfg(debug_assertions)]
        self.alloc().check(false)?;
        let counts = Counts {
            free: self.alloc().free(),
            inodes: self.counts().inodes.load(Ordering::Relaxed),
            free_inodes: self.counts().free.load(Ordering::Relaxed),
            orphans: self.counts().orphans.load(Ordering::Relaxed),
        };
        let seq = log.current_seq().saturating_add(1);
        let ctx = core::mem::replace(&mut *log.ctx.lock(), Ctx::new(seq));
        log.current.store(seq, Ordering::Release);
        let start = log.space.close(ctx.bytes());
        Ok(Some((ctx, counts, start)))
    }

    /// Turns a context into blocks. Returns how many.
    fn encode(
        &self,
        ctx: &Ctx,
        counts: &Counts,
        start: Lsn,
        tail: Lsn,
        blocks: &mut sys::Vec<Block>,
    ) -> Result<usize> {
        let n = usize::try_from(blocks_for(ctx.bytes())).unwrap_or(0);
        let more = n.saturating_sub(blocks.len());
        blocks.must_reserve(more);
        for _ in 0..more {
            blocks.must_push(Block::must_zeroed());
        }
        let base = self.log().base.load(Ordering::Acquire);
        let commit = CommitBody {
            seq: U64::new(ctx.seq().saturating_sub(base)),
            tail: U64::new(tail.get()),
            free_blocks: U64::new(counts.free),
            inodes: U64::new(counts.inodes),
            free_inodes: U64::new(counts.free_inodes),
            orphans: U64::new(counts.orphans),
            time: I64::new(sys::now().secs),
            ..CommitBody::default()
        };
        let epoch = self.log().epoch.load(Ordering::Acquire);
        let mut list = Blocks(blocks);
        let mut out = Encoder::new(&mut list);
        let done =
            records(ctx, &mut out).and_then(|()| out.finish(self.context(), start, epoch, commit));
        match done {
            Ok(done) if done as usize == n => Ok(n),
            _ => {
                sys::pr_err!("checkpoint {} does not fit its records\n", ctx.seq());
                Err(Error::new(Errno::UCLEAN))
            }
        }
    }

    /// Writes the first `n` of the blocks to the log, durably.
    fn write_blocks(&self, blocks: &[Block], n: usize, start: Lsn) -> Result {
        let log = self.log().log;
        let dev = self.buf().device();
        let blocks = blocks.get(..n).ok_or(Error::new(Errno::UCLEAN))?;
        let wrap = blocks_before_wrap(start, log.len) as usize;
        let at = |index: usize| {
            let bytes = (index as u64).saturating_mul(BLOCK_SIZE as u64);
            block_at(log, start.saturating_add(bytes)).get()
        };
        if n <= BIO_BLOCKS && n <= wrap {
            return Ok(dev.write_log(at(0), blocks, true, true)?);
        }
        let (last, body) = blocks.split_last().ok_or(Error::new(Errno::UCLEAN))?;
        let (before, behind) = body.split_at(wrap.min(body.len()));
        dev.write_log(at(0), before, false, false)?;
        dev.write_log(at(before.len()), behind, false, false)?;
        let last = core::slice::from_ref(last);
        Ok(dev.write_log(at(body.len()), last, true, true)?)
    }

    /// What follows when a checkpoint of `n` blocks is durable.
    fn checkpoint_durable(&self, ctx: &mut Ctx, n: usize, start: Lsn, tail: Lsn) {
        let log = self.log();
        log.durable.store(ctx.seq(), Ordering::Release);
        // First of all those who wait for it (rules P2).
        log.turns.wake_all();

        let (mut items, mut freed) = ctx.take_items();
        let (entered, _) = self.ail().committed(&mut items, start);
        let (left, _) = self.ail().cancelled(&mut freed);
        drop(entered);
        drop(left);
        // From here on the AIL has everything that is between the tail and the head.
        let released = if log.discards() {
            self.discard_freed()
        } else {
            self.alloc().release()
        };
        if let Err(error) = released {
            self.note_error(&error, 0, 0);
        }
        log.space.durable(n as u64, tail);
        self.stats().count_checkpoint(n as u64);
    }

    /// The log cannot be written.
    fn log_failed(&self, error: &Error) {
        self.note_error(error, 0, self.log().log.start.get());
        sys::pr_err!("the log cannot be written: {}\n", error);
        self.fail("the log cannot be written");
        self.log().wake_all();
    }

    /// Gives up a context that will never be durable, after a shutdown.
    fn abandon(&self, ctx: &mut Ctx) {
        let Some(down) = self.ail().health().log_down() else {
            return;
        };
        let (mut items, freed) = ctx.take_items();
        items.must_reserve(freed.len());
        for buf in freed {
            items.must_push(item::ItemRef::Buf(buf));
        }
        drop(self.ail().aborted(&mut items, &down));
    }

    /// Unmount after a shutdown: gives up what was committed and is not in the log, so that nothing
    /// is pinned any more. May sleep.
    pub(crate) fn log_abandon(&self) {
        let mut ctx = {
            let _gate = self.gate.write();
            let seq = self.log().current_seq();
            core::mem::replace(&mut *self.log().ctx.lock(), Ctx::new(seq))
        };
        self.abandon(&mut ctx);
    }
}

/// The records of a context: what voids others first, then what others build on.
fn records<L: BlockList>(ctx: &Ctx, out: &mut Encoder<'_, L>) -> core::result::Result<(), NoRoom> {
    for range in ctx.cancels() {
        out.cancel(*range)?;
    }
    for chunk in ctx.chunks() {
        out.inode_init(chunk.block, chunk.first)?;
    }
    for slot in ctx.slots() {
        match &slot.image {
            Image::Buf {
                block,
                kind,
                owner,
                chunks,
                data,
            } => out.buf(*block, *kind, *owner, *chunks, data)?,
            Image::Inode {
                block,
                ino,
                literal,
                slot,
            } => {
                let core = slot
                    .get(CORE_OFFSET..)
                    .and_then(|bytes| bytes.first_chunk::<CORE_SIZE>())
                    .ok_or(NoRoom)?;
                let literal = match literal {
                    Some(len) => {
                        let end = LITERAL_OFFSET.saturating_add(*len);
                        Some(slot.get(LITERAL_OFFSET..end).ok_or(NoRoom)?)
                    }
                    None => None,
                };
                out.inode(*block, *ino, core, literal)?;
            }
            Image::Ordered | Image::Cancelled => {}
        }
    }
    Ok(())
}

const _: () = assert!(OVERHEAD >= 2 * BLOCK_SIZE as u64);
