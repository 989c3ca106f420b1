// SPDX-License-Identifier: GPL-2.0

//! A mounted file system.
//!
//! [`Mount`] owns all state; there are no statics. What is where:
//!
//! * [`open`]: superblock, checks, the clean flag;
//! * [`checkpoint`]: its log;
//! * [`discard`]: telling the device about free blocks;
//! * [`close`]: unmount, remount, shutdown;
//! * [`push`]: who drives the pusher of the AIL;
//! * [`space`]: statfs, and waiting for space;
//! * [`verify`]: what must be true when it is quiet.
//!
//! * [`hooks`]: where the inode part takes part.

mod checkpoint;
mod close;
mod discard;
mod hooks;
mod label;
mod open;
mod push;
mod space;
#[cfg(all(test, unit_tests))]
mod tests;
mod verify;

use discard::Discards;

pub use close::ShutdownHow;
pub use open::MountOpts;
pub use space::StatFs;
pub use verify::Observed;

use crate::engine::{
    ail::{Ail, ErrorPolicy},
    alloc::Alloc,
    buf::BufCache,
    faults::{Faults, OnError, Reaction, Severity},
    ialloc::InodeSpace,
    locks::{AilPush, CutLock, DiscardLock, SuperLock, SuperTurn, TxnGate},
    log::Log,
    recovery::Recovered,
    stats::Stats,
    txn,
    Error,
    Result, //
};
use crate::format::{AgNumber, BlockKind, Context, Geometry, Ino, Owner, Superblock};
use crate::sys::{
    self,
    atomic::{AtomicU32, AtomicU64, Ordering},
    Arc,
    Block,
    Errno,
    Mutex,
    Report,
    RwSem,
    Spin,
    WorkItem, //
};

/// One mounted file system.
pub struct Mount {
    buf: Arc<BufCache>,
    alloc: Arc<Alloc>,
    ail: Arc<Ail>,
    faults: Arc<Faults>,
    context: Context,
    root: Ino,
    hash_seed: u64,
    uuid: [u8; 16],
    /// The superblock as it was last written, but for counters and records.
    /// Begins with the superblock. Half a kilobyte is too much to be handed around by value.
    sb: Spin<Block, SuperLock>,
    /// One write of it, or of its copies, at a time.
    super_turn: Mutex<(), SuperTurn>,
    /// Shared by commits, exclusive for the closing of a checkpoint.
    pub(crate) gate: RwSem<(), TxnGate>,
    /// Lists of transactions that are over.
    pub(crate) txn_lists: sys::Spares<txn::Lists>,
    /// Truncations between the page cache and the map: [`crate::engine::file::Cut`].
    pub(crate) cuts: RwSem<(), CutLock>,
    log: sys::Box<Log>,
    /// See [`flag`].
    flags: AtomicU32,
    counts: InodeCounts,
    /// Inodes in memory and where free numbers are.
    pub(crate) inodes: InodeSpace,
    stats: Stats,
    /// What the mount found in the log. On the heap, like all that is only looked at.
    recovered: sys::Box<Recovered>,
    /// The log was not replayed, or the superblock is a copy: cannot be made writable.
    rescue: bool,
    /// One round of the pusher at a time.
    push_turn: Mutex<(), AilPush>,
    /// The pusher in the background.
    pusher: Spin<Option<Arc<WorkItem>>, SuperLock>,
    /// It has to come to an end.
    pusher_stops: AtomicU32,
    /// Checkpoints in the background.
    background: Spin<Option<Arc<WorkItem>>, SuperLock>,
    /// Freed blocks that are to be discarded.
    discards: Discards,
}

/// Bits of [`Mount::flags`].
mod flag {
    /// Mounted read-only, or made so.
    pub(super) const READ_ONLY: u32 = 1 << 0;
    /// Unmounted.
    pub(super) const CLOSED: u32 = 1 << 2;
}

