// SPDX-License-Identifier: GPL-2.0

//! The open context: what the next checkpoint will have.
//!
//! An object has one slot in a context, however often it is committed: the newer image takes the
//! place of the older one, so a hot block is written once a checkpoint and not once a change. What
//! is put in was copied before the spinlock is taken, and memory for slots was allocated then; under
//! the lock there are only exchanges of pointers (rules P4).
//!
//! A slot owns one pin of its object. It goes over to the AIL when the checkpoint is durable.

use super::item::ItemRef;
use crate::engine::buf::BufRef;
use crate::format::{
    log::record::{
        buf_record,
        inode_record,
        CANCEL_RECORD,
        INODE_INIT_RECORD, //
    },
    BlockKind,
    BlockRange,
    DiskBlock,
    Ino,
    Owner, //
};
use crate::sys;

/// Slots of a segment.
const SEGMENT: usize = 128;

/// What a slot has to say about its object.
pub enum Image {
    /// Chunks of a buffer.
    Buf {
        /// Its block.
        block: DiskBlock,
        /// What it holds.
        kind: BlockKind,
        /// Whose it is.
        owner: Owner,
        /// Which chunks.
        chunks: u32,
        /// Their bytes.
        data: sys::Vec<u8>,
    },
    /// A slot of an inode block as it is to be, in the first bytes of its literal area.
    Inode {
        /// The block of the slot.
        block: DiskBlock,
        /// Number of the inode.
        ino: Ino,
        /// Bytes of the literal area; [`None`]: it is not logged.
        literal: Option<usize>,
        /// The whole slot.
        slot: sys::Vec<u8>,
    },
    /// A buffer whose content another record describes.
    Ordered,
    /// A buffer whose block was freed.
    Cancelled,
}

impl Image {
    /// Bytes of the record.
    pub fn bytes(&self) -> u64 {
        match self {
            Image::Buf { chunks, .. } => buf_record(*chunks) as u64,
            Image::Inode { literal, .. } => inode_record(literal.unwrap_or(0)) as u64,
            Image::Ordered | Image::Cancelled => 0,
        }
    }
}

/// An object, and what is logged of it.
pub struct Slot {
    /// The object.
    pub item: ItemRef,
    /// What is logged.
    pub image: Image,
}

/// A new chunk of inodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunk {
    /// The first of its blocks.
    pub block: DiskBlock,
    /// Its first inode.
    pub first: Ino,
}

/// What one transaction adds.
#[derive(Default)]
pub struct Batch {
    /// Objects. Each has a pin that the context takes over.
    pub slots: sys::Vec<Option<Slot>>,
    /// Blocks of metadata that were freed.
    pub cancels: sys::Vec<BlockRange>,
    /// New chunks of inodes.
    pub chunks: sys::Vec<Chunk>,
}

/// Memory for a context to grow into, and what it does not need any more.
#[derive(Default)]
pub struct Room {
    segments: sys::Vec<sys::Vec<Slot>>,
    directory: sys::Vec<sys::Vec<Slot>>,
    cancels: sys::Vec<BlockRange>,
    chunks: sys::Vec<Chunk>,
}

/// How much memory a batch still lacks; zero where there is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    segments: usize,
    directory: usize,
    cancels: usize,
    chunks: usize,
}

/// One context. The open one is under its spinlock; a closed one belongs to the checkpoint.
pub struct Ctx {
    seq: u64,
    /// Those before `fill` are full, those behind it empty. Segments never grow.
    segments: sys::Vec<sys::Vec<Slot>>,
    fill: usize,
    cancels: sys::Vec<BlockRange>,
    chunks: sys::Vec<Chunk>,
    /// Bytes of all records.
    bytes: u64,
}

/// The capacity that `vec` needs for `more` elements; 0 if it has it.
fn short<T>(vec: &sys::Vec<T>, more: usize) -> usize {
    let need = vec.len().saturating_add(more);
    if need > vec.capacity() {
        need.saturating_mul(2).max(8)
    } else {
        0
    }
}

/// Moves `vec` into `room` if that has more. What is not needed is left in `room`.
fn grow<T: Default>(vec: &mut sys::Vec<T>, room: &mut sys::Vec<T>) {
    if room.capacity() <= vec.capacity() {
        return;
    }
    for value in vec.iter_mut() {
        // There is more room than before.
        let _ = room.push_within_capacity(core::mem::take(value));
    }
    core::mem::swap(vec, room);
    // Empty things only: nothing is freed here.
    while room.pop().is_some() {}
}

impl Room {
    /// Memory for what lacks. May sleep, cannot fail.
    pub fn must_have(&mut self, lack: Lack) {
        fn have<T>(vec: &mut sys::Vec<T>, n: usize) {
            if n > vec.capacity() {
                vec.must_reserve(n.saturating_sub(vec.len()));
            }
        }
        have(&mut self.segments, lack.segments);
        while self.segments.len() < lack.segments {
            let mut segment = sys::Vec::new();
            segment.must_reserve(SEGMENT);
            self.segments.must_push(segment);
        }
        have(&mut self.directory, lack.directory);
        have(&mut self.cancels, lack.cancels);
        have(&mut self.chunks, lack.chunks);
    }
}

