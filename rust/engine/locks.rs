// SPDX-License-Identifier: GPL-2.0

//! Every lock of ring 1: its class, what it protects, what it nests in.
//!
//! The rank is ten times the level of the hierarchy in Documentation/locking.rst; a lock may be
//! taken while only lower ranks are held. The host's locks check that on every acquisition,
//! lockdep does in the kernel.

crate::sys::lock_class! {
    /// Serialises checkpoints. Taken with at most a folio lock held. Sleeps.
    pub CheckpointLock = "latchfs_checkpoint", rank 62;

    /// The gate between transactions (shared, from begin to commit) and a checkpoint (exclusive,
    /// while it flushes inodes and picks buffers). Protects no data: it makes what a checkpoint
    /// writes a state between transactions. Before every ILOCK. Sleeps.
    pub TxnGate = "latchfs_txn_gate", rank 70;

    /// Free space of one allocation group: free-extent indexes, claimed and busy sets, the pool of
    /// metadata blocks. Under it bitmap blocks are read. Sleeps.
    pub AgSpaceLock = "latchfs_ag_space", rank 95;

    /// Content of one metadata buffer. Held shared by readers and by writeback, exclusively by a
    /// transaction while it changes bytes. Several only in `Txn::modify2` (by block number) and in
    /// precommit (bitmap blocks ascending). Sleeps.
    pub BufContent = "latchfs_buf", rank 100;

    /// One shard of the buffer cache: its hash chains and its list of dirty buffers. Spins.
    pub BufShardLock = "latchfs_buf_shard", rank 150;

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

    /// Which buffer has an inode's slot, and the log position of its last commit. Spins.
    pub InodeItem = "latchfs_inode_item", rank 141;

    /// List of the dirty inodes of one allocation group. Spins.
    pub InodeDirty = "latchfs_inode_dirty", rank 142;

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

    /// Blocks of one ordered extent: claims that no completion has used yet. Sleeps.
    pub OrderedBlocks = "latchfs_ordered", rank 88;
}
