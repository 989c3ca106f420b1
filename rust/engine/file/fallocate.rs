// SPDX-License-Identifier: GPL-2.0

//! fallocate(2).
//!
//! Each mode works in transactions that are bounded and independent: after each one the file is
//! consistent, the ILOCK is free, and a crash leaves what was done so far. What makes the whole an
//! operation of its own is i_rwsem, and for all modes but plain allocation the invalidate lock, which
//! the caller holds from before the page cache is cleaned to the end.
//!
//! * [`falloc_plan`]: what has to happen in the page cache first;
//! * [`fallocate`]: the change of the map:
//!     * `allocate`: unwritten extents for holes, blocks for delayed data;
//!     * `clear`: punch, and zeroing by making extents unwritten in place;
//!     * `shift`: collapse and insert.
//!
//! A crash in the middle of a collapse or an insert leaves a file in which one part of the extents
//! has moved and the other has not, with a hole of the right length between them: nothing is lost and
//! nothing is twice, as in XFS and ext4.
//!
//! Nothing is shared between files, so unsharing a range has nothing to unshare; what it promises,
//! that writes to the range will find space, is what allocation does, and it is the same call here
//! (as in XFS).

mod allocate;
mod clear;
mod shift;

#[cfg(all(test, unit_tests))]
mod tests;

use super::{block_end, byte, BLOCK};
use crate::{
    engine::{
        error::{Error, Result},
        extents::{Clear, Extents},
        inode::{Inode, InodeRef},
        mount::Mount,
    },
    format::{
        limits::{MAX_FILE_BLOCKS, MAX_FILE_SIZE},
        units::FileBlock,
    },
    sys::{
        witness::{InvalidateExcl, IolockExcl},
        Arc, Errno, Time,
    },
};
use core::ops::Range;

/// What is to be done with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallocMode {
    /// `FALLOC_FL_ALLOCATE_RANGE`, `FALLOC_FL_UNSHARE_RANGE`
    Allocate,
    /// `FALLOC_FL_ZERO_RANGE`
    Zero,
    /// `FALLOC_FL_PUNCH_HOLE`
    Punch,
    /// `FALLOC_FL_COLLAPSE_RANGE`
    Collapse,
    /// `FALLOC_FL_INSERT_RANGE`
    Insert,
}

/// One call of fallocate(2). Positions are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Falloc {
    /// What to do.
    pub mode: FallocMode,
    /// First byte.
    pub pos: u64,
    /// How many, at least one.
    pub len: u64,
    /// `FALLOC_FL_KEEP_SIZE`
    pub keep_size: bool,
}

/// What has to happen in the page cache before [`fallocate`], in this order, and to the size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FallocPlan {
    /// Write back and wait for bytes from .. to.
    pub flush: Option<(u64, u64)>,
    /// Zero these bytes (position, length), what the range has of its first and its last block.
    pub zero: [Option<(u64, u64)>; 2],
    /// Remove the whole pages of bytes from .. to from the page cache and wait for their writeback.
    pub forget: Option<(u64, u64)>,
    /// The size afterwards, if it is another one. Of a collapse or an insert [`fallocate`] sets it in
    /// the engine; else the file is to be truncated up to it when [`fallocate`] has succeeded.
    pub new_size: Option<u64>,
    /// Whether the invalidate lock is needed, from before the page cache is touched.
    pub exclusive: bool,
}

impl Falloc {
    /// First byte behind the range.
    fn end(&self) -> u64 {
        self.pos.saturating_add(self.len)
    }

    /// The blocks that are inside as a whole.
    fn inside(&self) -> Range<FileBlock> {
        let start = block_end(self.pos);
        start..FileBlock::of_byte(self.end()).max(start)
    }

    /// The blocks that have a part inside.
    fn around(&self) -> Range<FileBlock> {
        FileBlock::of_byte(self.pos)..block_end(self.end())
    }

