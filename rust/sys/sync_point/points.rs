// SPDX-License-Identifier: GPL-2.0

//! The names of all sync points, mutants and kinds of damage.
//!
//! One source for the kernel and the host. Exists only with `--cfg latchfs_races`.

/// What a task that is held at a point does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It sleeps. Every hit checks that sleeping is allowed there, armed or not.
    Sleep,
    /// It spins: the point is inside of a spinlock section, or may be. Bounded by
    /// [`SPIN_LIMIT_MS`](super::table::SPIN_LIMIT_MS) unless the arm says otherwise.
    Spin,
}

/// One place in the code.
#[derive(Clone, Copy, Debug)]
pub struct Def {
    /// Name, unique.
    pub name: &'static str,
    /// How a task is held there.
    pub kind: Kind,
}

const fn sleep(name: &'static str) -> Def {
    Def {
        name,
        kind: Kind::Sleep,
    }
}

const fn spin(name: &'static str) -> Def {
    Def {
        name,
        kind: Kind::Spin,
    }
}

/// All points. The comment says where it is; keys are block numbers unless it says otherwise.
pub const POINTS: &[Def] = &[
    // For the tests of the points themselves.
    sleep("selftest.sleep"),
    spin("selftest.spin"),
    // Buffer word: between the decision of a put that sees the last reference of a stale buffer,
    // and the step that acts on it.
    spin("eb.put.decided"),
    // Buffer cache: a user has given its reference back.
    spin("eb.put.done"),
    // Buffer cache: a lookup found the shard locked, and is about to wait for it.
    spin("eb.find.blocked"),
    // Buffer cache: a lookup has its reference, and nothing else yet.
    spin("eb.find.after_get"),
    // Buffer cache: a lookup missed; the new buffer is not in the cache yet.
    sleep("eb.insert.before"),
    // Shrinker: it has seen that the buffer may go, and has not acted.
    spin("eb.reclaim.decided"),
    // Buffer word: about to become dirty.
    spin("eb.dirty.before"),
    // Buffer word: writeback has decided to begin, and has not acted.
    spin("eb.wb.decided"),
    // Buffer cache: the read has ended, the state does not say so yet.
    sleep("eb.read.before_end"),
    // Buffer cache: teardown at unmount met a read in flight, and is about to wait for it.
    sleep("eb.purge.waits"),
    // Buffer cache: teardown at unmount has come to its end.
    sleep("eb.purge.done"),
    // Buffer cache: a buffer has died, and is still in the index.
    spin("eb.bury.before"),
    // AIL push: it has come to an item; the AIL lock is held.
    spin("ail.push.plan"),
    // AIL push: the reference on the item's buffer is taken; the AIL lock is held.
    spin("ail.push.read_buf"),
    // AIL push: the buffer is submitted or unlocked, the AIL lock is not yet taken again.
    sleep("ail.push.after_unlock_buf"),
    // AIL: somebody found the AIL lock taken, and is about to wait for it.
    spin("ail.lock.blocked"),
    // AIL: a failed item is about to be written again.
    spin("ail.retry"),
    // End of a metadata write: nothing is done with the items yet.
    sleep("buf.ioend.before_items"),
    // End of a metadata write: the items that are clean now have left the AIL.
    sleep("buf.ioend.after_ail_remove"),
    // End of a metadata write: the references of those items are given back.
    sleep("buf.ioend.after_detach"),
    // A metadata write is about to be submitted; `fail` makes it fail with that error.
    sleep("buf.write.submit"),
    // Inode reclaim: a clean inode is about to go. Key: inode number.
    spin("reclaim.before_free"),
    // Background work on unlinked inodes: one is in hand. Key: inode number.
    sleep("inodegc.item"),
    // Somebody waits for the background work on unlinked inodes. Key: 0.
    sleep("inodegc.drain"),
    // Unmount: about to stop the background work. Key: 0.
    sleep("unmount.quiesce"),
    // Unmount: the background work has ended, the push begins. Key: 0.
    sleep("unmount.push_all"),
    // From here on keys are inode numbers.
    // Write or write fault: it has looked at the mapping under the ILOCK held shared, and is about
    // to take it exclusively.
    sleep("da.after_lookup"),
    // Write or write fault: space is reserved, and no entry of the extent index owns it yet; `fail`
    // is a change of the index that fails.
    sleep("da.reserved"),
    // Write: it has its mapping, no folio is locked yet.
    sleep("write.after_begin"),
    // Undo of a short write: it was decided that the range is clean, and nothing was removed yet.
    sleep("wend.before_punch"),
    // Write fault: before the page cache is looked at.
    sleep("fault.enter"),
    // Write fault: the invalidate lock is taken, and has to be waited for. On the host only.
    sleep("fault.blocked"),
    // Write fault: the folio is dirty.
    sleep("fault.dirtied"),
    // Writeback: a folio is locked, nothing is known of where it goes; `fail` makes it fail.
    sleep("wb.range"),
    // Writeback: the mapping was looked at under the ILOCK held shared, and is about to be changed
    // under it held exclusively.
    sleep("wb.after_lookup"),
    // Writeback: it is known where the range goes, it is in no ioend yet.
    sleep("wb.mapped"),
    // Completion of data: the data is on disk or has failed, nothing else has changed.
    sleep("ordered.before_finish"),
    // Completion of data: folio writeback, or the direct write, is about to end.
    sleep("ordered.finished"),
    // fsync: the data was waited for, nothing is done about metadata.
    sleep("fsync.after_wait"),
    // fsync: pages of the file were taken away by a truncation that has not told the map.
    sleep("fsync.cut"),
    // Sync: pages may have been taken away by truncations that have not told the map.
    sleep("sync.cut"),
    // Truncation: the pages are gone, nothing else has changed.
    sleep("trunc.before_txn"),
    // fsync: the size is logged, the log is not forced yet.
    sleep("fsync.before_force"),
    // Direct read: dirty data of the range was written, the mapping is not looked at yet.
    sleep("dio.read.before_map"),
    // Direct write: mapping and ordered extent are there, no I/O is submitted.
    sleep("dio.after_publish"),
    // Direct write, mutant only: the mapping is there, the ordered extent is not.
    sleep("dio.pair.between"),
    // fsync, mutant only: about to wait for a direct write.
    sleep("fsync.waits"),
    // Somebody is about to wait for the writeback of a folio. On the host only.
    sleep("wb.waits"),
    // A disk of a test: it was flushed, the checkpoint that asked for it is not written yet. Key: 0.
    sleep("disk.flushed"),
    // fallocate: blocks for a hole are there, its first transaction has not looked at the map.
    sleep("falloc.planned"),
    // fallocate: one of its transactions is committed.
    sleep("falloc.after_commit"),
    // The shrinker of extent indexes has come to a file.
    spin("extents.shrink"),
];

