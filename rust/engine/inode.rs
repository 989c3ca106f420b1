// SPDX-License-Identifier: GPL-2.0

//! Inodes in memory.
//!
//! The engine has its own inode object. It is found by number in a cache of its allocation group
//! and outlives the VFS inode: a committed change that has not reached the inode's slot exists here
//! only, and the VFS may drop its inode at any time. A lookup takes the object first and never
//! reads the inode block while one exists, so there is one truth.
//!
//! * [`fields`]: the fields of an inode, and the way to and from its 512-byte slot;
//! * [`state`]: the word that says who uses the object and whether it may go away;
//! * [`cache`]: number to object, one object however many look;
//! * [`load`]: [`iget`], [`iget_handle`];
//! * [`flush`]: changed cores into their slots;
//! * [`lock`]: several ILOCKs at once.
//!
//! Locks: the ILOCK (level 8, [`locks::Ilock`]) protects everything in [`InodeInner`]. Whoever
//! changes it inside a transaction keeps it exclusively until the commit.
//!
//! [`locks::Ilock`]: crate::engine::locks::Ilock

pub(crate) mod bag;
pub mod cache;
pub mod fields;
pub mod flush;
pub mod load;
pub mod lock;
pub mod state;
pub(crate) mod table;

#[cfg(test)]
mod tests;

pub use self::{
    cache::InodeRef,
    fields::{Attrs, Core},
    flush::{attach, detach, mark_dirty},
    load::{iget, iget_handle},
    lock::{lock_two, InodeRead, InodeWrite},
};

use self::state::StateWord;
use crate::{
    engine::{
        error::{Error, Result},
        extents::ExtentIndex,
        file::FileState,
        fork::Fork,
        locks::Ilock,
        log::item::LogItem,
        mount::Mount,
    },
    format::{dirent::FileType, units::Ino},
    sys::{
        self,
        atomic::{AtomicU32, Ordering},
        Errno,
        RwSem, //
    },
};

/// An inode in memory. Use it through an [`InodeRef`].
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// Users, dirty, and whether it may go away.
    pub(crate) state: StateWord,
    /// Type (as [`FileType`], 0 unknown) and link count, for those who cannot wait for the ILOCK. The
    /// type is constant as long as somebody uses the object.
    ftype: AtomicU32,
    links: AtomicU32,
    /// What a regular file keeps outside of its ILOCK.
    pub file: FileState,
    /// Everything that changes: core, forks, extent index.
    pub ilock: RwSem<InodeInner, Ilock>,
    /// Pins, what has to be logged, and the place in the AIL, whose entry has the block of the slot.
    pub(crate) log: LogItem,
}

/// What the ILOCK protects.
#[derive(Default)]
pub struct InodeInner {
    /// The fields of the slot.
    pub core: Core,
    /// The data fork.
    pub data: Fork,
    /// The attribute fork. Its `blocks` are not among those of `data`.
    pub attrs: Fork,
    /// Extents of a regular file: on-disk pieces, delayed ones and those in flight.
    pub index: ExtentIndex,
}

impl Inode {
    /// An empty object for `ino`, not in the cache yet. One user. Not inline: it is some hundred
    /// bytes on the stack until it is on the heap. May sleep; ENOMEM.
    #[inline(never)]
    pub(crate) fn alloc(ino: Ino) -> Result<InodeRef> {
        let inode = sys::try_arc(Self {
            ino,
            state: StateWord::new(),
            ftype: AtomicU32::new(0),
            links: AtomicU32::new(0),
            file: FileState::default(),
            ilock: RwSem::new(InodeInner::default()),
            log: LogItem::new(),
        })?;
        Ok(InodeRef::adopt(inode))
    }

    /// What it is. Takes no lock.
    pub fn ftype(&self) -> Option<FileType> {
        FileType::from_disk(self.ftype.load(Ordering::Relaxed) as u8)
    }

    /// Its link count. Takes no lock: without the ILOCK it may be changing.
    pub(crate) fn links(&self) -> u32 {
        self.links.load(Ordering::Acquire)
    }

    /// Repeats `core.nlink` for those who cannot take the ILOCK, which the caller holds.
    pub(crate) fn set_links(&self, nlink: u32) {
        self.links.store(nlink, Ordering::Release);
    }

    /// Tells what is known without the ILOCK about a new or just loaded inode.
    pub(crate) fn set_kind(&self, core: &Core) {
        let ftype = core.ftype().map_or(0, |t| t as u32);
        self.ftype.store(ftype, Ordering::Relaxed);
        self.set_links(core.nlink);
        if core.is_regular() {
            self.file.loaded(core.disk_size);
        }
    }

    /// What stat(2) wants to know. Takes the ILOCK shared; may sleep.
    pub fn attrs(&self) -> Attrs {
        self.attrs_locked(&self.ilock.read())
    }

    /// [`Self::attrs`] for a holder of the ILOCK.
    pub fn attrs_locked(&self, inner: &InodeInner) -> Attrs {
        let size = if inner.core.is_regular() {
            self.file.i_size()
        } else {
            inner.core.disk_size
        };
        Attrs::of(self.ino, inner, size)
    }

    /// The generation of this use of the number. Takes the ILOCK shared; may sleep.
    pub fn generation(&self) -> u32 {
        self.ilock.read().core.generation
    }
}

impl InodeInner {
    /// Fails with ENOENT if the inode has been unlinked for good (its number may be free).
    pub(crate) fn check_linked(&self) -> Result {
        if self.core.mode == 0 || self.core.nlink == 0 {
            return Err(Error::new(Errno::NOENT));
        }
        Ok(())
    }

    /// Fails with ENOTDIR if the inode is no directory, ENOENT if it was removed.
    pub(crate) fn check_dir(&self) -> Result {
        if !self.core.is_dir() {
            return Err(Error::new(Errno::NOTDIR));
        }
        self.check_linked()
    }
}

/// Frees up to `max` inodes that are clean and that nobody uses: what a shrinker calls. Takes
/// spinlocks only. Returns how many.
pub fn reclaim(m: &Mount, max: usize) -> usize {
    m.inodes.cache.reclaim(max, true)
}

/// Inodes in memory.
pub fn cached(m: &Mount) -> usize {
    m.inodes.cache.len()
}

/// Drops all inodes in memory: the end of an unmount. What is still used is reported and left to
/// its users. Takes spinlocks only.
pub fn cache_empty(m: &Mount) {
    while m.inodes.cache.reclaim(usize::MAX, false) != 0 {}
    let left = m.inodes.cache.len();
    if left != 0 {
        sys::pr_err!("{} inodes are still in use\n", left);
    }
}
