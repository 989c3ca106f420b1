// SPDX-License-Identifier: GPL-2.0

//! The extent map of a file on disk.
//!
//! A sorted list of extents, inline in the fork or in its extent tree. The same code serves inodes
//! and the hidden files of the allocation groups: where the root lives is the [`Fork`]'s business,
//! how many extents fit inline its `limit` (20 in an inode, 10 in an AG header).
//!
//! * [`lookup`], [`scan`]: read;
//! * [`insert`]: adds an extent over a hole, merging it with its neighbours on disk;
//! * [`set_written`], [`set_unwritten`]: flips a range from one to the other;
//! * [`unmap`]: takes the extent over a range out, all or a part of it;
//! * [`truncate_step`]: takes the end of the file away, a bounded piece at a time;
//! * [`shift_step`], [`split_at`], [`join_at`]: moves extents to other blocks of the file.
//!
//! # Locks
//!
//! The owner's lock (ILOCK, or AG inode lock for a hidden file) is held: shared for reading,
//! exclusively from a change to the commit. Everything may sleep for I/O.
//!
//! # Errors
//!
//! `EUCLEAN` if the map is not what it should be, for instance blocks where the caller's index says
//! that there is a hole; `EBADMSG` and `EIO` from the buffer cache. A function that fails before its
//! first change says so by leaving the transaction clean; the two-step changes ([`insert`] that
//! joins both neighbours, [`unmap`] of the middle) can fail between their steps, which dropping the
//! dirty transaction turns into a shutdown.

mod need;
mod shift;
mod slots;
mod truncate;

#[cfg(all(test, unit_tests))]
mod tests;

pub use self::{
    need::{changes, Changes},
    shift::{any_in, join_at, last, shift_res, shift_step, split_at},
    truncate::{inline_res, step_res, truncate_step, Freed, Step, STEP_RECORDS},
};

use crate::{
    engine::{
        btree::{self, Extents as Records, Progress, Tree},
        error::{Error, Result},
        fork::{Fork, ForkFormat},
        mount::Mount,
        txn::{FreeKind, Txn, TxnRes},
    },
    format::{
        extent::{Extent, ExtentRecord, EXTENT_SIZE},
        header::Owner,
        limits::{MAX_EXTENT_LEN, MAX_FILE_BLOCKS},
        units::{BlockRange, DiskBlock, FileBlock},
        Geometry,
    },
    sys::Errno,
};
use core::ops::{ControlFlow, Range};

/// Blocks that one [`insert`], [`set_written`] or [`unmap`] allocates at most: two insertions.
pub const CHANGE_BLOCKS: u32 = 2 * btree::INSERT_BLOCKS;
/// Buffers that one of these changes at most.
pub const CHANGE_BUFS: u32 = 3 * btree::INSERT_BUFS;
/// Tree blocks that one of these frees at most.
pub const CHANGE_FREES: u32 = 2 * btree::REMOVE_FREES + SMALL_NODES as u32;

/// Whose extent map it is.
#[derive(Clone, Copy, Debug)]
pub struct ExtentCtx {
    /// Owner in the headers of tree blocks.
    pub owner: Owner,
    /// Where the first tree block is wanted.
    pub near: DiskBlock,
    /// What the mapped blocks are: freed metadata must not be replayed over.
    pub kind: FreeKind,
}

/// A range of the file as the disk has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPiece {
    /// First block of the file.
    pub file: FileBlock,
    /// Number of blocks; a hole goes on to the next extent or the end of all files.
    pub len: u64,
    /// First block on the device and whether the extent is unwritten; `None` for a hole.
    pub extent: Option<(DiskBlock, bool)>,
}

impl DiskPiece {
    fn of(extent: &Extent) -> Self {
        Self {
            file: extent.file,
            len: u64::from(extent.len),
            extent: Some((extent.disk, extent.unwritten)),
        }
    }

    /// First block behind the piece.
    pub fn end(&self) -> FileBlock {
        self.file.saturating_add(self.len)
    }

    /// The block on the device of a block of the piece.
    pub fn map(&self, block: FileBlock) -> Option<DiskBlock> {
        let (at, _) = self.extent?;
        if block >= self.end() {
            return None;
        }
        at.checked_add(block.distance(self.file)?)
    }
}

