// SPDX-License-Identifier: GPL-2.0

//! Blocks that replay changes.
//!
//! As many as fit into a bounded cache are kept in memory; when it is full all of them are written
//! in ascending order, neighbours as one request. A block that comes again is read again: it then
//! carries the position up to which it was replayed.

use crate::{
    engine::{sort::sort_by_key, Error, Result},
    format::{
        header::{check_header, seal, BlockHeader, BlockKind, Context, Owner},
        inode::InodeSlot,
        log::record::{chunk_ino, LOG_CHUNK},
        units::{BlockRange, DiskBlock, Ino, Lsn, INODES_PER_BLOCK},
        verify::verify_block,
    },
    sys::{self, Block, Device, Errno},
};

/// Blocks in memory at most: 16 MiB.
pub(super) const CACHE: usize = 4096;
/// Blocks written at once at most.
const RUN: usize = 256;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Metadata with a header.
    Meta(BlockKind, Owner),
    /// Eight inode slots, the first of them this inode's.
    Slots(Ino),
}

/// A block that replay changes.
pub(super) struct Target {
    at: DiskBlock,
    what: What,
    data: Block,
    /// Metadata: the position it is known to have; [`None`]: the block cannot be compared, every
    /// record is applied.
    lsn: Option<Lsn>,
    /// Slots: those that were changed.
    slots: u8,
    changed: bool,
}

/// Where replay writes, and what it knows.
pub(super) struct Site<'a> {
    pub(super) dev: &'a Device,
    pub(super) context: &'a Context,
    /// Position behind the log: no block can have one that is not before it.
    pub(super) head: Lsn,
}

impl Site<'_> {
    /// Whether a block or slot can be at this position: one from the future was not written by
    /// this file system as it is now.
    fn credible(&self, lsn: Lsn) -> bool {
        lsn < self.head
    }
}

impl Target {
    /// The block at `at`: what was read of it already, else from the device, or unread if every
    /// byte of it will be replaced.
    fn load(
        site: &Site<'_>,
        at: DiskBlock,
        what: What,
        whole: bool,
        read: Option<Block>,
    ) -> Result<Self> {
        let known = read.is_some();
        let data = match read {
            Some(data) => data,
            None => Block::try_zeroed()?,
        };
        let mut target = Self {
            at,
            what,
            data,
            lsn: None,
            slots: 0,
            changed: false,
        };
        if whole {
            return Ok(target);
        }
        if !known {
            site.dev.read_block(at.get(), &mut target.data)?;
        }
        if let What::Meta(kind, owner) = what {
            let lsn = BlockHeader::of(&target.data).lsn();
            let good = check_header(&target.data, kind, site.context, at, Some(owner)).is_ok()
                || sys::mutant!(ReplayTorn);
            target.lsn = (good && site.credible(lsn)).then_some(lsn);
        }
        Ok(target)
    }

    /// The block.
    pub(super) fn at(&self) -> DiskBlock {
        self.at
    }

    /// Fails if the log says that the block is two different things.
    pub(super) fn check(&self, what: What) -> Result {
        if self.what == what {
            return Ok(());
        }
        Err(Error::corrupt(self.at.get(), "log: two kinds of block"))
    }

    /// Chunks of the block, as of `lsn`.
    pub(super) fn chunks(&mut self, lsn: Lsn, chunks: u32, data: &[u8]) {
        if self.lsn.is_some_and(|known| known >= lsn) {
            return;
        }
        let mut from = data.chunks_exact(LOG_CHUNK);
        for (n, to) in self.data.chunks_exact_mut(LOG_CHUNK).enumerate() {
            if chunks
                .checked_shr(n as u32)
                .is_some_and(|rest| rest & 1 != 0)
            {
                if let Some(from) = from.next() {
                    to.copy_from_slice(from);
                }
            }
        }
        self.lsn = Some(lsn);
        self.changed = true;
    }

    /// Core and literal area of an inode, as of `lsn`. A slot is one sector and cannot tear, so
    /// one that is intact is compared, and one that is not is made anew.
    pub(super) fn inode(
        &mut self,
        site: &Site<'_>,
        lsn: Lsn,
        ino: Ino,
        core: Option<&[u8]>,
        literal: Option<&[u8]>,
    ) -> Result {
        let lost = Error::new(Errno::UCLEAN);
        let slot = InodeSlot::of_mut(&mut self.data, ino).ok_or(lost)?;
        let intact = slot.verify_identity(site.context, ino).is_ok();
        let known = Lsn(slot.lsn.get());
        if intact && known >= lsn && site.credible(known) {
            return Ok(());
        }
        if !intact {
            slot.reset(site.context, ino, 0);
        }
        slot.replay(core, literal).ok_or(lost)?;
        slot.seal(site.context, lsn);
        self.slots |= 1_u8
            .checked_shl(ino.index() % INODES_PER_BLOCK)
            .unwrap_or(0);
        self.changed = true;
        Ok(())
    }

