// SPDX-License-Identifier: GPL-2.0

//! Where the checkpoints are.
//!
//! The body is read once, in large pieces, and what the head of each intact block says is kept: 24
//! bytes a block. Everything else is looked up in that table. XFS finds its head by bisection over
//! the cycle numbers in its sectors; here a block can be anything - of this mount, of an older one,
//! torn - and the body is small (bounded, like the time this takes, by what mkfs makes).

use crate::{
    engine::{Error, Result},
    format::{
        header::Context,
        log::{
            block::{LogBlock, LOG_BLOCK_MAGIC, LOG_FIRST, LOG_LAST},
            block_at,
            body_blocks,
            body_index,
            first_lsn,
            max_checkpoint,
            next_block, //
        },
        units::{Lsn, BLOCK_SIZE},
    },
    sys::{self, Block, Device, Errno},
};

/// Blocks read at once: 1 MiB.
pub(super) const WINDOW: usize = 256;

/// What the head of an intact block says. Position 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    lsn: Lsn,
    /// Blocks of its checkpoint before it.
    before: u32,
    epoch: u32,
    flags: u16,
}

/// A complete checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Position of its first block.
    pub start: Lsn,
    /// Number of its blocks.
    pub blocks: u32,
    /// Superblock's `mount_count` of the mount that wrote it.
    pub epoch: u32,
}

impl Found {
    /// Position behind it, where the next one begins.
    pub fn end(&self) -> Lsn {
        let bytes = u64::from(self.blocks).saturating_mul(BLOCK_SIZE as u64);
        self.start.saturating_add(bytes)
    }
}

/// What is in the body of the log.
pub struct LogMap {
    log_blocks: u32,
    seen: sys::Vec<Seen>,
}

/// An array of `n` zeroed blocks.
pub(super) fn window(n: usize) -> Result<sys::Vec<Block>> {
    let mut blocks = sys::Vec::try_with_capacity(n)?;
    for _ in 0..n {
        blocks.try_push(Block::try_zeroed()?)?;
    }
    Ok(blocks)
}

impl LogMap {
    /// Reads the log's body. Blocks before `lower` count as absent, and, unless `epoch` is
    /// [`None`], blocks of other epochs.
    ///
    /// May sleep. Errors: EIO, ENOMEM.
    pub fn scan(dev: &Device, context: &Context, lower: Lsn, epoch: Option<u32>) -> Result<Self> {
        let log = context.geometry.log();
        let body = body_blocks(log.len) as usize;
        let mut seen = sys::Vec::new();
        seen.try_resize(body, Seen::default())?;
        let mut blocks = window(WINDOW.min(body))?;

        let mut index = 0_usize;
        while index < body {
            let n = blocks.len().min(body.saturating_sub(index));
            let piece = blocks.get_mut(..n).unwrap_or(&mut []);
            let from = log.start.saturating_add(1).saturating_add(index as u64);
            dev.read_blocks(from.get(), piece)?;
            for (i, block) in piece.iter().enumerate() {
                let at = index.saturating_add(i);
                if let (Some(to), Some(found)) =
                    (seen.get_mut(at), look(block, context, at, lower, epoch))
                {
                    *to = found;
                }
            }
            index = index.saturating_add(n.max(1));
        }
        Ok(Self {
            log_blocks: log.len,
            seen,
        })
    }

    fn at(&self, lsn: Lsn) -> Option<&Seen> {
        let index = body_index(lsn, self.log_blocks) as usize;
        self.seen.get(index).filter(|seen| seen.lsn == lsn)
    }

    /// The complete checkpoint that begins at `start`, if there is one.
    pub fn checkpoint(&self, start: Lsn) -> Option<Found> {
        let first = self.at(start)?;
        if first.flags & LOG_FIRST == 0 {
            return None;
        }
        let epoch = first.epoch;
        let mut lsn = start;
        for before in 0..max_checkpoint(self.log_blocks) {
            let seen = self.at(lsn)?;
            if seen.epoch != epoch || seen.before != before {
                return None;
            }
            if seen.flags & LOG_LAST != 0 {
                return Some(Found {
                    start,
                    blocks: before.saturating_add(1),
                    epoch,
                });
            }
            lsn = next_block(lsn);
        }
        None
    }

    /// All complete checkpoints, oldest first.
    ///
    /// Errors: ENOMEM.
    pub fn all(&self) -> Result<sys::Vec<Found>> {
        let mut all = sys::Vec::new();
        for seen in self.seen.iter() {
            if seen.flags & LOG_FIRST != 0 && seen.lsn.get() != 0 {
                if let Some(found) = self.checkpoint(seen.lsn) {
                    all.try_push(found)?;
                }
            }
        }
        crate::engine::sort::sort_by_key(&mut all, |found: &Found| (found.epoch, found.start));
        Ok(all)
    }

    /// The complete checkpoint that was written last: of the newest epoch, the one with the highest
    /// position.
    pub fn newest(&self) -> Option<Found> {
        let firsts = self.seen.iter().filter(|seen| seen.flags & LOG_FIRST != 0);
        firsts
            .filter_map(|seen| self.checkpoint(seen.lsn))
            .max_by_key(|found| (found.epoch, found.start))
    }

