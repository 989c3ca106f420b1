// SPDX-License-Identifier: GPL-2.0

//! Folios and the tree of them.

use crate::{FolioLock, PagesLock, PAGE};
use latchfs_host::{
    atomic::{AtomicBool, AtomicU64, Ordering},
    Mutex, MutexGuard, Spin, WaitQueue,
};
use std::{collections::BTreeMap, sync::Arc};

/// What the folio lock protects. `blocks` is iomap's `iomap_folio_state`.
pub(crate) struct FolioData {
    /// Still in the mapping: a locked folio has to be checked for that.
    pub(crate) mapped: bool,
    pub(crate) dirty: bool,
    pub(crate) blocks: Vec<BlockState>,
    pub(crate) data: Vec<u8>,
}

/// State of one block of a folio.
#[derive(Clone, Copy, Default)]
pub(crate) struct BlockState {
    pub(crate) uptodate: bool,
    pub(crate) dirty: bool,
}

/// A folio of one or more pages.
pub(crate) struct Folio {
    pub(crate) index: u64,
    pub(crate) pages: u64,
    lock: Mutex<FolioData, FolioLock>,
    writeback: AtomicBool,
    pending: AtomicU64,
    ended: WaitQueue,
}

impl Folio {
    pub(crate) fn new(index: u64, pages: u64) -> Arc<Self> {
        Arc::new(Self {
            index,
            pages,
            lock: Mutex::new(FolioData {
                mapped: true,
                dirty: false,
                blocks: vec![BlockState::default(); pages as usize],
                data: vec![0xdd; (pages * PAGE) as usize],
            }),
            writeback: AtomicBool::new(false),
            pending: AtomicU64::new(0),
            ended: WaitQueue::new(),
        })
    }

    pub(crate) fn pos(&self) -> u64 {
        self.index * PAGE
    }

    pub(crate) fn size(&self) -> u64 {
        self.pages * PAGE
    }

    pub(crate) fn end(&self) -> u64 {
        self.pos() + self.size()
    }

    /// `folio_lock`.
    pub(crate) fn lock(&self) -> MutexGuard<'_, FolioData> {
        self.lock.lock()
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, FolioData>> {
        self.lock.try_lock()
    }

    pub(crate) fn is_writeback(&self) -> bool {
        self.writeback.load(Ordering::Acquire)
    }

    /// `folio_start_writeback`, with all bytes pending (`iomap_writeback_init`).
    pub(crate) fn start_writeback(&self) {
        assert!(
            !self.writeback.swap(true, Ordering::AcqRel),
            "under writeback twice"
        );
        self.pending.store(self.size(), Ordering::Release);
    }

    /// `iomap_finish_folio_write`.
    pub(crate) fn finish_write(&self, len: u64) {
        let old = self.pending.fetch_sub(len, Ordering::AcqRel);
        assert!(old >= len, "more bytes finished than pending");
        if old == len {
            self.writeback.store(false, Ordering::Release);
            self.ended.wake_all();
        }
    }

    /// Sleeps until writeback has ended, but not long: the ioend may come to the queue while
    /// everybody waits, and then the waiter has to carry it out.
    pub(crate) fn wait_writeback(&self) {
        self.ended.wait_until(|| !self.is_writeback(), 1);
    }
}

/// `struct address_space`.
pub(crate) struct Mapping {
    pages: Spin<BTreeMap<u64, Arc<Folio>>, PagesLock>,
}

impl Mapping {
    pub(crate) fn new() -> Self {
        Self {
            pages: Spin::new(BTreeMap::new()),
        }
    }

    /// The folio that covers page `index`.
    pub(crate) fn find(&self, index: u64) -> Option<Arc<Folio>> {
        let pages = self.pages.lock();
        let (_, folio) = pages.range(..=index).next_back()?;
        (index < folio.index + folio.pages).then(|| folio.clone())
    }

    /// The first folio that ends behind page `index`.
    pub(crate) fn first_from(&self, index: u64) -> Option<Arc<Folio>> {
        self.find(index).or_else(|| {
            let pages = self.pages.lock();
            pages.range(index..).next().map(|(_, f)| f.clone())
        })
    }

    /// All folios that overlap pages `from .. to`.
    pub(crate) fn all(&self, from: u64, to: u64) -> Vec<Arc<Folio>> {
        let mut at = from;
        let mut found = Vec::new();
        while let Some(folio) = self.first_from(at) {
            if folio.index >= to {
                break;
            }
            at = folio.index + folio.pages;
            found.push(folio);
        }
        found
    }

    /// `__filemap_get_folio(FGP_CREAT)`: the folio that covers `index`, made if there is none: as
    /// large as `most` pages allow, naturally aligned, over nothing that exists.
    pub(crate) fn get(&self, index: u64, most: u64) -> Arc<Folio> {
        if let Some(folio) = self.find(index) {
            return folio;
        }
        let mut pages = self.pages.lock();
        let mut size = 1;
        let mut start = index;
        while size * 2 <= most {
            let from = index & !(size * 2 - 1);
            let free = pages
                .range(..from + size * 2)
                .next_back()
                .is_none_or(|(_, f)| f.index + f.pages <= from);
            if !free {
                break;
            }
            size *= 2;
            start = from;
        }
        let before = pages.range(..=index).next_back();
        if let Some((_, folio)) = before.filter(|(_, f)| index < f.index + f.pages) {
            // Somebody was faster.
            return folio.clone();
        }
        let folio = Folio::new(start, size);
        pages.insert(start, folio.clone());
        folio
    }

    /// Takes a locked folio out.
    pub(crate) fn remove(&self, folio: &Folio, data: &mut FolioData) {
        assert!(
            !folio.is_writeback(),
            "a folio under writeback leaves the page cache"
        );
        data.mapped = false;
        self.pages.lock().remove(&folio.index);
    }

    /// Puts a folio in the place of one that was just taken out.
    pub(crate) fn insert(&self, folio: Arc<Folio>) {
        self.pages.lock().insert(folio.index, folio);
    }
}
