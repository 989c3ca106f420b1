// SPDX-License-Identifier: GPL-2.0

//! Where the checkpoints are.
//!
//! The body is read in pieces, each once, and what the head of each intact block says is kept: 24
//! bytes a block. Everything else is looked up in that table. A mount reads what
//! [`super::search`] asks for; fsck, which should see whatever is there, reads all of it.

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
        units::{BlockRange, Lsn, BLOCK_SIZE},
    },
    sys::{self, Block, Device, Errno},
};

/// Blocks read at once: 1 MiB.
pub(super) const WINDOW: usize = 256;

/// Pieces of a body, each of which is read at once: but no more than [`WINDOW`] blocks.
const PIECES: usize = 64;

/// What the head of an intact block says. Position 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) lsn: Lsn,
    /// Blocks of its checkpoint before it.
    before: u32,
    epoch: u32,
    flags: u16,
}

impl Seen {
    /// Position of the first block of its checkpoint.
    pub(super) fn start(&self) -> Lsn {
        let before = u64::from(self.before).saturating_mul(BLOCK_SIZE as u64);
        Lsn(self.lsn.get().saturating_sub(before))
    }

    /// Blocks of its checkpoint up to here, this one included.
    pub(super) fn count(&self) -> u32 {
        self.before.saturating_add(1)
    }
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

/// What is in the body of the log, as far as it was read.
pub struct LogMap {
    log_blocks: u32,
    seen: sys::Vec<Seen>,
}

/// Reads the body of a log.
pub(super) struct Scan<'a> {
    dev: &'a Device,
    context: &'a Context,
    /// Blocks before this count as absent.
    lower: Lsn,
    /// Blocks of other epochs do, too.
    epoch: Option<u32>,
    /// Room for a piece.
    blocks: sys::Vec<Block>,
    /// Pieces that were read.
    read: sys::Vec<bool>,
    map: LogMap,
}

/// An array of `n` zeroed blocks.
pub(super) fn window(n: usize) -> Result<sys::Vec<Block>> {
    let mut blocks = sys::Vec::try_with_capacity(n)?;
    for _ in 0..n {
        blocks.try_push(Block::try_zeroed()?)?;
    }
    Ok(blocks)
}

impl<'a> Scan<'a> {
    /// Nothing is read yet. Errors: ENOMEM.
    pub(super) fn new(
        dev: &'a Device,
        context: &'a Context,
        lower: Lsn,
        epoch: Option<u32>,
    ) -> Result<Self> {
        let log_blocks = context.geometry.log().len;
        let body = body_blocks(log_blocks) as usize;
        let piece = (body / PIECES).clamp(1, WINDOW);
        let mut seen = sys::Vec::new();
        seen.try_resize(body, Seen::default())?;
        let mut read = sys::Vec::new();
        read.try_resize(body.div_ceil(piece), false)?;
        Ok(Self {
            dev,
            context,
            lower,
            epoch,
            blocks: window(piece)?,
            read,
            map: LogMap { log_blocks, seen },
        })
    }

    /// What is known.
    pub(super) fn map(&self) -> &LogMap {
        &self.map
    }

    /// Takes checkpoints of this log apart. Errors: ENOMEM.
    pub(super) fn reader(&self) -> Result<Reader<'a>> {
        Reader::new(self.dev, self.context)
    }

    /// What is known, at the end.
    pub(super) fn into_map(self) -> LogMap {
        self.map
    }

    /// Blocks of a piece.
    pub(super) fn piece(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Blocks of the body.
    pub(super) fn body(&self) -> u32 {
        body_blocks(self.map.log_blocks)
    }

    /// Below it there is nothing.
    pub(super) fn lower(&self) -> Lsn {
        self.lower
    }

    fn log(&self) -> BlockRange {
        self.context.geometry.log()
    }

    /// What is in the place of position `lsn`, of this lap or another, read alone.
    ///
    /// May sleep. Errors: EIO.
    pub(super) fn probe(&mut self, lsn: Lsn) -> Result<Seen> {
        let index = body_index(lsn, self.map.log_blocks) as usize;
        let piece = index.checked_div(self.blocks.len()).unwrap_or(0);
        if self.read.get(piece) == Some(&false) {
            let at = block_at(self.log(), lsn);
            if let Some(block) = self.blocks.get_mut(0) {
                self.dev.read_block(at.get(), block)?;
            }
            self.note(index, 1);
        }
        Ok(self.map.in_place_of(lsn))
    }

    /// Reads the pieces in which `blocks` blocks from `lsn` on are, unless they were.
    ///
    /// May sleep. Errors: EIO.
    pub(super) fn range(&mut self, lsn: Lsn, blocks: u32) -> Result {
        let body = self.body() as usize;
        let size = self.blocks.len();
        let mut index = body_index(lsn, self.map.log_blocks) as usize;
        let mut left = body.min(blocks as usize);
        while left != 0 && index < body {
            let piece = index.checked_div(size).unwrap_or(0);
            self.read_piece(piece)?;
            let end = piece.saturating_add(1).saturating_mul(size).min(body);
            left = left.saturating_sub(end.saturating_sub(index).max(1));
            index = if end == body { 0 } else { end };
        }
        Ok(())
    }

    /// Reads what was not read.
    ///
    /// May sleep. Errors: EIO.
    pub(super) fn rest(&mut self) -> Result {
        (0..self.read.len()).try_for_each(|piece| self.read_piece(piece))
    }

    fn read_piece(&mut self, piece: usize) -> Result {
        if self.read.get(piece) != Some(&false) {
            return Ok(());
        }
        let index = piece.saturating_mul(self.blocks.len());
        let left = (self.body() as usize).saturating_sub(index);
        let n = self.blocks.len().min(left);
        let from = self.log().start.saturating_add(1);
        let from = from.saturating_add(index as u64);
        let blocks = self.blocks.get_mut(..n).unwrap_or(&mut []);
        self.dev.read_blocks(from.get(), blocks)?;
        self.note(index, n);
        if let Some(read) = self.read.get_mut(piece) {
            *read = true;
        }
        Ok(())
    }

    /// Keeps what the first `n` blocks in memory say, which are body blocks from `index` on.
    fn note(&mut self, index: usize, n: usize) {
        for (i, block) in self.blocks.iter().take(n).enumerate() {
            let at = index.saturating_add(i);
            let found = look(block, self.context, at, self.lower, self.epoch);
            if let (Some(to), Some(found)) = (self.map.seen.get_mut(at), found) {
                *to = found;
            }
        }
    }
}

impl LogMap {
    /// Reads the log's body. Blocks before `lower` count as absent, and, unless `epoch` is
    /// [`None`], blocks of other epochs.
    ///
    /// May sleep. Errors: EIO, ENOMEM.
    pub fn scan(dev: &Device, context: &Context, lower: Lsn, epoch: Option<u32>) -> Result<Self> {
        let mut scan = Scan::new(dev, context, lower, epoch)?;
        scan.rest()?;
        Ok(scan.into_map())
    }

    /// What is in the place of position `lsn`, of this lap or another.
    pub(super) fn in_place_of(&self, lsn: Lsn) -> Seen {
        let index = body_index(lsn, self.log_blocks) as usize;
        self.seen.get(index).copied().unwrap_or_default()
    }

    /// Whether no block was found.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.iter().all(|seen| seen.lsn.get() == 0)
    }

    /// The block at position `lsn`.
    pub(super) fn at(&self, lsn: Lsn) -> Option<&Seen> {
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