    fn is_aligned(&self) -> bool {
        self.pos.is_multiple_of(BLOCK) && self.len.is_multiple_of(BLOCK)
    }
}

/// The parts of the first and the last block of a range that it does not have as a whole, up to the
/// end of the block that the file ends in: zeroed as far as there is data.
fn edges(op: &Falloc, size: u64) -> [Option<(u64, u64)>; 2] {
    let end = op.end();
    let in_file = |from: u64, to: u64| {
        // Behind the end of the file stores by mmap may have left something in its last block.
        let to = if to >= size {
            to.max(size)
                .next_multiple_of(BLOCK)
                .min(block_after(from))
                .min(MAX_FILE_SIZE)
        } else {
            to
        };
        (from < size && from < to).then(|| (from, to.saturating_sub(from)))
    };
    let inside = op.inside();
    if FileBlock::of_byte(op.pos) == FileBlock::of_byte(end) {
        return [in_file(op.pos, end), None];
    }
    let head = (!op.pos.is_multiple_of(BLOCK))
        .then(|| in_file(op.pos, byte(inside.start)))
        .flatten();
    let tail = (!end.is_multiple_of(BLOCK))
        .then(|| in_file(byte(inside.end), end))
        .flatten();
    [head, tail]
}

/// End of the block that `pos` is in.
fn block_after(pos: u64) -> u64 {
    byte(FileBlock::of_byte(pos).saturating_add(1))
}

/// What a call needs first. i_rwsem is held exclusively, and direct I/O has ended. Does not sleep.
///
/// Errors: EFBIG if the file would become too large; EINVAL for a collapse or an insert that is not
/// made of whole blocks inside the file; EROFS, EIO.
pub fn falloc_plan(m: &Arc<Mount>, inode: &Inode, op: &Falloc) -> Result<FallocPlan> {
    m.check_writable()?;
    let end = op.pos.checked_add(op.len).filter(|e| *e <= MAX_FILE_SIZE);
    let (Some(end), true) = (end, op.len > 0) else {
        return Err(Error::new(if op.len > 0 {
            Errno::FBIG
        } else {
            Errno::INVAL
        }));
    };
    let size = inode.file.i_size();
    let grown = (!op.keep_size && end > size).then_some(end);
    let inside = op.inside();
    let forget = (inside.start < inside.end).then(|| (byte(inside.start), byte(inside.end)));
    match op.mode {
        FallocMode::Allocate => Ok(FallocPlan {
            new_size: grown,
            ..FallocPlan::default()
        }),
        // What is dirty is written first (as XFS does). An fsync would find neither the data in the
        // page cache nor the change of the map, and say that all is well; and a large folio that
        // cannot be split stays, from which writeback, which takes none of our locks, would put in
        // flight what is to be taken away.
        FallocMode::Punch | FallocMode::Zero => Ok(FallocPlan {
            flush: forget,
            zero: edges(op, size),
            forget,
            new_size: grown.filter(|_| op.mode == FallocMode::Zero),
            exclusive: true,
        }),
        FallocMode::Collapse | FallocMode::Insert => shift_plan(inode, op, size),
    }
}

/// Everything from the range on is about to move: it is written and leaves the page cache, and so
/// does what keeps the size on disk back.
fn shift_plan(inode: &Inode, op: &Falloc, size: u64) -> Result<FallocPlan> {
    if !op.is_aligned() {
        return Err(Error::new(Errno::INVAL));
    }
    let new_size = if op.mode == FallocMode::Collapse {
        // What reaches to the end of the file is a truncation.
        if op.end() >= size {
            return Err(Error::new(Errno::INVAL));
        }
        size.saturating_sub(op.len)
    } else {
        let new_size = size.checked_add(op.len).filter(|s| *s <= MAX_FILE_SIZE);
        let new_size = new_size.ok_or_else(|| Error::new(Errno::FBIG))?;
        if op.pos >= size {
            return Err(Error::new(Errno::INVAL));
        }
        new_size
    };
    let from = op.pos.min(inode.file.disk_size()) / BLOCK * BLOCK;
    Ok(FallocPlan {
        flush: Some((from, MAX_FILE_SIZE)),
        forget: Some((op.pos, MAX_FILE_SIZE)),
        new_size: Some(new_size),
        exclusive: true,
        ..FallocPlan::default()
    })
}