/// Number of the point called `name`. Evaluated by the compiler: a name that does not exist does
/// not compile.
pub const fn point(name: &str) -> usize {
    let mut at = 0;
    while at < POINTS.len() {
        if same(POINTS[at].name, name) {
            return at;
        }
        at += 1;
    }
    panic!("no such sync point");
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

macro_rules! names {
    ($(#[$meta:meta])* $all:ident of $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $($(#[$doc])* $variant,)*
        }

        #[doc = concat!("Every [`", stringify!($enum), "`] with its name.")]
        pub const $all: &[($enum, &str)] = &[$(($enum::$variant, $name),)*];

        impl $enum {
            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $($enum::$variant => $name,)*
                }
            }
        }
    };
}

names! {
    /// A version of one small function without its protection.
    MUTANTS of Mutant {
        /// A failed item does not own its buffer: it remembers which one it was.
        Seed000 = "seed000";
        /// The push looks at the item after it has given the buffer away.
        Seed000Sibling = "seed000-sibling";
        /// What is to become of a write that failed is not asked: it is tried for ever.
        Seed000Retry = "seed000-retry";
        /// Unmount pushes before the background work has stopped.
        UnmountOrder = "unmount-order";
        /// The last put of a stale buffer decides on one look at the word and acts on the next.
        Seed002 = "seed002";
        /// The shrinker decides on one look at the word and acts on the next, unlocked.
        Seed002Reclaim = "seed002-reclaim";
        /// A new buffer is put in without looking again whether there is one by now.
        Seed002Insert = "seed002-insert";
        /// Teardown at unmount does not care for reads in flight.
        Seed002Purge = "seed002-purge";
        /// Writeback takes DIRTY away in one step and says WRITEBACK in the next.
        Seed002Gap = "seed002-gap";
        /// The memory of an I/O is given back before its work is over, to the next I/O.
        Seed002Address = "seed002-address";
        /// What was seen of a mapping without the ILOCK is acted upon with it.
        Seed003 = "seed003";
        /// Space is a number: the entry that it was reserved for does not own it.
        Seed003Reservation = "seed003-reservation";
        /// The shrinker does not know what is in the extent index only.
        Seed003Shrink = "seed003-shrink";
        /// A short write is undone without the invalidate lock.
        Seed004 = "seed004";
        /// Nobody asks whether a mapping is still valid.
        Seed004Valid = "seed004-valid";
        /// Zeroing passes over what is unwritten without a look at the page cache.
        Seed004Zero = "seed004-zero";
        /// Writeback that failed leaves its delayed extents.
        Seed004Discard = "seed004-discard";
        /// A direct read is told of delayed allocation.
        Seed004Direct = "seed004-direct";
        /// The mapping of a direct write is there before its ordered extent is.
        Seed001 = "seed001";
        /// fsync does not hear of an ordered extent that failed.
        Seed001Error = "seed001-error";
        /// fsync relies on a flush that was issued before its data was written.
        Seed001Flush = "seed001-flush";
        /// fsync waits for the direct writes of others.
        Seed001Wait = "seed001-wait";
        /// For the simulator: data is recorded as written when its write is submitted.
        OrderedEarly = "ordered-early";
        /// For the simulator: data is recorded as written though its write failed.
        OrderedError = "ordered-error";
        /// For the simulator: the size on disk does not wait for the data in front of it.
        SizeEarly = "size-early";
        /// For the simulator: items enter the AIL behind the checkpoint that has them.
        AilLate = "ail-late";
        /// For the simulator: replay writes to blocks that were freed.
        ReplayCancel = "replay-cancel";
        /// For the simulator: replay believes the position in a block whose checksum is wrong.
        ReplayTorn = "replay-torn";
    }
}

