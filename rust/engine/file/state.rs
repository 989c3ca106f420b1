// SPDX-License-Identifier: GPL-2.0

//! What a regular file has outside of its ILOCK: words that callers read without it.

use crate::{
    engine::{
        extents::{reclaim::Clock, ExtentIndex, IndexStock, CHANGE_NODES},
        inode::Inode,
        mount::Mount,
    },
    sys::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        pr_warn, Arc, NofsScope, SysResult,
    },
};

/// Free nodes with which an operation does not bring more: two changes, and a file of one extent
/// does with the first chunk. One that needs more asks for them under the ILOCK.
const ROOM: u32 = 2 * CHANGE_NODES;

/// See the module's text. Written under the ILOCK, except `i_size`.
#[derive(Default)]
pub struct FileState {
    /// Counts the changes after which a mapping that was handed out may be wrong: iomap's validity
    /// cookie.
    seq: AtomicU64,
    /// The size users see. The VFS inode's while there is one.
    i_size: AtomicU64,
    /// Copy of the core's `disk_size`.
    disk_size: AtomicU64,
    /// The highest end of a direct overwrite: data that is on disk without a completion of ours.
    overwritten: AtomicU64,
    /// How often the size was set to something else, by other than a write.
    cuts: AtomicU64,
    /// Delayed blocks.
    delayed: AtomicU64,
    /// Blocks in flight.
    in_flight: AtomicU64,
    /// A truncation has cut data off, and nobody has closed the file since.
    truncated: AtomicBool,
    /// A [`Cut`](super::Cut) lives.
    cutting: AtomicBool,
    /// There is no data behind the end of the file that a crash has left there.
    tail_known: AtomicBool,
    /// The last direct write had to change the index before its I/O.
    converting: AtomicBool,
    /// What the last completion needed, and one more; 0: not known.
    needed: AtomicU32,
    /// Open files that can write.
    writers: AtomicU32,
    /// Entries of the index.
    entries: AtomicU32,
    /// The index was looked at since the shrinker did.
    referenced: AtomicBool,
    /// Free nodes in the index, and chunks it has: whether an operation should bring memory.
    room: AtomicU32,
    chunks: AtomicU32,
}

impl FileState {
    /// The cookie of mappings handed out now. Read it under the ILOCK to go with a mapping.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// The size users see.
    pub fn i_size(&self) -> u64 {
        self.i_size.load(Ordering::Acquire)
    }

    /// The size the disk may know.
    pub fn disk_size(&self) -> u64 {
        self.disk_size.load(Ordering::Acquire)
    }

    /// A direct write into written blocks has ended at byte `end`. Any context.
    pub(super) fn overwrote(&self, end: u64) {
        self.overwritten.fetch_max(end, Ordering::AcqRel);
    }

    /// The highest byte that [`Self::overwrote`] was told of since the size was last set.
    pub(super) fn overwritten(&self) -> u64 {
        self.overwritten.load(Ordering::Acquire)
    }

    /// The size was set to something else; no direct write is under way.
    pub(super) fn size_was_set(&self) {
        self.overwritten.store(0, Ordering::Release);
        self.cuts.fetch_add(1, Ordering::AcqRel);
    }

    /// How often [`Self::size_was_set`] was called.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Delayed blocks.
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// Blocks that data is on its way to.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Entries of the index.
    pub(crate) fn entries(&self) -> u32 {
        self.entries.load(Ordering::Relaxed)
    }

    /// The index was of use.
    pub(super) fn reference(&self) {
        // Not stored each time: the word is read by many.
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the index was of use since the last call.
    pub(crate) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }

