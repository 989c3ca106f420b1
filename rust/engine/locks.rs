// SPDX-License-Identifier: GPL-2.0

//! Every lock of ring 1: its class, what it protects, what it nests in.
//!
//! The rank is ten times the level of the hierarchy in Documentation/locking.rst; a lock may be
//! taken while only lower ranks are held. The host's locks check that on every acquisition,
//! lockdep does in the kernel.

crate::sys::lock_class! {
    /// Data that is being cut off. A truncation holds it shared from before it takes pages away to the
    /// end of the transaction with the new size; in between, the data is in neither. Whoever says that
    /// data is durable has it exclusively for a moment, behind the last look at the page cache.
    /// Protects no data. After i_rwsem and the invalidate lock, before folio locks. Sleeps.
    pub CutLock = "latchfs_cut", rank 40;

    /// The gate between commits (shared, while one flips bits of the bitmaps, copies what it changed
    /// into the open context of the log, and changes counters) and a checkpoint (exclusive, while it
    /// closes the context and samples the counters). Protects no data: it makes what a checkpoint has
    /// a state between transactions. After every ILOCK and AG inode lock. Sleeps.
    pub TxnGate = "latchfs_txn_gate", rank 92;

    /// The open context of the log: its slots, and which slot an item has. Spins.
    pub CilLock = "latchfs_cil", rank 132;

    /// Who may write how much into the log, and who waits. Spins.
    pub LogSpaceLock = "latchfs_log_space", rank 133;

    /// Whether somebody makes a checkpoint, and the memory for its blocks. Nothing is taken under
    /// it. Spins.
    pub LogTurn = "latchfs_log_turn", rank 134;

    /// Blocks that wait to be discarded. Spins.
    pub DiscardLock = "latchfs_discard", rank 135;

    /// Free space of one allocation group: free-extent indexes, claimed and busy sets, the pool of
    /// metadata blocks. Under it bitmap blocks are read. Sleeps.
    pub AgSpaceLock = "latchfs_ag_space", rank 95;

    /// Content of one metadata buffer. Held shared by readers and by writeback, exclusively by a
    /// transaction while it changes bytes. Several only in `Txn::modify2` (by block number) and in
    /// precommit (bitmap blocks ascending). Sleeps.
    pub BufContent = "latchfs_buf", rank 100;

    /// Turns of the pusher: one round over the AIL at a time. Nothing of the engine is held but a
    /// folio lock, and what may be held by whoever waits for log space. Sleeps.
    pub AilPush = "latchfs_ail_push", rank 91;

    /// The active item list: which items are on it, in what order, in what flush state, and where
    /// the pusher is. Under it buffers are locked by try, and nothing else is taken. Spins.
    pub AilLock = "latchfs_ail", rank 130;

    /// What the write of one buffer owns: its flush tokens, and the count of its failures. Nothing
    /// is taken under it. Spins.
    pub BufFlight = "latchfs_buf_flight", rank 148;

    /// One shard of the buffer cache: its hash chains. Spins.
    pub BufShardLock = "latchfs_buf_shard", rank 150;

    /// Writes of the superblock and its copies, one at a time, so that the newest is the last one.
    /// Nothing but [`SuperLock`] is taken under it. Sleeps.
    pub SuperTurn = "latchfs_super_turn", rank 128;

    /// Superblock fields that change while mounted: label, counters as of the last checkpoint,
    /// error records. Nothing is taken under it. Spins.
    pub SuperLock = "latchfs_super", rank 160;

    /// One inode: its core, its forks, its extent index and every metadata block it owns. Several
    /// by ascending number, that of a new inode last. Held from the first change to the end of the
    /// commit. Sleeps.
    pub Ilock = "latchfs_ilock", rank 80;

    /// The inodes of one allocation group: its inode map, the extents of its two hidden files, its
    /// inode counts. Shared to find an inode's block or a free number, exclusively from the first
    /// change to the end of the commit. Several by ascending group. Sleeps.
    pub AgInodeLock = "latchfs_ag_inode", rank 90;

    /// Claimed inode numbers of one allocation group and the hints where free ones are. Spins.
    pub InodeClaims = "latchfs_ino_claims", rank 140;

    /// List of the inodes of one allocation group that nobody can open any more. Spins.
    pub InodeGcList = "latchfs_inodegc", rank 142;

    /// List of the chunks of one allocation group that may be empty. Spins.
    pub EmptyChunks = "latchfs_empty_chunks", rank 142;

    /// One shard of the inode cache. Spins.
    pub InodeShard = "latchfs_inode_shard", rank 145;

    /// The background work of inodegc, while it is started or stopped. Spins.
    pub GcWorkersLock = "latchfs_gc_workers", rank 146;

    /// Errors that are to be recorded in the superblock. Nothing is taken under it. Spins.
    pub FaultLock = "latchfs_faults", rank 165;

    /// Blocks kept for one file that grows. Whoever needs space takes it without the file's ILOCK; its
    /// own file takes it under that. Sleeps.
    pub WindowLock = "latchfs_window", rank 94;

    /// List of the windows of a mount. Nothing is taken under it. Spins.
    pub WindowList = "latchfs_windows", rank 147;

    /// Blocks of one ordered extent: claims that no completion has used yet. Sleeps.
    pub OrderedBlocks = "latchfs_ordered", rank 88;
}
