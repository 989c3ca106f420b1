// SPDX-License-Identifier: GPL-2.0

//! A mounted file system, and an open file on it.

use crate::{
    direct::Dio, errno, folio::Mapping, ioend::Ioend, Errno, InvalidateLock, IoendLock, Ioends,
    Iolock, Result, PAGE,
};
use latchfs_engine::{
    engine::{
        extents::View,
        file,
        inode::{self, InodeRef},
        mount::MountOpts,
        namespace::{self, NewInode},
        Mount,
    },
    format::{
        make::{make, MakeParams},
        DiskBlock, Geometry, Ino,
    },
};
use latchfs_host::{device::MemDisk, Arc, Block, Device, RwSem, Spin, Time};
use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// A file system on a disk in memory.
pub struct Fs {
    /// The disk.
    pub disk: Arc<MemDisk>,
    /// The mount.
    pub m: Arc<Mount>,
}

impl Fs {
    /// Makes and mounts a file system of `blocks` blocks. What of the disk the file system does not
    /// use is filled with `poison`, so that a read that shows what the device had before is noticed.
    pub fn new(blocks: u64, poison: Option<u8>) -> Self {
        let disk = Arc::new(MemDisk::new(blocks));
        let dev = Device::new(disk.clone(), false);
        if let Some(byte) = poison {
            let mut block = Block::try_zeroed().expect("memory");
            block.fill(byte);
            for at in 0..blocks {
                dev.write_block(at, &block).expect("a disk in memory");
            }
        }
        let geometry = Geometry::for_device(blocks, None).expect("a legal size");
        let params = MakeParams {
            uuid: [1; 16],
            instance: 0x0102_0304_0506_0708,
            hash_seed: 42,
            label: b"pagecache",
            now: (1_000_000_000, 0),
            uid: 0,
            gid: 0,
            root_mode: 0o755,
            root_generation: 1,
        };
        let mut scratch = Block::try_zeroed().expect("memory");
        let out = RefCell::new(Block::try_zeroed().expect("memory"));
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
        .expect("mkfs");
        let m = Self::mount(&disk);
        Self { disk, m }
    }

    /// Mounts what is on the disk.
    pub fn mount(disk: &Arc<MemDisk>) -> Arc<Mount> {
        let m = Mount::open(Device::new(disk.clone(), false), MountOpts::default()).expect("mount");
        namespace::recover_orphans(&m).expect("orphans");
        m
    }

    /// Unmounts and mounts again. All files must have been closed.
    pub fn remount(&mut self) {
        self.m.unmount().expect("unmount");
        self.m = Self::mount(&self.disk);
    }

    /// Creates a file in the root directory and opens it.
    pub fn create(&self, name: &[u8]) -> File {
        self.try_create(name).expect("create")
    }

    /// [`Self::create`], where there may be no space for an inode.
    pub fn try_create(&self, name: &[u8]) -> Result<File> {
        let root = inode::iget(&self.m, self.m.root_ino()).expect("root");
        let new = NewInode {
            mode: 0o100644,
            ..NewInode::default()
        };
        let inode = namespace::create(&self.m, &root, name, &new).map_err(errno)?;
        Ok(File::over(self.m.clone(), inode))
    }

    /// Opens a file.
    pub fn open(&self, ino: Ino) -> File {
        File::over(self.m.clone(), inode::iget(&self.m, ino).expect("iget"))
    }

    /// Unlinks a file that is closed.
    pub fn unlink(&self, name: &[u8]) {
        let root = inode::iget(&self.m, self.m.root_ino()).expect("root");
        let inode = namespace::lookup(&self.m, &root, name)
            .expect("lookup")
            .expect("the file exists");
        namespace::unlink(&self.m, &root, name, &inode, Time::default()).expect("unlink");
        namespace::inactivate_later(&self.m, inode);
    }

    /// Blocks that are available after everything pending is done.
    pub fn available(&self) -> u64 {
        self.m.sync().expect("sync");
        self.m.alloc().check(true).expect("free space");
        self.m.alloc().available()
    }
}

/// What is to fail.
#[derive(Default)]
pub struct Fail {
    /// Data writes, with EIO.
    pub data_writes: AtomicBool,
    /// `iomap_add_to_ioend` behind a converted range, with EIO.
    pub add_to_ioend: AtomicBool,
}

/// An open file with its page cache.
pub struct File {
    pub(crate) m: Arc<Mount>,
    /// The engine's inode.
    pub inode: InodeRef,
    /// `i_rwsem`.
    pub(crate) iolock: RwSem<(), Iolock>,
    /// `mapping->invalidate_lock`.
    pub(crate) invalidate: RwSem<(), InvalidateLock>,
    pub(crate) mapping: Mapping,
    pub(crate) size: AtomicU64,
    /// When ioends are carried out.
    pub ioends: Ioends,
    pub(crate) queue: Spin<Vec<Ioend>, IoendLock>,
    /// `i_dio_count`
    pub(crate) dios: AtomicU64,
    /// Direct writes that are not carried out yet.
    pub(crate) dio_queue: Spin<Vec<Dio>, IoendLock>,
    /// Errors to inject.
    pub fail: Fail,
    /// Largest folio, in pages (a power of two).
    pub folio_pages: u64,
    /// `wb_err`: an error that nobody was told about yet.
    wb_err: Spin<Option<Errno>, IoendLock>,
    /// Data was lost with an error, or a truncation failed half way, some time: the size on disk may
    /// stay another one.
    pub(crate) lost: AtomicBool,
    seed: AtomicU64,
    /// How often a mapping was found stale under the folio lock.
    pub stale: AtomicU64,
}

