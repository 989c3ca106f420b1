// SPDX-License-Identifier: GPL-2.0

//! What a transaction lists, and where the memory for it comes from.
//!
//! A transaction lists a dozen kinds of things, and copies what it changed for the log. Its lists
//! and the copies that newer ones took the place of are kept for the next transaction
//! ([`Spares`](sys::Spares)), so that a small one, like most, allocates next to nothing.

use super::*;
use crate::engine::log::cil::Batch;

/// A changed buffer and its dirty chunks.
pub(super) struct Changed {
    pub(super) buf: BufRef,
    pub(super) chunks: u32,
    /// Another record says what is in it.
    pub(super) ordered: bool,
}

/// An inode that is changed, and what it is like now, if it was.
pub(super) struct Joined {
    pub(super) inode: InodeRef,
    pub(super) image: Option<Image>,
}

/// The lists of a transaction. All are empty when it is over.
#[derive(Default)]
pub struct Lists {
    /// Blocks claimed for metadata and not used yet; as many as promised.
    pub(super) spare: sys::Vec<BlockRange>,
    /// Metadata blocks taken out of `spare`.
    pub(super) metas: sys::Vec<BlockRange>,
    /// Claims whose bits are to be set.
    pub(super) claims: sys::Vec<Claim>,
    /// Runs whose bits are to be cleared.
    pub(super) frees: sys::Vec<BlockRange>,
    /// Buffers of freed metadata that were in the cache, each with a pin.
    pub(super) stale: sys::Vec<BufRef>,
    pub(super) changed: sys::Vec<Changed>,
    /// Inodes changed; their ILOCKs are held by the caller until commit.
    pub(super) inodes: sys::Vec<Joined>,
    /// Inodes that earlier links of the chain have kept locked: they have to be joined here as well.
    pub(super) kept: sys::Vec<Ino>,
    /// Bitmap blocks of all of these that are on disk, read before anything is changed.
    pub(super) bitmaps: sys::Vec<BufRef>,
    /// What goes into the log. Before the commit there are only the metadata among `frees` and the new
    /// chunks of inodes.
    pub(super) batch: Batch,
    /// Memory for copies.
    pub(super) copies: Copies,
}

impl Lists {
    /// Memory for what a reservation allows, so that lists do not grow later. ENOMEM, but not if
    /// it `must` not fail.
    pub(super) fn reserve(&mut self, res: &TxnRes, must: bool) -> Result {
        let (blocks, runs) = (res.blocks as usize, res.extents as usize);
        let (bufs, inodes) = (res.bufs as usize, res.inodes as usize);
        let bitmaps = res.bitmaps() as usize;
        if must {
            self.metas.must_reserve(blocks);
            self.claims.must_reserve(runs);
            self.frees.must_reserve(runs);
            self.changed.must_reserve(bufs);
            self.inodes.must_reserve(inodes);
            self.bitmaps.must_reserve(bitmaps);
            return Ok(());
        }
        self.metas.try_reserve(blocks)?;
        self.claims.try_reserve(runs)?;
        self.frees.try_reserve(runs)?;
        self.changed.try_reserve(bufs)?;
        self.inodes.try_reserve(inodes)?;
        self.bitmaps.try_reserve(bitmaps)?;
        Ok(())
    }

    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        self.spare.clear();
        self.metas.clear();
        self.claims.clear();
        self.frees.clear();
        self.stale.clear();
        self.changed.clear();
        self.inodes.clear();
        self.kept.clear();
        self.bitmaps.clear();
        self.clear_batch();
    }

    /// Forgets what went into the log, and keeps the memory of the copies that came back.
    pub(super) fn clear_batch(&mut self) {
        let Self { batch, copies, .. } = self;
        batch.cancels.clear();
        batch.chunks.clear();
        for slot in batch.slots.iter_mut() {
            let image = slot.take().map(|slot| slot.image);
            if let Some(Image::Buf { data: copy, .. } | Image::Inode { slot: copy, .. }) = image {
                copies.keep(copy);
            }
        }
        batch.slots.clear();
    }
}

/// Memory of copies that nobody needs any more, by size.
#[derive(Default)]
pub(super) struct Copies([sys::Vec<sys::Vec<u8>>; CLASSES]);

/// Sizes: from this many bytes on, each twice the one before, to that of a block.
const SMALLEST: usize = 256;
const CLASSES: usize = 5;
const _: () = assert!(SMALLEST << (CLASSES - 1) == sys::BLOCK_BYTES);

/// Copies of a size that are kept: what a new name changes, and what took its place.
const KEPT: usize = 4;

impl Copies {
    /// Which size has room for `len` bytes, and what that is. The allocator rounds no less.
    fn class(len: usize) -> (usize, usize) {
        let size = len.max(SMALLEST).next_power_of_two();
        (size.ilog2().saturating_sub(SMALLEST.ilog2()) as usize, size)
    }

    /// An empty array with room for `len` bytes. May sleep.
    pub(super) fn get(&mut self, len: usize) -> sys::Vec<u8> {
        let (class, size) = Self::class(len);
        let kept = self.0.get_mut(class).and_then(|kept| kept.pop());
        let mut copy = kept.unwrap_or_default();
        copy.must_reserve(size);
        copy
    }

    /// Keeps the memory of `copy`, which is from [`Self::get`], unless there is enough.
    fn keep(&mut self, mut copy: sys::Vec<u8>) {
        let (class, _) = Self::class(copy.capacity());
        if let Some(kept) = self.0.get_mut(class).filter(|kept| kept.len() < KEPT) {
            copy.clear();
            kept.must_push(copy);
        }
    }
}

#[cfg(all(test, unit_tests))]
mod tests {
    use super::*;

    #[test]
    fn copies_are_used_again() {
        let mut copies = Copies::default();
        for len in [1, 256, 257, 512, 2304, 4096] {
            let mut copy = copies.get(len);
            assert!(copy.capacity() >= len);
            copy.must_extend_from_slice(&[7; 3]);
            let at = copy.as_ptr();
            copies.keep(copy);
            let again = copies.get(len);
            assert_eq!(again.as_ptr(), at, "{len} bytes");
            assert!(again.is_empty());
        }
        // Whatever else comes back, in whatever order.
        for len in (128..=4096).step_by(128) {
            let copy = copies.get(len);
            copies.keep(copy);
        }
        let slot = copies.get(512);
        let at = slot.as_ptr();
        copies.keep(slot);
        assert_eq!(copies.get(512).as_ptr(), at);
    }

    #[test]
    fn few_copies_are_kept() {
        let mut copies = Copies::default();
        let all: Vec<_> = (0..100).map(|_| copies.get(4096)).collect();
        for copy in all {
            copies.keep(copy);
        }
        assert_eq!(copies.0.iter().map(|kept| kept.len()).sum::<usize>(), KEPT);
    }
}