impl Ctx {
    /// An empty context with the number `seq`.
    pub const fn new(seq: u64) -> Self {
        Self {
            seq,
            segments: sys::Vec::new(),
            fill: 0,
            cancels: sys::Vec::new(),
            chunks: sys::Vec::new(),
            bytes: 0,
        }
    }

    /// Its number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.segments
            .first()
            .is_none_or(|segment| segment.is_empty())
            && self.cancels.is_empty()
            && self.chunks.is_empty()
    }

    /// Slots that are free.
    fn free_slots(&self) -> usize {
        let here = self
            .segments
            .get(self.fill)
            .map_or(0, |segment| segment.len());
        self.segments
            .len()
            .saturating_sub(self.fill)
            .saturating_mul(SEGMENT)
            .saturating_sub(here)
    }

    /// Uses what of `room` is of use, and says what a batch lacks still; [`None`]: it fits.
    pub fn prepare(&mut self, batch: &Batch, room: &mut Room) -> Option<Lack> {
        grow(&mut self.segments, &mut room.directory);
        grow(&mut self.cancels, &mut room.cancels);
        grow(&mut self.chunks, &mut room.chunks);
        let want = batch.slots.len();
        while self.free_slots() < want && self.segments.len() < self.segments.capacity() {
            let Some(segment) = room.segments.pop() else {
                break;
            };
            let _ = self.segments.push_within_capacity(segment);
        }
        let segments = want.saturating_sub(self.free_slots()).div_ceil(SEGMENT);
        let lack = Lack {
            segments,
            directory: short(&self.segments, segments),
            cancels: short(&self.cancels, batch.cancels.len()),
            chunks: short(&self.chunks, batch.chunks.len()),
        };
        (lack != Lack::default()).then_some(lack)
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot> {
        let at = at as usize;
        self.segments.get_mut(at / SEGMENT)?.get_mut(at % SEGMENT)
    }

    /// Puts a batch in that [`Self::prepare`] found to fit. Images that it replaces, and references
    /// that are not needed, are left in the batch, to be dropped outside of the lock.
    pub fn put(&mut self, batch: &mut Batch) {
        for new in batch.slots.iter_mut() {
            self.put_slot(new);
        }
        // All of this fits.
        for range in batch.cancels.iter() {
            self.bytes = self.bytes.saturating_add(CANCEL_RECORD as u64);
            let _ = self.cancels.push_within_capacity(*range);
        }
        for chunk in batch.chunks.iter() {
            self.bytes = self.bytes.saturating_add(INODE_INIT_RECORD as u64);
            let _ = self.chunks.push_within_capacity(*chunk);
        }
    }

    fn put_slot(&mut self, place: &mut Option<Slot>) {
        let seq = self.seq;
        let Some(new) = place else { return };
        let item = new.item.item();
        item.set_commit_seq(seq);
        let bytes = new.image.bytes();
        if let Some(old) = item.slot(seq).and_then(|at| self.slot_mut(at)) {
            debug_assert!(
                !matches!(old.image, Image::Cancelled) || matches!(new.image, Image::Cancelled),
                "a freed block is logged before its checkpoint is durable"
            );
            core::mem::swap(&mut old.image, &mut new.image);
            self.bytes = self
                .bytes
                .saturating_add(bytes)
                .saturating_sub(new.image.bytes());
            // The context has a pin of its own.
            let last = item.unpin();
            debug_assert!(!last);
            return;
        }
        while self
            .segments
            .get(self.fill)
            .is_some_and(|segment| segment.len() >= SEGMENT)
        {
            self.fill += 1;
        }
        let fill = self.fill;
        let Some(segment) = self.segments.get_mut(fill) else {
            debug_assert!(false, "no room in the context");
            return;
        };
        let at = fill.saturating_mul(SEGMENT).saturating_add(segment.len());
        item.set_slot(seq, at as u32);
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(slot) = place.take() {
            // Full segments were passed over.
            let _ = segment.push_within_capacity(slot);
        }
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.segments.iter().flat_map(|segment| segment.iter())
    }

    /// Runs of metadata blocks that were freed.
    pub fn cancels(&self) -> &[BlockRange] {
        &self.cancels
    }

    /// New chunks of inodes.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Takes all objects out: those that go into the AIL, and the freed buffers that leave it. The
    /// pins go with them. Under no lock.
    pub fn take_items(&mut self) -> (sys::Vec<ItemRef>, sys::Vec<BufRef>) {
        let cancelled = |slot: &&Slot| matches!(slot.image, Image::Cancelled);
        let freed = self.slots().filter(cancelled).count();
        let all = self.slots().count();
        let mut items = sys::Vec::new();
        let mut gone = sys::Vec::new();
        items.must_reserve(all.saturating_sub(freed));
        gone.must_reserve(freed);
        while let Some(mut segment) = self.segments.pop() {
            while let Some(slot) = segment.pop() {
                match (slot.image, slot.item) {
                    (Image::Cancelled, ItemRef::Buf(buf)) => gone.must_push(buf),
                    (_, item) => items.must_push(item),
                }
            }
        }
        self.fill = 0;
        (items, gone)
    }
}