    /// Block `n` of a new chunk, whose first inode is `first`: slots that are older become free.
    /// They get a position just below `lsn`, so that what the same checkpoint says about an inode
    /// in the chunk comes after it.
    pub(super) fn init(&mut self, site: &Site<'_>, lsn: Lsn, first: Ino, n: u32) -> Result {
        let lsn = Lsn(lsn.get().saturating_sub(1));
        for k in 0..INODES_PER_BLOCK {
            let ino = chunk_ino(first, n, k);
            let slot = InodeSlot::of_mut(&mut self.data, ino).ok_or(Error::new(Errno::UCLEAN))?;
            let known = Lsn(slot.lsn.get());
            let intact = slot.verify_identity(site.context, ino).is_ok();
            if intact && known >= lsn && site.credible(known) {
                continue;
            }
            slot.reset(site.context, ino, 0);
            slot.seal(site.context, lsn);
            self.changed = true;
        }
        Ok(())
    }

    /// Seals the block and checks it, as far as it was changed. A block that will be changed again
    /// may fail.
    fn finish(&mut self, site: &Site<'_>) -> core::result::Result<(), crate::format::Defect> {
        match self.what {
            What::Meta(kind, owner) => {
                seal(
                    &mut self.data,
                    kind,
                    site.context,
                    self.lsn.unwrap_or_default(),
                );
                verify_block(&self.data, kind, site.context, self.at, Some(owner))
            }
            What::Slots(first) => check_slots(&self.data, site.context, first, self.slots),
        }
    }
}

/// Checks the slots of a block that `slots` names.
fn check_slots(
    block: &Block,
    context: &Context,
    first: Ino,
    slots: u8,
) -> core::result::Result<(), crate::format::Defect> {
    for k in 0..INODES_PER_BLOCK {
        let ino = chunk_ino(first, 0, k);
        if slots.checked_shr(k).is_some_and(|rest| rest & 1 != 0) {
            if let Some(slot) = InodeSlot::of(block, ino) {
                slot.verify(context, ino)?;
            }
        }
    }
    Ok(())
}

/// A block that was written while it was not what it has to become.
struct Doubt {
    at: DiskBlock,
    what: What,
    slots: u8,
}

/// The blocks in memory.
pub(super) struct Targets {
    list: sys::Vec<Target>,
    /// As many at most: less than the index has places.
    most: usize,
    /// Open addressing: place in `list` plus one; 0: empty.
    index: sys::Vec<u32>,
    doubts: sys::Vec<Doubt>,
    /// Neighbours that were read by one request and not asked for yet, as they are on the device.
    ahead: Ahead,
    /// Blocks written so far.
    pub(super) written: u64,
}

/// Blocks read by one request.
#[derive(Default)]
struct Ahead {
    start: DiskBlock,
    blocks: sys::Vec<Option<Block>>,
}

impl Ahead {
    /// The block at `at`, if it is here: once.
    fn take(&mut self, at: DiskBlock) -> Option<Block> {
        let n = at.get().checked_sub(self.start.get())?;
        self.blocks.get_mut(usize::try_from(n).ok()?)?.take()
    }
}

impl Targets {
    /// Room for `n` blocks. Errors: ENOMEM.
    pub(super) fn new(n: usize) -> Result<Self> {
        let n = n.max(1);
        let mut index = sys::Vec::new();
        index.try_resize(n.saturating_mul(2).next_power_of_two(), 0)?;
        Ok(Self {
            list: sys::Vec::try_with_capacity(n)?,
            most: n,
            index,
            doubts: sys::Vec::new(),
            ahead: Ahead::default(),
            written: 0,
        })
    }