/// The tree of the map.
fn tree(ctx: &ExtentCtx) -> Tree<Records> {
    Tree::new(ctx.owner)
}

/// Damage that is not in one block: the map contradicts its user.
#[track_caller]
fn contradiction(ctx: &ExtentCtx, file: FileBlock, what: &str) -> Error {
    let e = Error::new(Errno::UCLEAN);
    crate::sys::pr_err!(
        "extent map of {:#x}, block {}: {} ({})\n",
        ctx.owner.0,
        file,
        what,
        e
    );
    e
}

/// Whether the fork is an extent map at all.
fn check_format(ctx: &ExtentCtx, fork: &Fork) -> Result<bool> {
    match fork.format {
        ForkFormat::InlineExtents => Ok(false),
        ForkFormat::ExtentTree => Ok(true),
        _ => Err(contradiction(ctx, FileBlock(0), "not an extent map")),
    }
}

/// The last extent that begins at or before `file`.
pub(super) fn last_le(
    m: &Mount,
    ctx: &ExtentCtx,
    fork: &Fork,
    file: FileBlock,
) -> Result<Option<Extent>> {
    if !check_format(ctx, fork)? {
        return Ok(slots::last_le(fork, file));
    }
    match tree(ctx).seek_le(m, &fork.root, file.0)? {
        Some(cursor) => Ok(Some(cursor.read(|record| record)?)),
        None => Ok(None),
    }
}

/// The first extent that begins at or behind `file`.
pub(super) fn first_ge(
    m: &Mount,
    ctx: &ExtentCtx,
    fork: &Fork,
    file: FileBlock,
) -> Result<Option<Extent>> {
    if !check_format(ctx, fork)? {
        return Ok(slots::first_ge(fork, file));
    }
    match tree(ctx).seek_ge(m, &fork.root, file.0)? {
        Some(cursor) => Ok(Some(cursor.read(|record| record)?)),
        None => Ok(None),
    }
}

/// Whether the extent can be one of a file; what a tree leaf says is believed only then.
fn check(m: &Mount, ctx: &ExtentCtx, extent: &Extent) -> Result {
    let end = extent.file.checked_add(u64::from(extent.len));
    if end.is_none_or(|end| end.0 > MAX_FILE_BLOCKS)
        || m.geo().check_range(extent.range(), "extent").is_err()
    {
        return Err(contradiction(ctx, extent.file, "bad extent"));
    }
    Ok(())
}

/// What `file` is: the extent that covers it, or the hole up to the next extent.
pub fn lookup(m: &Mount, ctx: &ExtentCtx, fork: &Fork, file: FileBlock) -> Result<DiskPiece> {
    let before = last_le(m, ctx, fork, file)?;
    if let Some(extent) = &before {
        check(m, ctx, extent)?;
        if extent.contains(file) {
            return Ok(DiskPiece::of(extent));
        }
    }
    let start = before.map_or(FileBlock(0), |e| e.end());
    let end = first_ge(m, ctx, fork, file)?.map_or(FileBlock(MAX_FILE_BLOCKS), |e| e.file);
    if file.0 >= MAX_FILE_BLOCKS || end <= file {
        return Err(contradiction(ctx, file, "beyond the largest file"));
    }
    Ok(DiskPiece {
        file: start,
        len: end.0.saturating_sub(start.0),
        extent: None,
    })
}

/// Calls `f` with each extent that ends behind `from`, in order, until it breaks. `f` may run under
/// the content lock of a tree leaf and must not sleep.
pub fn scan<B>(
    m: &Mount,
    ctx: &ExtentCtx,
    fork: &Fork,
    from: FileBlock,
    mut f: impl FnMut(Extent) -> ControlFlow<B>,
) -> Result<Option<B>> {
    let tree_form = check_format(ctx, fork)?;
    let start = match last_le(m, ctx, fork, from)? {
        Some(extent) if extent.contains(from) => extent.file,
        _ => from,
    };
    if tree_form {
        return tree(ctx).scan(m, &fork.root, start.0, f);
    }
    for extent in slots::iter(fork).filter(|e| e.file >= start) {
        if let ControlFlow::Break(b) = f(extent) {
            return Ok(Some(b));
        }
    }
    Ok(None)
}