/// Inodes of the whole file system, as committed. The inode part keeps them up to date.
#[derive(Default)]
pub struct InodeCounts {
    /// Inode slots in chunks that exist.
    pub inodes: AtomicU64,
    /// Free ones among them.
    pub free: AtomicU64,
    /// Orphans.
    pub orphans: AtomicU64,
}

impl Mount {
    /// The buffer cache.
    pub fn buf(&self) -> &Arc<BufCache> {
        &self.buf
    }

    /// The block allocator.
    pub fn alloc(&self) -> &Arc<Alloc> {
        &self.alloc
    }

    /// The layout.
    pub fn geo(&self) -> &Geometry {
        &self.context.geometry
    }

    /// What verifiers know of the file system.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Number of the root directory.
    pub fn root_ino(&self) -> Ino {
        self.root
    }

    /// Key of the name hash.
    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// Name for users, as when mounted.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// What `f` makes of the superblock as it was last written. `f` runs under a spinlock.
    pub fn superblock<R>(&self, f: impl FnOnce(&Superblock) -> R) -> Result<R> {
        Superblock::of(self.sb.lock().as_slice())
            .map(f)
            .ok_or(Error::new(Errno::UCLEAN))
    }

    /// Counts of inodes.
    pub fn counts(&self) -> &InodeCounts {
        &self.counts
    }

    /// What was replayed when it was mounted.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Counters for tests and sysfs.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The allocation group `ag`. Errors: EUCLEAN if there is none.
    pub fn ag(&self, ag: AgNumber) -> Result<super::ag::Ag> {
        super::ag::Ag::new(self, ag)
    }

    /// Whether nothing may be changed.
    pub fn read_only(&self) -> bool {
        self.flags.load(Ordering::Acquire) & flag::READ_ONLY != 0
    }

    /// Whether the file system was shut down.
    pub fn is_shutdown(&self) -> bool {
        self.ail.health().is_down()
    }

    /// EIO after a shutdown.
    pub fn check_live(&self) -> Result {
        if self.is_shutdown() {
            return Err(Error::new(Errno::IO));
        }
        Ok(())
    }

    /// EIO after a shutdown, EROFS if nothing may be changed.
    pub fn check_writable(&self) -> Result {
        self.check_live()?;
        if self.read_only() {
            return Err(Error::new(Errno::ROFS));
        }
        self.check_faults()
    }

    /// Applies the mount option `errors=` after errors in metadata.
    fn check_faults(&self) -> Result {
        if self.faults.count() == 0 {
            return Ok(());
        }
        match self.reaction() {
            Reaction::Nothing => Ok(()),
            // No new changes. What was committed before is still brought to the disk. If the
            // option was changed to a panic since, it is for the next error.
            Reaction::ReadOnly | Reaction::Panic => Err(Error::new(Errno::ROFS)),
            Reaction::Shutdown => {
                self.shutdown("an error in metadata (errors=shutdown)");
                Err(Error::new(Errno::IO))
            }
        }
    }

    /// Changes the mount option `errors=`. Takes effect with the next change. Does not sleep.
    pub fn set_on_error(&self, on_error: OnError) {
        self.faults.set_on_error(on_error);
    }

    /// What the mount option `errors=` says about damage. Does not sleep.
    pub fn reaction(&self) -> Reaction {
        self.faults.reaction(Severity::Damage)
    }

    /// Remembers an error in inode `ino` at `block` (0: none) for the superblock, and tells who
    /// watches. What the mount option `errors=` says happens with the next change; a panic at once.
    /// Does not sleep.
    pub fn note_error(&self, error: &Error, ino: u64, block: u64) {
        self.buf.device().report(Report::Metadata(error.errno()));
        self.faults.note(error, ino, block);
    }

    /// What was committed cannot be written any more: shuts down, or panics. Does not sleep.
    pub(crate) fn fail(&self, why: &str) {
        if self.faults.reaction(Severity::Lost) == Reaction::Panic {
            sys::halt(why);
        }
        self.shutdown(why);
    }
}
