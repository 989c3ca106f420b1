// SPDX-License-Identifier: GPL-2.0

//! The disk as the log has made it so far, and what a crash state differs in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use latchfs_engine::format::{Block, BLOCK_SIZE};
use latchfs_host::{device::Backend, Device, Errno, SysResult};

/// Bytes that a disk writes in one piece.
pub const SECTOR: usize = 512;

/// Blocks that differ.
pub type Patch = BTreeMap<u64, Box<Block>>;

/// The durable content of the disk.
#[derive(Clone)]
pub struct Base {
    bytes: Arc<RwLock<Vec<u8>>>,
}

impl Base {
    /// Reads an image.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        Ok(Self {
            bytes: Arc::new(RwLock::new(bytes)),
        })
    }

    /// Blocks.
    fn blocks(&self) -> u64 {
        (self.bytes().len() / BLOCK_SIZE) as u64
    }

    fn bytes(&self) -> std::sync::RwLockReadGuard<'_, Vec<u8>> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a write durable. What lies beyond the end is ignored.
    pub fn write(&self, at: u64, data: &[u8]) {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let place = bytes.iter_mut().skip(at as usize);
        for (to, from) in place.zip(data) {
            *to = *from;
        }
    }

    /// A copy of one block.
    pub fn block(&self, block: u64) -> Box<Block> {
        let mut copy = Box::new([0; BLOCK_SIZE]);
        let start = block as usize * BLOCK_SIZE;
        if let Some(from) = self.bytes().get(start..start + BLOCK_SIZE) {
            copy.copy_from_slice(from);
        }
        copy
    }

    /// Writes the disk with a patch on it to an image.
    pub fn save(&self, patch: &Patch, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.write_all_at(&self.bytes(), 0)?;
        for (block, data) in patch {
            file.write_all_at(&data[..], block * BLOCK_SIZE as u64)?;
        }
        Ok(())
    }
}

/// Applies a write to a patch, sector by sector as `wanted` says.
pub fn patch_write(
    base: &Base,
    patch: &mut Patch,
    at: u64,
    data: &[u8],
    mut wanted: impl FnMut() -> bool,
) {
    for (n, sector) in data.chunks(SECTOR).enumerate() {
        if !wanted() {
            continue;
        }
        let byte = at + (n * SECTOR) as u64;
        let block = byte / BLOCK_SIZE as u64;
        let start = (byte % BLOCK_SIZE as u64) as usize;
        let content = patch.entry(block).or_insert_with(|| base.block(block));
        if let Some(place) = content.get_mut(start..start + sector.len()) {
            place.copy_from_slice(sector);
        }
    }
}

/// What was done to a disk.
#[derive(Clone)]
pub enum Event {
    /// A block was written.
    Write(u64, Box<Block>),
    /// Everything before is durable.
    Flush,
}

/// A disk in a crash state. What is written to it stays in memory, and is remembered in order.
pub struct Disk {
    base: Base,
    over: Mutex<Patch>,
    events: Mutex<Vec<Event>>,
}

impl Disk {
    /// In the state of `base` with `patch` on it.
    pub fn new(base: &Base, patch: Patch) -> Arc<Self> {
        Arc::new(Self {
            base: base.clone(),
            over: Mutex::new(patch),
            events: Mutex::new(Vec::new()),
        })
    }

    /// As a device.
    pub fn device(self: &Arc<Self>) -> Device {
        Device::new(self.clone(), false)
    }

    /// What was written so far.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Backend for Disk {
    fn blocks(&self) -> u64 {
        self.base.blocks()
    }

    fn read(&self, block: u64, buf: &mut Block) -> SysResult<()> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        match over.get(&block) {
            Some(data) => buf.copy_from_slice(&data[..]),
            None => {
                let bytes = self.base.bytes();
                let start = block as usize * BLOCK_SIZE;
                let from = bytes.get(start..start + BLOCK_SIZE).ok_or(Errno::IO)?;
                buf.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn write(&self, block: u64, buf: &Block) -> SysResult<()> {
        let copy = Box::new(*buf);
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(Event::Write(block, copy.clone()));
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.insert(block, copy);
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(Event::Flush);
        Ok(())
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }
}