    /// Position behind everything that any block in the log claims to be, complete or not. Behind
    /// it nothing that is there now can be mistaken for something new.
    pub fn beyond(&self) -> Lsn {
        let last = self.seen.iter().map(|seen| seen.lsn).max();
        last.filter(|lsn| lsn.get() != 0)
            .map_or(first_lsn(self.log_blocks), next_block)
    }

    /// Highest epoch of any block.
    pub fn epoch(&self) -> u32 {
        self.seen.iter().map(|seen| seen.epoch).max().unwrap_or(0)
    }
}

/// What body block `index` says, if it is a block of the log at a position where it can be. The
/// checksum comes last: most of a body is older than what is looked for.
fn look(
    block: &Block,
    context: &Context,
    index: usize,
    lower: Lsn,
    epoch: Option<u32>,
) -> Option<Seen> {
    let log_blocks = context.geometry.log().len;
    let head = &LogBlock::of(block).head;
    let lsn = Lsn(head.lsn.get());

    let here = head.magic.get() == LOG_BLOCK_MAGIC
        && lsn >= lower
        && epoch.is_none_or(|epoch| head.epoch.get() == epoch)
        && lsn >= first_lsn(log_blocks)
        && lsn.get().is_multiple_of(BLOCK_SIZE as u64)
        && body_index(lsn, log_blocks) as usize == index;
    if !here || LogBlock::verify(block, context, lsn).is_err() {
        return None;
    }
    let before = lsn.get().checked_sub(head.start.get())? / BLOCK_SIZE as u64;
    Some(Seen {
        lsn,
        before: u32::try_from(before).ok()?,
        epoch: head.epoch.get(),
        flags: head.flags.get(),
    })
}

/// Reads one checkpoint after the other, and takes them apart.
pub struct Reader<'a> {
    dev: &'a Device,
    context: &'a Context,
    blocks: sys::Vec<Block>,
    /// For the decoder.
    bytes: sys::Vec<u8>,
}

impl<'a> Reader<'a> {
    /// A reader of the log of the file system of `context`. Errors: ENOMEM.
    pub fn new(dev: &'a Device, context: &'a Context) -> Result<Self> {
        let body = body_blocks(context.geometry.log().len) as usize;
        let mut bytes = sys::Vec::new();
        bytes.try_resize(crate::format::log::record::MAX_RECORD, 0)?;
        Ok(Self {
            dev,
            context,
            blocks: window(WINDOW.min(body))?,
            bytes,
        })
    }

    /// Calls `visit` with every record of a checkpoint, the commit record included, and returns the
    /// latter's body.
    ///
    /// May sleep. Errors: EIO; EUCLEAN if a block is not what it was during the scan, or holds a
    /// record that cannot be, which the log says; those of `visit`.
    pub fn walk(
        &mut self,
        found: &Found,
        visit: &mut dyn FnMut(&crate::format::log::record::Record<'_>) -> Result,
    ) -> Result<crate::format::log::record::CommitBody> {
        let log = self.context.geometry.log();
        let mut decoder = crate::format::log::decode::Decoder::new(&mut self.bytes);
        let mut lsn = found.start;
        let mut left = found.blocks;
        while left != 0 {
            let room = crate::format::log::blocks_before_wrap(lsn, log.len).min(left);
            let n = self.blocks.len().min(room.max(1) as usize);
            let piece = self.blocks.get_mut(..n).unwrap_or(&mut []);
            self.dev.read_blocks(block_at(log, lsn).get(), piece)?;
            for block in piece.iter() {
                check_part(block, self.context, lsn, found)?;
                let mut payload = LogBlock::of(block).bytes();
                loop {
                    match decoder.next(&mut payload, self.context) {
                        Ok(None) => break,
                        Ok(Some(record)) => visit(&record)?,
                        Err(defect) => return Err(bad(found, &defect)),
                    }
                }
                lsn = next_block(lsn);
            }
            left = left.saturating_sub(n as u32);
        }
        decoder.finish().map_err(|defect| bad(found, &defect))
    }
}

/// Checks that the block is still the part of the checkpoint that it was.
fn check_part(block: &Block, context: &Context, lsn: Lsn, found: &Found) -> Result {
    let head = &LogBlock::of(block).head;
    LogBlock::verify(block, context, lsn).map_err(|defect| bad(found, &defect))?;
    if head.start.get() != found.start.get() || head.epoch.get() != found.epoch {
        return Err(Error::new(Errno::UCLEAN));
    }
    Ok(())
}

/// A checkpoint that is whole, and is not one.
#[cold]
#[track_caller]
fn bad(found: &Found, defect: &crate::format::Defect) -> Error {
    let error = Error::new(Errno::UCLEAN);
    sys::pr_err!(
        "log: checkpoint at {}: {} (damaged, or of a newer program)\n",
        found.start,
        defect
    );
    error
}