/// Whether `right` continues `left` in the file and on disk, so that one record can hold both: not
/// more blocks than a record has, none across the coverage of a bitmap block.
fn joins(geometry: &Geometry, left: &Extent, right: &Extent) -> bool {
    left.end() == right.file
        && left.range().end() == right.disk
        && left.unwritten == right.unwritten
        && left
            .len
            .checked_add(right.len)
            .is_some_and(|len| len <= MAX_EXTENT_LEN)
        && geometry
            .check_range(
                BlockRange::new(left.disk, left.len.saturating_add(right.len)),
                "extent",
            )
            .is_ok()
}

/// Puts a record in. The fork becomes a tree if it is full.
fn put(m: &Mount, txn: &mut Txn<'_>, ctx: &ExtentCtx, fork: &mut Fork, extent: &Extent) -> Result {
    if !check_format(ctx, fork)? {
        if slots::put(fork, extent)? {
            return Ok(());
        }
        to_tree(txn, ctx, fork)?;
    }
    let record = slots::pack(extent)?;
    tree(ctx).insert(m, txn, &mut fork.root, ctx.near, &record)
}

/// Replaces the record of `old`.
fn set(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    old: FileBlock,
    extent: &Extent,
) -> Result {
    if !check_format(ctx, fork)? {
        return slots::set(fork, old, extent);
    }
    let record = slots::pack(extent)?;
    tree(ctx).update(m, txn, &mut fork.root, ctx.near, old.0, &record)
}

/// Takes the record of `file` out.
fn del(m: &Mount, txn: &mut Txn<'_>, ctx: &ExtentCtx, fork: &mut Fork, file: FileBlock) -> Result {
    if !check_format(ctx, fork)? {
        return slots::del(fork, file);
    }
    if !tree(ctx).remove(m, txn, &mut fork.root, file.0)? {
        return Err(contradiction(ctx, file, "a record is missing"));
    }
    to_inline(m, txn, ctx, fork)
}

/// Moves the inline records to the first leaf of a tree.
fn to_tree(txn: &mut Txn<'_>, ctx: &ExtentCtx, fork: &mut Fork) -> Result {
    let mut root = fork.root;
    // Not chunks_exact(): the kernel's objtool does not know its panic for a zero size.
    let records = (0..fork.inline.len() / EXTENT_SIZE).map(|n| {
        let at = n.saturating_mul(EXTENT_SIZE);
        let record = fork.inline.get(at..at.saturating_add(EXTENT_SIZE));
        record.unwrap_or_default()
    });
    tree(ctx).build_leaf(txn, &mut root, ctx.near, records)?;
    fork.root = root;
    fork.inline.clear();
    fork.format = ForkFormat::ExtentTree;
    Ok(())
}

/// Moves the records of a tree that has become small back inline: when they are half of what fits,
/// so that a file at the limit does not go back and forth.
fn to_inline(m: &Mount, txn: &mut Txn<'_>, ctx: &ExtentCtx, fork: &mut Fork) -> Result {
    if fork.root.depth == 0 {
        fork.inline.clear();
        fork.format = ForkFormat::InlineExtents;
        return Ok(());
    }
    // A hidden file does not count its blocks, so there only a single leaf is known to be small.
    let hidden = ctx.owner.as_inode().is_none();
    if fork.root.depth > SMALL_DEPTH || (hidden && fork.root.depth > 1) {
        return Ok(());
    }
    let mut small = Small::default();
    let most = slots::limit(fork) / 2;
    let more = tree(ctx).scan(m, &fork.root, 0, |record| small.push(record, most))?;
    if more.is_some() {
        return Ok(());
    }
    let nodes = fork.root.blocks.saturating_sub(small.blocks());
    if !hidden && nodes > SMALL_NODES {
        return Ok(());
    }
    let mut root = fork.root;
    // So few nodes are one step.
    let progress = tree(ctx).destroy_step(m, txn, &mut root, SMALL_NODES as u32, |_| true)?;
    fork.root = root;
    if progress != Progress::Done {
        return Err(contradiction(
            ctx,
            FileBlock(0),
            "more tree blocks than counted",
        ));
    }
    fork.format = ForkFormat::InlineExtents;
    fork.inline.clear();
    for extent in small.iter() {
        slots::push(fork, &extent)?;
    }
    Ok(())
}

