// SPDX-License-Identifier: GPL-2.0

//! A device whose writes stay in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use latchfs_engine::format::Block;
use latchfs_host::{device::Backend, Device, Errno, SysResult};

/// Reads what was written to it, and the rest from the device below, which it never changes.
pub struct Overlay {
    below: Arc<dyn Backend>,
    written: Mutex<HashMap<u64, Box<Block>>>,
}

impl Overlay {
    /// A device over `below` that can be written whatever `below` is.
    pub fn device(below: &Device) -> Device {
        let overlay = Self {
            below: below.backend().clone(),
            written: Mutex::default(),
        };
        Device::new(Arc::new(overlay), false)
    }
}

impl Backend for Overlay {
    fn blocks(&self) -> u64 {
        self.below.blocks()
    }

    fn read(&self, block: u64, buf: &mut Block) -> SysResult<()> {
        let written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(data) = written.get(&block) {
            buf.copy_from_slice(&data[..]);
            return Ok(());
        }
        drop(written);
        self.below.read(block, buf)
    }

    fn write(&self, block: u64, buf: &Block) -> SysResult<()> {
        let mut written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        written.insert(block, Box::new(*buf));
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        Ok(())
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }
}