    /// Whether somebody who can write has the file open.
    pub(crate) fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Relaxed) > 0
    }

    /// A truncation begins to take pages away, or has told the map.
    pub(super) fn set_cutting(&self, cutting: bool) {
        self.cutting.store(cutting, Ordering::Release);
    }

    /// Whether a truncation is between the two.
    pub(super) fn cutting(&self) -> bool {
        self.cutting.load(Ordering::Acquire)
    }

    /// Whether it is known that there is no data behind the end of the file.
    pub(super) fn tail_is_known(&self) -> bool {
        self.tail_known.load(Ordering::Relaxed)
    }

    /// It is, until the inode is read from disk again: it was looked for, or the file is new.
    pub(crate) fn set_tail_known(&self) {
        self.tail_known.store(true, Ordering::Relaxed);
    }

    /// Whether the next direct write will probably have to change the index. A guess.
    pub(super) fn is_converting(&self) -> bool {
        self.converting.load(Ordering::Relaxed)
    }

    /// Whether a direct write had to.
    pub(super) fn set_converting(&self, converting: bool) {
        // Not stored each time: the word is read by many.
        if self.is_converting() != converting {
            self.converting.store(converting, Ordering::Relaxed);
        }
    }

    /// Metadata blocks that the next completion will probably need. A guess, if there is one.
    pub(super) fn likely_need(&self) -> Option<u32> {
        self.needed.load(Ordering::Relaxed).checked_sub(1)
    }

    /// What a completion would need now.
    pub(super) fn set_likely_need(&self, blocks: u32) {
        self.needed
            .store(blocks.saturating_add(1), Ordering::Relaxed);
    }

    /// The inode was read from disk, or is new: its size is `size`.
    pub fn loaded(&self, size: u64) {
        self.tail_known.store(false, Ordering::Relaxed);
        self.needed.store(0, Ordering::Relaxed);
        self.i_size.store(size, Ordering::Release);
        self.disk_size.store(size, Ordering::Release);
        self.size_was_set();
    }

    pub(super) fn set_i_size(&self, size: u64) {
        self.i_size.store(size, Ordering::Release);
    }

    pub(super) fn set_disk_size(&self, size: u64) {
        self.disk_size.store(size, Ordering::Release);
    }

    /// A guard on the extents ends: `stale` if a mapping that was handed out may be wrong. The
    /// caller holds the ILOCK exclusively.
    pub(crate) fn publish(&self, clock: &Clock, index: &ExtentIndex, stale: bool) {
        let entries = index.len();
        clock.changed(self.entries.swap(entries, Ordering::Relaxed), entries);
        let (room, chunks) = index.room();
        let counts = index.counts();
        self.delayed.store(counts.delayed, Ordering::Relaxed);
        self.in_flight.store(
            counts.in_flight.saturating_add(counts.converting),
            Ordering::Relaxed,
        );
        self.room.store(room, Ordering::Relaxed);
        self.chunks.store(chunks, Ordering::Relaxed);
        if stale {
            self.seq.fetch_add(1, Ordering::Release);
        }
    }

    /// Memory for the index if it is short of nodes, allocated before the ILOCK is taken. ENOMEM.
    /// May sleep.
    pub(super) fn stock(&self) -> SysResult<IndexStock> {
        if self.room.load(Ordering::Relaxed) >= ROOM {
            return Ok(IndexStock::none());
        }
        IndexStock::try_new(self.chunks.load(Ordering::Relaxed))
    }

    /// [`Self::stock`] for those who may not fail: writeback and completion. May sleep.
    pub(super) fn must_stock(&self) -> IndexStock {
        if self.room.load(Ordering::Relaxed) >= ROOM {
            return IndexStock::none();
        }
        IndexStock::must_new(self.chunks.load(Ordering::Relaxed))
    }
}

/// A truncation has cut data off: somebody may be about to write the file anew. Does not sleep.
pub fn note_truncated(inode: &Inode) {
    inode.file.truncated.store(true, Ordering::Relaxed);
}

/// A writer closes the file. Whether its data should be written soon: the old content is gone, and
/// until the new one is on disk a crash leaves an empty file (XFS's `XFS_ITRUNCATED`, ext4's
/// `auto_da_alloc`). Says so once. Does not sleep.
pub fn flush_at_close(inode: &Inode) -> bool {
    inode.file.truncated.swap(false, Ordering::Relaxed) && inode.file.delayed() > 0
}

/// Whether a crash now would leave less of the file than its users see: data has no blocks yet, or
/// is on its way to them and holds the size back. Does not sleep.
pub fn has_new_data(inode: &Inode) -> bool {
    inode.file.delayed() > 0 || inode.file.i_size() > inode.file.disk_size()
}

/// Somebody opens the file for writing. Does not sleep.
pub fn opened(inode: &Inode) {
    inode.file.writers.fetch_add(1, Ordering::Relaxed);
}

/// Who called [`opened`] has closed the file. The last one gives back what was kept for data to come.
/// Takes the ILOCK if there may be something; may sleep.
pub fn released(inode: &Inode) {
    if inode.file.writers.fetch_sub(1, Ordering::Relaxed) != 1 {
        return;
    }
    let _nofs = NofsScope::enter();
    if inode.ilock.read().index.window.is_none() {
        return;
    }
    let window = inode.ilock.write().index.window.take();
    drop(window);
}

/// Delayed blocks of the file: what `st_blocks` counts beside the blocks it has. Does not sleep.
pub fn delayed_blocks(inode: &Inode) -> u64 {
    inode.file.delayed()
}

/// The last user of the file is gone, its page cache is gone: forgets what was known about its
/// extents. Anything delayed that is left belongs to data that could not be written, or to a file
/// without a name; its space returns. Cheap, no transaction. Takes the ILOCK; may sleep.
pub fn evict(m: &Arc<Mount>, inode: &Inode) {
    // Nobody else can have it: reclaim, where this may run, waits for no ILOCK.
    let mut inner = match inode.ilock.try_write() {
        Some(inner) => inner,
        None => inode.ilock.write(),
    };
    let counts = inner.index.counts();
    if counts.in_flight != 0 || counts.converting != 0 {
        pr_warn!(
            "inode {}: evicted with {} blocks in flight\n",
            inode.ino,
            counts.in_flight.saturating_add(counts.converting)
        );
    }
    if counts.delayed != 0 && inner.core.nlink != 0 && !m.is_shutdown() {
        pr_warn!(
            "inode {}: evicted with {} delayed blocks\n",
            inode.ino,
            counts.delayed
        );
    }
    #[cfg(latchfs_races)]
    super::mutants::observe_eviction(m, inode, &inner);
    inner.index = ExtentIndex::new();
    inode.file.publish(&m.inodes.extents, &inner.index, true);
    if inner.core.is_regular() {
        // What the disk does not know did not get there; nobody can see it any more.
        let size = inner.core.disk_size;
        inode.file.loaded(size);
    }
}