/// Levels and nodes of a tree that may go back inline: what is left of a large one after a
/// truncation is often a chain of single nodes.
const SMALL_DEPTH: u8 = 4;
const SMALL_NODES: u64 = btree::MAX_DEPTH as u64;

/// The records of a tree that goes back inline.
struct Small {
    records: [ExtentRecord; slots::MOST / 2],
    len: usize,
}

impl Default for Small {
    fn default() -> Self {
        Self {
            records: [ExtentRecord::default(); slots::MOST / 2],
            len: 0,
        }
    }
}

impl Small {
    /// Adds a record; breaks if there are more than `most`.
    fn push(&mut self, extent: Extent, most: usize) -> ControlFlow<()> {
        let to = self.records.get_mut(self.len).filter(|_| self.len < most);
        let (Some(to), Some(record)) = (to, extent.pack()) else {
            return ControlFlow::Break(());
        };
        *to = record;
        self.len += 1;
        ControlFlow::Continue(())
    }

    fn iter(&self) -> impl Iterator<Item = Extent> + '_ {
        self.records.iter().take(self.len).map(ExtentRecord::unpack)
    }

    fn blocks(&self) -> u64 {
        self.iter().map(|e| u64::from(e.len)).sum()
    }
}

/// Adds an extent where the file has a hole. It is merged with the extents before and behind it if
/// they continue each other. The extent's blocks stay inside one bitmap block; setting their bits is
/// the caller's business (`Txn::use_claim`).
///
/// Needs [`CHANGE_BLOCKS`], [`CHANGE_BUFS`], [`CHANGE_FREES`] of the reservation.
pub fn insert(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    extent: Extent,
) -> Result {
    check(m, ctx, &extent)?;
    let left = last_le(m, ctx, fork, extent.file)?;
    let right = first_ge(m, ctx, fork, extent.file)?;
    if left.is_some_and(|l| l.end() > extent.file) || right.is_some_and(|r| r.file < extent.end()) {
        return Err(contradiction(ctx, extent.file, "blocks where a hole was"));
    }
    insert_between(m, txn, ctx, fork, left, extent, right)?;
    fork.root.blocks = fork.root.blocks.saturating_add(u64::from(extent.len));
    Ok(())
}

/// Adds a record between its neighbours.
fn insert_between(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    left: Option<Extent>,
    extent: Extent,
    right: Option<Extent>,
) -> Result {
    let mut whole = extent;
    let left = left.filter(|l| joins(m.geo(), l, &whole));
    if let Some(l) = &left {
        whole.file = l.file;
        whole.disk = l.disk;
        whole.len = whole.len.saturating_add(l.len);
    }
    let right = right.filter(|r| joins(m.geo(), &whole, r));
    if let Some(r) = &right {
        whole.len = whole.len.saturating_add(r.len);
    }
    match (left, right) {
        (Some(l), Some(r)) => {
            del(m, txn, ctx, fork, r.file)?;
            set(m, txn, ctx, fork, l.file, &whole)
        }
        (Some(l), None) => set(m, txn, ctx, fork, l.file, &whole),
        (None, Some(r)) => set(m, txn, ctx, fork, r.file, &whole),
        (None, None) => put(m, txn, ctx, fork, &whole),
    }
}

/// The part of `extent` inside `range`, and what is left of it before and behind.
fn cut(extent: &Extent, range: &Range<FileBlock>) -> (Option<Extent>, Extent, Option<Extent>) {
    let part = |from: FileBlock, to: FileBlock| {
        let skip = from.0.saturating_sub(extent.file.0);
        Extent {
            file: from,
            disk: extent.disk.saturating_add(skip),
            len: u32::try_from(to.0.saturating_sub(from.0)).unwrap_or(0),
            unwritten: extent.unwritten,
        }
    };
    let start = range.start.max(extent.file);
    let end = range.end.min(extent.end());
    let before = (extent.file < start).then(|| part(extent.file, start));
    let behind = (end < extent.end()).then(|| part(end, extent.end()));
    (before, part(start, end), behind)
}

