// SPDX-License-Identifier: GPL-2.0

//! A disk over the base: only what differs takes memory, and nobody reads it forever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use latchfs_engine::format::{Block, BLOCK_SIZE};
use latchfs_host::{device::Backend, Device, Errno, SysResult};

use crate::base::Base;
use crate::mutate::Patch;

/// Reads and writes after which a disk says that its user does not end. A check of the sample takes
/// some thousands.
const BUDGET: u64 = 3_000_000;

/// A damaged disk.
pub struct Disk {
    base: Arc<BTreeMap<u64, Box<Block>>>,
    over: Mutex<Patch>,
    size: u64,
    used: AtomicU64,
}

impl Disk {
    /// A device with the blocks of `base` but for those of `patch`, of `size` blocks.
    pub fn device(base: &Base, patch: &Patch, size: u64) -> Device {
        let disk = Self {
            base: base.blocks.clone(),
            over: Mutex::new(patch.clone()),
            size,
            used: AtomicU64::new(0),
        };
        Device::new(Arc::new(disk), false)
    }

    fn count(&self) {
        let used = self.used.fetch_add(1, Ordering::Relaxed);
        assert!(used < BUDGET, "the disk is used without end");
    }
}

impl Backend for Disk {
    fn blocks(&self) -> u64 {
        self.size
    }

    fn read(&self, block: u64, buf: &mut Block) -> SysResult<()> {
        self.count();
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        match over.get(&block).or_else(|| self.base.get(&block)) {
            Some(data) => buf.copy_from_slice(&data[..]),
            None => buf.fill(0),
        }
        Ok(())
    }

    fn write(&self, block: u64, buf: &Block) -> SysResult<()> {
        self.count();
        let mut copy = Box::new([0; BLOCK_SIZE]);
        copy.copy_from_slice(buf);
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.insert(block, copy);
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        Ok(())
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }
}
