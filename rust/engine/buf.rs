// SPDX-License-Identifier: GPL-2.0

//! Metadata buffers: one cached block each.
//!
//! A [`BufRef`] is a counted reference; as long as one exists, or the buffer is dirty or under I/O,
//! the buffer stays. Everything about its life is in one atomic word ([`state`]); the cache owns no
//! reference. The content has a lock of its own that writeback holds shared, so that readers go on
//! and modifiers wait.
//!
//! Blocks that belong to an inode are consistent under its ILOCK: they change only under ILOCK
//! exclusive, until commit. The content lock orders changes against I/O, and protects the blocks of
//! allocation groups.
//!
//! * [`state`]: the word, a pure state machine;
//! * [`index`]: hash chains of one shard;
//! * [`read`]: lookup, read, verify; [`write`]: seal, verify, write, and what became of it;
//!   which buffers are to be written, and when, is the business of the log and the AIL;
//! * [`shrink`]: reclaim under memory pressure, teardown at unmount.
//!
//! Compare XFS's `xfs_buf` and btrfs's `extent_buffer`.

mod index;
mod kind;
#[cfg(latchfs_races)]
mod mutants;
mod read;
mod shrink;
pub mod state;
#[cfg(test)]
mod tests;

mod write;

use core::ops::Deref;

use crate::engine::{
    faults::Faults,
    locks::{BufContent, BufFlight, BufShardLock},
    log::item::LogItem,
    Error,
    Result, //
};
use crate::format::{BlockHeader, BlockKind, Context, DiskBlock, Owner};
use crate::sys::{
    self,
    atomic::{AtomicU32, AtomicU64, Ordering},
    Arc,
    Block,
    ContentLock,
    ContentRead,
    ContentWrite,
    Device,
    Errno,
    Spin,
    WaitQueue, //
};
use index::{shard_of, Inserted, Shard, Storage};
use state::BufState;

#[cfg(latchfs_races)]
pub use mutants::BufHandle;
pub use write::LockedBuf;

/// Shards of a cache, a power of two: enough that two tasks rarely meet, and that a shard of a
/// large cache is grown under its spinlock in microseconds.
/// The models have as many as are needed to meet: each turn at a lock costs there, and a mount lives
/// for a millisecond.
const SHARDS: usize = if cfg!(feature = "shuttle") { 4 } else { 256 };
/// Queues for those who wait for reads, a power of two.
const READ_QUEUES: usize = 16;

/// One buffer. Found through the cache, used through [`BufRef`].
pub struct Buf {
    state: BufState,
    block: DiskBlock,
    /// [`Owner`] and [`BlockKind`] change only when the block gets a new life, under the content
    /// lock.
    owner: AtomicU64,
    kind: AtomicU32,
    /// Why the read failed, as errno; 0 if it did not.
    error: AtomicU32,
    /// Pins, what has to be logged, and the place in the AIL.
    item: LogItem,
    /// The write under way.
    flight: Spin<Option<sys::Box<write::Flight>>, BufFlight>,
    cache: Arc<BufCache>,
    content: ContentLock<Block, BufContent>,
}

/// The buffers of one mount.
pub struct BufCache {
    dev: Device,
    context: Context,
    faults: Arc<Faults>,
    shards: sys::Vec<Spin<Shard, BufShardLock>>,
    read_queues: [WaitQueue; READ_QUEUES],
    /// Where the shrinker goes on.
    hand: AtomicU32,
    /// Buffers in the cache.
    count: AtomicU64,
    /// Buffers with DIRTY set.
    dirty: AtomicU64,
}

/// A counted reference on a buffer whose content is valid.
pub struct BufRef {
    buf: Arc<Buf>,
}

/// Shared access to the content of a buffer.
pub struct BufData<'a>(ContentRead<'a, Block>);

impl Deref for BufData<'_> {
    type Target = [u8; sys::BLOCK_BYTES];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Clone for BufRef {
    fn clone(&self) -> Self {
        self.buf.state.get_again();
        Self {
            buf: self.buf.clone(),
        }
    }
}