/// The record that the beginning of `range` is in.
fn record_of(m: &Mount, ctx: &ExtentCtx, fork: &Fork, range: &Range<FileBlock>) -> Result<Extent> {
    let old = last_le(m, ctx, fork, range.start)?
        .filter(|e| e.contains(range.start) && range.start < range.end)
        .ok_or_else(|| contradiction(ctx, range.start, "a hole where blocks were"))?;
    check(m, ctx, &old)?;
    Ok(old)
}

/// Removes the mapping of the beginning of `range`, as far as one record goes, and returns the
/// blocks it had. The caller frees them, or gives them another place.
///
/// Needs what [`insert`] needs.
pub fn unmap(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    range: Range<FileBlock>,
) -> Result<Extent> {
    let old = record_of(m, ctx, fork, &range)?;
    take_out(m, txn, ctx, fork, &old, &range)
}

/// Takes `range` out of the record `old`.
fn take_out(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    old: &Extent,
    range: &Range<FileBlock>,
) -> Result<Extent> {
    let (before, gone, behind) = cut(old, range);
    match (before, behind) {
        (None, None) => del(m, txn, ctx, fork, old.file)?,
        (Some(left), None) => set(m, txn, ctx, fork, old.file, &left)?,
        (None, Some(right)) => set(m, txn, ctx, fork, old.file, &right)?,
        (Some(left), Some(right)) => {
            // First the step that can need blocks: it fails before it changes anything.
            set(m, txn, ctx, fork, old.file, &left)?;
            put(m, txn, ctx, fork, &right)?;
        }
    }
    fork.root.blocks = fork.root.blocks.saturating_sub(u64::from(gone.len));
    Ok(gone)
}

/// Makes the beginning of `range` written, as far as one record goes. Merges the result. Returns
/// where the rest begins.
///
/// Needs what [`insert`] needs, twice.
pub fn set_written(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    range: Range<FileBlock>,
) -> Result<FileBlock> {
    set_state(m, txn, ctx, fork, range, false)
}

/// Makes the beginning of `range` unwritten, as far as one record goes: it reads as zeroes from the
/// commit on. Merges the result. Returns where the rest begins.
///
/// Needs what [`insert`] needs, twice.
pub fn set_unwritten(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    range: Range<FileBlock>,
) -> Result<FileBlock> {
    set_state(m, txn, ctx, fork, range, true)
}

fn set_state(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    range: Range<FileBlock>,
    unwritten: bool,
) -> Result<FileBlock> {
    let old = record_of(m, ctx, fork, &range)?;
    let (before, mut part, behind) = cut(&old, &range);
    if old.unwritten == unwritten {
        return Ok(part.end());
    }
    part.unwritten = unwritten;
    let left = match part.file.checked_sub(1) {
        Some(file) if before.is_none() => last_le(m, ctx, fork, file)?,
        _ => None,
    };
    let right = match behind {
        None => first_ge(m, ctx, fork, part.end())?,
        Some(_) => None,
    };
    let joins_left = left.is_some_and(|l| joins(m.geo(), &l, &part));
    let joins_right = right.is_some_and(|r| joins(m.geo(), &part, &r));
    if before.is_none() && behind.is_none() && !joins_left && !joins_right {
        // The usual case: a whole record, alone.
        set(m, txn, ctx, fork, old.file, &part)?;
        return Ok(part.end());
    }
    let gone = take_out(m, txn, ctx, fork, &old, &range)?;
    let left = before.or(left);
    let right = behind.or(right);
    insert_between(m, txn, ctx, fork, left, part, right)?;
    fork.root.blocks = fork.root.blocks.saturating_add(u64::from(gone.len));
    Ok(part.end())
}

/// What a transaction needs for `n` changes ([`insert`], [`unmap`]; [`set_written`] counts twice)
/// of the map, all of it from the hidden pool if space is short.
pub const fn change_res(n: u32) -> TxnRes {
    TxnRes::new(n * CHANGE_BLOCKS, n * CHANGE_BUFS)
        .frees(n * CHANGE_FREES)
        .from_pool()
}