/// Changes the map. The plan was carried out; i_rwsem is held exclusively, and if the plan says so
/// the invalidate lock, both from before it. The times become `now`.
///
/// Several transactions; what was done before an error stays, and the call can be repeated, but for a
/// collapse or an insert that fails in the middle. May sleep. Errors: ENOSPC ([`make_space`] and
/// another call may help; a collapse or an insert does not fail with it once extents have moved);
/// EBUSY if something is in flight, which the plan excludes; EIO, EUCLEAN, EBADMSG, ENOMEM.
///
/// [`make_space`]: super::make_space
pub fn fallocate(
    m: &Arc<Mount>,
    inode: &InodeRef,
    iolock: &IolockExcl<'_>,
    invalidate: Option<&InvalidateExcl<'_>>,
    op: &Falloc,
    now: Time,
) -> Result {
    let exclusive = invalidate.is_some_and(|i| i.ino() == inode.ino.0);
    if iolock.ino() != inode.ino.0 || (op.mode != FallocMode::Allocate && !exclusive) {
        return Err(Error::new(Errno::INVAL));
    }
    let change = Change {
        m,
        inode,
        now: Some(now),
    };
    match op.mode {
        FallocMode::Allocate => change.allocate(op.around()),
        FallocMode::Punch => change.clear(op.inside(), Clear::Punch),
        FallocMode::Zero => {
            change.clear(op.inside(), Clear::Unwritten)?;
            change.allocate(op.around())
        }
        FallocMode::Collapse => change.collapse(op.inside()),
        FallocMode::Insert => change.insert(op.inside()),
    }
}

/// Whether a write up to byte `end` has to wait for [`prepare_to_grow`]. i_rwsem is held exclusively.
/// Does not sleep.
pub fn must_prepare_to_grow(inode: &Inode, end: u64) -> bool {
    end > inode.file.i_size() && !inode.file.tail_is_known()
}

/// The file is about to become longer. A crash may have left data behind the size on disk, which
/// follows data in order: what was written there, and not acknowledged, must not come back as what has
/// to read as zeroes, nor as what a write that is still in memory only has replaced (the blocks are
/// written, so the size on disk would not wait for it). Makes it unwritten; once for each time the
/// inode is read from disk.
///
/// i_rwsem and the invalidate lock are held exclusively. Transactions only after such a crash. Errors
/// as [`fallocate`].
pub fn prepare_to_grow(
    m: &Arc<Mount>,
    inode: &InodeRef,
    iolock: &IolockExcl<'_>,
    invalidate: &InvalidateExcl<'_>,
) -> Result {
    if iolock.ino() != inode.ino.0 || invalidate.ino() != inode.ino.0 {
        return Err(Error::new(Errno::INVAL));
    }
    if inode.file.tail_is_known() {
        return Ok(());
    }
    let change = Change {
        m,
        inode,
        now: None,
    };
    let behind = block_end(inode.file.i_size())..FileBlock(MAX_FILE_BLOCKS);
    change.clear(behind, Clear::Unwritten)?;
    inode.file.set_tail_known();
    Ok(())
}

/// One call at work.
struct Change<'a> {
    m: &'a Arc<Mount>,
    inode: &'a InodeRef,
    /// What the times become, if they change.
    now: Option<Time>,
}

impl Change<'_> {
    /// The inode as it is after a change: for each transaction.
    fn touch(&self, extents: &mut Extents<'_>) {
        let core = &mut extents.inner().core;
        match self.now {
            Some(now) => core.touch(now, true),
            None => core.bump(),
        }
    }
}