impl Drop for BufRef {
    fn drop(&mut self) {
        if let Some(token) = self.buf.state.put() {
            self.buf.cache.bury(&self.buf, token);
        }
        sys::sync_point!("eb.put.done", self.buf.block.get());
    }
}

impl core::fmt::Debug for BufRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "buf {} {} {:?}",
            self.buf.block,
            self.kind().as_str(),
            self.buf.state.load()
        )
    }
}

impl BufRef {
    /// Takes over a reference that was counted already.
    fn counted(buf: Arc<Buf>) -> Self {
        Self { buf }
    }

    /// Number of the block on the device.
    pub fn block(&self) -> DiskBlock {
        self.buf.block
    }

    /// What the block holds.
    pub fn kind(&self) -> BlockKind {
        kind::kind(self.buf.kind.load(Ordering::Relaxed))
    }

    /// Whose block it is.
    pub fn owner(&self) -> Owner {
        Owner(self.buf.owner.load(Ordering::Relaxed))
    }

    /// Number of lives the block had in this buffer before this one; tells a re-used block from
    /// the one that was there before.
    pub fn generation(&self) -> u32 {
        self.buf.state.load().generation()
    }

    /// What verifiers know of the file system.
    pub(crate) fn context(&self) -> &Context {
        &self.buf.cache.context
    }

    /// Whether both are the same buffer.
    pub fn same(&self, other: &BufRef) -> bool {
        Arc::ptr_eq(&self.buf, &other.buf)
    }

