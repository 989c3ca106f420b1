// SPDX-License-Identifier: GPL-2.0

//! I/O of many blocks in a row: the log's writes, and its reading at mount.

use super::Device;
use crate::alloc::Block;
use crate::{Errno, SysResult};

impl Device {
    fn check_bulk(&self, start: u64, n: usize, write: bool) -> SysResult<()> {
        crate::might_sleep();
        if write && self.read_only {
            return Err(Errno::ROFS);
        }
        let end = start.checked_add(n as u64).ok_or(Errno::IO)?;
        if end > self.backend.blocks() {
            return Err(Errno::IO);
        }
        Ok(())
    }

    /// Writes blocks in a row and waits for them: one bio for each 1 MiB. `preflush`: what was
    /// completed before this call is durable before the first of them is. `fua`: they are durable
    /// when this returns. May sleep. EIO, EROFS and the like.
    pub fn write_log(
        &self,
        start: u64,
        blocks: &[Block],
        preflush: bool,
        fua: bool,
    ) -> SysResult<()> {
        self.check_bulk(start, blocks.len(), true)?;
        if blocks.is_empty() {
            return Ok(());
        }
        self.backend.write_log(start, blocks, preflush, fua)
    }

    /// Reads blocks in a row and waits for them. After an error their content is anything. May
    /// sleep. EIO and the like.
    pub fn read_blocks(&self, start: u64, blocks: &mut [Block]) -> SysResult<()> {
        self.check_bulk(start, blocks.len(), false)?;
        for (i, block) in blocks.iter_mut().enumerate() {
            self.backend.read(start + i as u64, block)?;
        }
        Ok(())
    }
}
