// SPDX-License-Identifier: GPL-2.0

//! Ordered extents: data on its way to blocks that the file does not have yet.
//!
//! One ordered extent is a run of consecutive calls of writeback that is contiguous in the file and
//! on disk; it stays open while the writeback context that made it may extend it. It owns the
//! blocks: they return to free space when the last holder of the ordered extent lets go of it and no
//! completion took them, so two I/Os over the same blocks keep them both (rules M14). An `InFlight`
//! entry of the extent index contains its ordered extent, so there is no moment at which one of the
//! two is visible without the other (seed 001).
//!
//! Completion is by file range and not by ordered extent: an ioend may span several, or a part.

use crate::{
    engine::{alloc::Claim, locks::OrderedBlocks},
    format::units::{BlockRange, DiskBlock, FileBlock},
    sys::{self, must_arc, Arc, Mutex},
};

/// Who waits for the I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderedKind {
    /// Writeback of the page cache: folio writeback ends after the completion.
    #[default]
    Buffered,
    /// A direct write.
    Direct,
}

/// An ordered extent. See the module's text.
pub struct OrderedExtent {
    kind: OrderedKind,
    blocks: Mutex<sys::Vec<Claim>, OrderedBlocks>,
}

impl OrderedExtent {
    /// An ordered extent without blocks. May sleep.
    pub(super) fn new(kind: OrderedKind) -> Arc<Self> {
        must_arc(Self {
            kind,
            blocks: Mutex::new(sys::Vec::new()),
        })
    }

    /// Whether it is writeback of the page cache.
    pub fn is_buffered(&self) -> bool {
        self.kind == OrderedKind::Buffered
    }

    /// Gives it the blocks that the next part of the range is written to. May sleep.
    pub(super) fn add_blocks(&self, claim: Claim) {
        let mut blocks = self.blocks.lock();
        let claim = match blocks.last_mut() {
            Some(last) => match last.join(claim) {
                Ok(()) => return,
                Err(claim) => claim,
            },
            None => claim,
        };
        blocks.must_push(claim);
    }

    /// Takes the claim that holds the first blocks of `range` out, cut to the range; `None` if it
    /// has none. The rest of a claim that is larger stays. May sleep.
    pub(super) fn take_blocks(&self, range: BlockRange) -> Option<Claim> {
        let mut blocks = self.blocks.lock();
        let at = blocks
            .iter()
            .position(|c| c.range().contains(range.start))?;
        let mut claim = blocks.remove(at)?;
        let before = range.start.distance(claim.range().start)?;
        if before > 0 {
            let front = claim.split_front(before as u32);
            blocks.must_insert(at, front);
        }
        if claim.range().len > range.len {
            let taken = claim.split_front(range.len);
            blocks.must_push(claim);
            claim = taken;
        }
        Some(claim)
    }
}

/// The ordered extent that a writeback context has open: the next call extends it if it goes on
/// where the last one ended, in the file and on disk.
#[derive(Default)]
pub struct OpenOrdered {
    kind: OrderedKind,
    io: Option<Arc<OrderedExtent>>,
    next_file: FileBlock,
    next_disk: DiskBlock,
}

impl OpenOrdered {
    /// None yet; those to come are of this kind.
    pub(super) fn new(kind: OrderedKind) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// The ordered extent for `len` blocks from `file` at `disk`: the open one, or a new one that
    /// is open now. May sleep.
    pub(super) fn extend(
        &mut self,
        file: FileBlock,
        disk: DiskBlock,
        len: u64,
    ) -> Arc<OrderedExtent> {
        let open = self
            .io
            .take()
            .filter(|_| self.next_file == file && self.next_disk == disk);
        let io = open.unwrap_or_else(|| OrderedExtent::new(self.kind));
        self.next_file = file.saturating_add(len);
        self.next_disk = disk.saturating_add(len);
        self.io = Some(Arc::clone(&io));
        io
    }

    /// Ends it: what was collected so far is submitted. May sleep.
    pub fn close(&mut self) {
        self.io = None;
    }
}
