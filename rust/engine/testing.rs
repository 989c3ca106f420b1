// SPDX-License-Identifier: GPL-2.0

//! A mounted file system in memory, for the tests of ring 1.

pub(crate) mod check;
#[cfg(latchfs_races)]
pub(crate) mod race_table;
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
pub(crate) mod races;
#[cfg(feature = "shuttle")]
pub(crate) mod schedules;

use crate::engine::{
    mount::{
        Mount,
        MountOpts, //
    },
    txn::{
        Txn,
        TxnRes, //
    },
    Result, //
};
use crate::format::{
    make::{
        make,
        MakeParams, //
    },
    DiskBlock,
    Geometry, //
};
use crate::sys::{
    device::MemDisk,
    Arc,
    Block,
    Device, //
};
use std::cell::RefCell;

/// A new file system on a disk in memory, and its mount.
pub(crate) struct Fixture {
    /// The disk; shows what was read and written, and fails on demand.
    pub(crate) disk: Arc<MemDisk>,
    /// The mount.
    pub(crate) m: Arc<Mount>,
}

impl Fixture {
    /// Makes and mounts a file system of `blocks` blocks.
    pub(crate) fn new(blocks: u64) -> Self {
        Self::with_groups(blocks, None)
    }

    /// [`Self::new`], with allocation groups of this size.
    pub(crate) fn with_groups(blocks: u64, ag_blocks: Option<u32>) -> Self {
        let disk = Self::disk(blocks, ag_blocks);
        let m = Self::mount(&disk);
        Self { disk, m }
    }

    /// A new file system, not mounted.
    pub(crate) fn disk(blocks: u64, ag_blocks: Option<u32>) -> Arc<MemDisk> {
        let disk = Arc::new(MemDisk::new(blocks));
        let dev = Device::new(disk.clone(), false);
        let geometry = Geometry::for_device(blocks, ag_blocks).unwrap();
        let params = MakeParams {
            uuid: [7; 16],
            instance: 0x1122_3344_5566_7788,
            hash_seed: 0x0123_4567_89ab_cdef,
            label: b"test",
            now: (1_000_000_000, 0),
            uid: 0,
            gid: 0,
            root_mode: 0o755,
            root_generation: 1,
        };
        let mut scratch = Block::try_zeroed().unwrap();
        let out = RefCell::new(Block::try_zeroed().unwrap());
        make(
            &geometry,
            &params,
            &mut scratch,
            &mut |at: DiskBlock, block: &_| {
                let mut out = out.borrow_mut();
                out.copy_from_slice(&block[..]);
                dev.write_block(at.0, &out)
            },
        )
        .unwrap();
        disk
    }

    /// Mounts what is on the disk.
    pub(crate) fn mount(disk: &Arc<MemDisk>) -> Arc<Mount> {
        let dev = Device::new(disk.clone(), false);
        Mount::open(dev, MountOpts::default()).unwrap()
    }

    /// Opens a transaction, calls `f`, commits if it succeeds. After an error of `f` the
    /// transaction is dropped, which is a shutdown if something was changed.
    pub(crate) fn change<R>(
        &self,
        res: TxnRes,
        f: impl FnOnce(&Mount, &mut Txn<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut txn = self.m.begin(res)?;
        let r = f(&self.m, &mut txn)?;
        txn.commit()?;
        Ok(r)
    }

    /// Unmounts and mounts again: nothing is cached.
    pub(crate) fn remount(&mut self) {
        self.m.unmount().unwrap();
        self.remount_only();
    }

    /// Mounts again after an unmount.
    pub(crate) fn remount_only(&mut self) {
        self.m = Self::mount(&self.disk);
    }

    /// [`Self::remount`] with other options.
    pub(crate) fn remount_with(&mut self, opts: MountOpts) {
        self.m.unmount().unwrap();
        let dev = Device::new(self.disk.clone(), false);
        self.m = Mount::open(dev, opts).unwrap();
    }

    /// Blocks read from the disk so far.
    pub(crate) fn reads(&self) -> u64 {
        self.disk.io_counts().0
    }

    /// Free blocks after a checkpoint.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.m.sync().unwrap();
        self.m.alloc().free()
    }
}