    /// The content, shared. May sleep: waits for a modifier, never for writeback. A task holds the
    /// content of one buffer at a time, and changes none while it does.
    pub fn data(&self) -> BufData<'_> {
        BufData(self.buf.content.read())
    }

    /// The content, exclusive. May sleep: waits for readers and for the end of writeback.
    pub(crate) fn write(&self) -> ContentWrite<'_, Block> {
        self.buf.content.write()
    }

    /// [`Self::write`] for the second of two buffers.
    pub(crate) fn write_nested(&self) -> ContentWrite<'_, Block> {
        self.buf.content.write_nested(1)
    }

    /// The lock around the content, for those who hold it by token.
    pub(crate) fn content(&self) -> &ContentLock<Block, BufContent> {
        &self.buf.content
    }

    /// Makes a buffer whose content the caller just changed dirty. The content lock is still held
    /// exclusively. Does nothing for a stale buffer: its block was freed. Does not sleep.
    pub(crate) fn set_dirty(&self) {
        if self.buf.state.set_dirty() == Some(true) {
            self.buf.cache.dirty.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Marks the buffer as that of a freed block: what is in memory is never written again.
    /// The content lock is held exclusively, which is what the guard proves. Does not sleep.
    pub(crate) fn mark_stale(&self, _content: &mut ContentWrite<'_, Block>) {
        if self.buf.state.mark_stale() {
            self.buf.cache.dirty.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the disk has what is in memory, or will not get it: not dirty, not under writeback,
    /// not changed by an open transaction.
    pub fn is_clean(&self) -> bool {
        let state = self.buf.state.load();
        !state.is_dirty() && !state.is_writeback() && !self.buf.item.is_pinned()
    }

    /// Whether its block was freed.
    pub fn is_stale(&self) -> bool {
        self.buf.state.load().is_stale()
    }

    /// What the log keeps of it.
    pub(crate) fn item(&self) -> &LogItem {
        &self.buf.item
    }

    /// A transaction has changed the buffer: not to be written before [`Self::unpin`].
    pub(crate) fn pin(&self) {
        self.buf.item.pin();
    }

    /// The end of [`Self::pin`].
    pub(crate) fn unpin(&self) {
        self.buf.item.unpin();
    }

    /// Changes the content outside of any transaction and makes the buffer dirty: for the flush of
    /// an inode into its slot, which only moves what a transaction has committed before. The
    /// caller keeps the buffer from being one that a transaction is changing at the same bytes.
    /// May sleep: waits for the end of writeback of the block.
    pub fn modify_for_flush<R>(&self, change: impl FnOnce(&mut [u8; sys::BLOCK_BYTES]) -> R) -> R {
        let mut content = self.write();
        let r = change(&mut content);
        self.set_dirty();
        r
    }
}

impl BufCache {
    /// An empty cache over `dev`. Errors: ENOMEM.
    pub fn new(dev: Device, context: Context, faults: Arc<Faults>) -> Result<Arc<Self>> {
        Self::with_shards(dev, context, faults, SHARDS)
    }

    pub(crate) fn with_shards(
        dev: Device,
        context: Context,
        faults: Arc<Faults>,
        n: usize,
    ) -> Result<Arc<Self>> {
        let mut shards = sys::Vec::try_with_capacity(n)?;
        for _ in 0..n {
            shards.try_push(Spin::new(Shard::new()))?;
        }
        Ok(sys::try_arc(Self {
            dev,
            context,
            faults,
            shards,
            read_queues: core::array::from_fn(|_| WaitQueue::new()),
            hand: AtomicU32::new(0),
            count: AtomicU64::new(0),
            dirty: AtomicU64::new(0),
        })?)
    }

    /// The device underneath.
    pub fn device(&self) -> &Device {
        &self.dev
    }

    /// What verifiers know of the file system.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Buffers in the cache.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Buffers that wait to be written.
    pub fn dirty_count(&self) -> u64 {
        self.dirty.load(Ordering::Relaxed)
    }

    fn shard(&self, block: DiskBlock) -> Option<&Spin<Shard, BufShardLock>> {
        self.shards.get(shard_of(block.get(), self.shards.len()))
    }

    /// The buffer of `block` if it is cached, whatever its state. Does not sleep.
    fn peek(&self, block: DiskBlock) -> Option<BufRef> {
        let shard = self.shard(block)?;
        #[cfg(latchfs_races)]
        if shard.try_lock().is_none() {
            sys::sync_point!("eb.find.blocked", block.get());
        }
        let shard = shard.lock();
        let buf = shard.lookup(block.get())?;
        // The reference is counted under the shard's lock or not at all, but it would be right
        // without: a dead buffer refuses.
        let found = buf.state.get().then(|| BufRef::counted(buf.clone()));
        drop(shard);
        sys::sync_point!("eb.find.after_get", block.get());
        found
    }

    /// Puts a new buffer in. If there is a living one of the block already, that one comes back as
    /// error and the new one is dropped. May sleep for memory.
    fn insert(&self, buf: Buf, must: bool) -> Result<core::result::Result<BufRef, BufRef>> {
        let block = buf.block;
        sys::sync_point!("eb.insert.before", block.get());
        let buf = if must {
            sys::must_arc(buf)
        } else {
            sys::try_arc(buf)?
        };
        let shard = self.shard(block).ok_or(Errno::NOMEM)?;

        loop {
            let inserted = shard.lock().insert(&buf);
            match inserted {
                Inserted::Done(dead) => {
                    if dead.is_none() {
                        self.count.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok(Ok(BufRef::counted(buf)));
                }
                Inserted::Exists(other) => {
                    return Ok(Err(BufRef::counted(other)));
                }
                Inserted::Full(room) => {
                    let new = if must {
                        Storage::must_new(room)
                    } else {
                        Storage::new(room)?
                    };
                    // What comes back is freed here, with the spinlock released.
                    let old = shard.lock().grow(new);
                    drop(old);
                }
            }
        }
    }

    /// Takes a dead buffer out of the cache. `token` proves that nobody else does.
    fn bury(&self, buf: &Arc<Buf>, token: state::DeadToken) {
        let _ = token;
        #[cfg(latchfs_races)]
        buf.autopsy();
        sys::sync_point!("eb.bury.before", buf.block.get());
        let gone = self.shard(buf.block).and_then(|s| s.lock().remove(buf));
        if gone.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