impl File {
    /// Opens an inode of a mount.
    pub fn over(m: Arc<Mount>, inode: InodeRef) -> Self {
        let size = inode.attrs().size;
        Self {
            m,
            inode,
            iolock: RwSem::new(()),
            invalidate: RwSem::new(()),
            mapping: Mapping::new(),
            size: AtomicU64::new(size),
            ioends: Ioends::Now,
            queue: Spin::new(Vec::new()),
            dios: AtomicU64::new(0),
            dio_queue: Spin::new(Vec::new()),
            fail: Fail::default(),
            folio_pages: 16,
            wb_err: Spin::new(None),
            lost: AtomicBool::new(false),
            seed: AtomicU64::new(0x9e37_79b9),
            stale: AtomicU64::new(0),
        }
    }

    /// Chooses how ioends are carried out.
    pub fn set_ioends(&mut self, ioends: Ioends) {
        self.ioends = ioends;
        if let Ioends::Later(seed) = ioends {
            self.seed = AtomicU64::new(seed | 1);
        }
    }

    pub(crate) fn random(&self) -> u64 {
        let mut x = self.seed.load(Ordering::Relaxed);
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.seed.store(x, Ordering::Relaxed);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn ino(&self) -> u64 {
        self.inode.ino.0
    }

    /// `i_size_read`.
    pub fn i_size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn set_i_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// `mapping_set_error`.
    pub(crate) fn set_error(&self, error: Errno) {
        self.lost.store(true, Ordering::Relaxed);
        self.wb_err.lock().get_or_insert(error);
    }

    /// The error that the next fsync will tell.
    pub(crate) fn wb_error(&self) -> Option<Errno> {
        *self.wb_err.lock()
    }

    /// `file_check_and_advance_wb_err`.
    pub fn take_error(&self) -> Result {
        match self.wb_err.lock().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// fsync(2) of bytes `start ..= last`.
    pub fn fsync(&self, start: u64, last: u64) -> Result {
        self.sync_range(start, last, false)
    }

    /// fdatasync(2) of bytes `start ..= last`; also what follows a write with O_DSYNC.
    pub fn fdatasync(&self, start: u64, last: u64) -> Result {
        self.sync_range(start, last, true)
    }

    fn sync_range(&self, start: u64, last: u64, datasync: bool) -> Result {
        let from = file::fsync_from(&self.inode, start, last);
        let upto = file::fsync_upto(&self.inode, last);
        self.write_and_wait(from, last);
        self.take_error()?;
        // A truncation takes the size down before it takes pages away.
        let upto = upto.min(self.i_size());
        file::fsync_metadata(&self.m, &self.inode, upto, datasync).map_err(errno)
    }

    /// Closes the file and drops its page cache: final iput. Dirty data is written first unless the
    /// file has no name.
    pub fn close(self) {
        self.dio_wait();
        if self.inode.attrs().nlink != 0 {
            self.write_and_wait(0, u64::MAX);
            self.check_size();
        }
        self.truncate_pagecache(0, true);
        assert!(!self.run_one(), "an ioend is left");
        let m = self.m.clone();
        namespace::inactivate_later(&m, self.inode);
    }

    /// All data is on disk, so the size is, too: nothing would bring it there later.
    fn check_size(&self) {
        if !self.lost.load(Ordering::Relaxed) && !self.m.is_shutdown() && !self.m.read_only() {
            let on_disk = self.inode.file.disk_size();
            assert_eq!(on_disk, self.i_size(), "the size on disk lags behind");
        }
    }

    /// Checks E1 and D5 (races.md): every dirty block has a mapping, every delayed block is dirty.
    /// Nobody else may be at work on the file.
    pub fn check(&self) {
        let size = self.i_size();
        let mut dirty = std::collections::BTreeSet::new();
        for folio in self.mapping.all(0, u64::MAX) {
            let data = folio.lock();
            for (n, block) in data.blocks.iter().enumerate() {
                let at = folio.index + n as u64;
                if block.dirty && data.dirty {
                    dirty.insert(at);
                }
            }
        }
        let pieces: Vec<_> = self.inode.ilock.read().index.pieces().collect();
        for piece in pieces {
            let blocks = piece.file.0..piece.end().0;
            match piece.view {
                View::Delayed => {
                    let clean = blocks.into_iter().find(|at| !dirty.contains(at));
                    assert_eq!(clean, None, "a block is delayed and not dirty");
                }
                // Large folios have dirty blocks behind what was the end of the file.
                View::Hole => {
                    let mut lost = dirty.range(blocks);
                    let lost = lost.find(|at| **at * PAGE < size && !self.is_zero(**at));
                    assert_eq!(lost, None, "a block is dirty over a hole");
                }
                _ => {}
            }
        }
    }

    /// Whether a block of bytes `start .. end` is dirty.
    pub fn is_dirty(&self, start: u64, end: u64) -> bool {
        (start / PAGE..end.div_ceil(PAGE)).any(|page| {
            self.mapping.find(page).is_some_and(|folio| {
                let data = folio.lock();
                data.dirty && data.blocks[(page - folio.index) as usize].dirty
            })
        })
    }

    fn is_zero(&self, page: u64) -> bool {
        let Some(folio) = self.mapping.find(page) else {
            return true;
        };
        let data = folio.lock();
        let at = ((page - folio.index) * PAGE) as usize;
        data.data[at..at + PAGE as usize].iter().all(|b| *b == 0)
    }
}