    /// Where in the index `at` is, or where it would be put.
    fn probe(&self, at: DiskBlock) -> usize {
        let mask = self.index.len().saturating_sub(1);
        let mut place = (at.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while let Some(entry) = self.index.get(place).copied() {
            let known = (entry as usize).checked_sub(1);
            match known.map(|n| self.list.get(n).map(Target::at)) {
                None => break,
                Some(found) if found == Some(at) => break,
                Some(_) => place = place.wrapping_add(1) & mask,
            }
        }
        place
    }

    /// The block at `at`. `whole`: every byte of it will be replaced.
    ///
    /// May sleep. Errors: EUCLEAN if it is already known as something else; EIO; ENOMEM.
    pub(super) fn get(
        &mut self,
        site: &Site<'_>,
        at: DiskBlock,
        what: What,
        whole: bool,
    ) -> Result<&mut Target> {
        let mut place = self.probe(at);
        if self.index.get(place).copied() == Some(0) {
            if self.list.len() >= self.most {
                self.flush(site)?;
                place = self.probe(at);
            }
            let read = self.ahead.take(at);
            let target = Target::load(site, at, what, whole, read)?;
            if self.list.push_within_capacity(target).is_err() {
                return Err(Error::new(Errno::NOMEM));
            }
            if let Some(entry) = self.index.get_mut(place) {
                *entry = self.list.len() as u32;
            }
        }
        let n = self.index.get(place).copied().unwrap_or(0) as usize;
        let target = n.checked_sub(1).and_then(|n| self.list.get_mut(n));
        let target = target.ok_or(Error::new(Errno::UCLEAN))?;
        target.check(what)?;
        Ok(target)
    }

    /// Reads the blocks of `range`, which are about to be asked for, by one request. What cannot be
    /// read will be read by itself. May sleep. Errors: EIO, ENOMEM.
    pub(super) fn read_ahead(&mut self, site: &Site<'_>, range: BlockRange) -> Result {
        let here = |n: u32| {
            let place = self.probe(range.start.saturating_add(u64::from(n)));
            self.index.get(place).copied() != Some(0)
        };
        // In memory they may be newer.
        if (0..range.len).any(here) {
            return Ok(());
        }
        let len = range.len as usize;
        // What is written makes what was read ahead old: now or not at all.
        if self.list.len().saturating_add(len) > self.most {
            self.flush(site)?;
        }
        let mut blocks = sys::Vec::try_with_capacity(len)?;
        for _ in 0..len {
            blocks.try_push(Block::try_zeroed()?)?;
        }
        self.ahead.blocks.clear();
        if site.dev.read_blocks(range.start.get(), &mut blocks).is_ok() {
            self.ahead.start = range.start;
            for block in blocks {
                self.ahead.blocks.try_push(Some(block))?;
            }
        }
        Ok(())
    }

    /// Writes all changed blocks, and forgets all. May sleep. Errors: EIO, ENOMEM.
    pub(super) fn flush(&mut self, site: &Site<'_>) -> Result {
        self.ahead.blocks.clear();
        sort_by_key(&mut self.list, Target::at);
        let mut run = Run::new()?;
        for target in self.list.iter_mut() {
            if !target.changed {
                continue;
            }
            if target.finish(site).is_err() {
                self.doubts.try_push(Doubt {
                    at: target.at,
                    what: target.what,
                    slots: target.slots,
                })?;
            }
            run.add(site.dev, target.at, &mut target.data)?;
            self.written = self.written.saturating_add(1);
        }
        run.write(site.dev)?;
        self.list.clear();
        self.index.fill(0);
        Ok(())
    }

    /// After the last record: writes what is left, and checks again what was wrong when it was
    /// written before. Errors: EUCLEAN if a block is not what it should be; EIO; ENOMEM.
    pub(super) fn finish(&mut self, site: &Site<'_>) -> Result {
        self.flush(site)?;
        let mut block = Block::try_zeroed()?;
        let mut verdict = Ok(());
        for doubt in self.doubts.iter() {
            site.dev.read_block(doubt.at.get(), &mut block)?;
            let checked = match doubt.what {
                What::Meta(kind, owner) => {
                    verify_block(&block, kind, site.context, doubt.at, Some(owner))
                }
                What::Slots(first) => check_slots(&block, site.context, first, doubt.slots),
            };
            if let Err(defect) = checked {
                sys::pr_err!("log: block {} after replay: {}\n", doubt.at, defect);
                verdict = Err(Error::new(Errno::UCLEAN));
            }
        }
        verdict
    }
}

/// Neighbours, to be written as one request.
struct Run {
    start: DiskBlock,
    blocks: sys::Vec<Block>,
    /// A block for each one that is handed over.
    empty: sys::Vec<Block>,
}

impl Run {
    fn new() -> Result<Self> {
        Ok(Self {
            start: DiskBlock(0),
            blocks: sys::Vec::try_with_capacity(RUN)?,
            empty: sys::Vec::try_with_capacity(RUN)?,
        })
    }

    /// Takes `data` over; what is in its place afterwards is anything.
    fn add(&mut self, dev: &Device, at: DiskBlock, data: &mut Block) -> Result {
        let end = self.start.saturating_add(self.blocks.len() as u64);
        if self.blocks.len() == RUN || end != at {
            self.write(dev)?;
        }
        if self.blocks.is_empty() {
            self.start = at;
        }
        let empty = match self.empty.pop() {
            Some(empty) => empty,
            None => Block::try_zeroed()?,
        };
        let full = core::mem::replace(data, empty);
        // There is room: the run was written when it was full.
        let _ = self.blocks.push_within_capacity(full);
        Ok(())
    }

    fn write(&mut self, dev: &Device) -> Result {
        if !self.blocks.is_empty() {
            dev.write_log(self.start.get(), &self.blocks, false, false)?;
        }
        while let Some(block) = self.blocks.pop() {
            let _ = self.empty.push_within_capacity(block);
        }
        Ok(())
    }
}