names! {
    /// What went wrong, as the code itself sees it. None of it happens in a real build.
    DAMAGES of Damage {
        /// A buffer was torn down that had something to write: the write is lost.
        DirtyFreed = "dirty buffer freed (lost write)";
        /// A buffer was torn down while somebody had a reference.
        UsedFreed = "referenced buffer freed";
        /// A buffer was torn down under I/O.
        BusyFreed = "buffer freed under I/O";
        /// A buffer was torn down twice.
        FreedTwice = "buffer freed twice";
        /// A buffer took a step that its state does not allow.
        Step = "step that the state of the buffer does not allow";
        /// There were two living buffers of one block.
        TwoBuffers = "two buffers of one block";
        /// A reference led to another life of the buffer than the one it was taken in.
        Generation = "buffer of another generation (use after free)";
        /// An entry of the AIL was used after it had gone, or in its next life.
        ItemGeneration = "log item of another generation (use after free)";
        /// The AIL lost an item that was not on disk.
        ItemLost = "item left the AIL unwritten (lost write)";
        /// Something became dirty behind the push of an unmount.
        DirtyAfterPush = "dirty after the last push (lost write)";
        /// The teardown of an unmount found an item in the AIL.
        AilNotEmpty = "AIL not empty at unmount";
        /// Delayed extents were left when the last user of a file went (O3, O4).
        DelayedLeft = "delayed blocks left (leaked reservation)";
        /// Data was in flight when the last user of a file went (O5).
        InFlightLeft = "ordered extent left";
        /// More space is promised than owners of promises are there, or less (O3).
        SpaceLost = "promised space without an owner (leaked reservation)";
        /// What a file has on disk is not what its extent index says.
        IndexLies = "extent index against the disk";
    }
}
