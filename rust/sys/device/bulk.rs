// SPDX-License-Identifier: GPL-2.0

//! I/O of many blocks in a row: the log's writes, and its reading at mount.

use super::super::alloc::Block;
use super::super::{check, might_sleep, Errno, SysResult};
use super::Device;
use crate::bindings;
use core::ffi::{c_uint, c_void};

/// The memory of block `index` of a list of blocks.
///
/// # Safety
///
/// `list` points to a `&[Block]` that is valid during the call, and `index` is in it.
unsafe extern "C" fn memory(list: *mut c_void, index: c_uint) -> *mut c_void {
    // SAFETY: As the caller promises.
    let list = unsafe { *list.cast::<&[Block]>() };
    list.get(index as usize)
        .map_or(core::ptr::null_mut(), Block::memory)
}

impl Device {
    /// Whether `n` blocks from `start` on are on the device, and may be written.
    fn admit_bulk(&self, start: u64, n: usize, write: bool) -> SysResult<c_uint> {
        might_sleep();
        if write && self.read_only() {
            return Err(Errno::ROFS);
        }
        let end = start.checked_add(n as u64).ok_or(Errno::IO)?;
        if end > self.blocks() {
            return Err(Errno::IO);
        }
        c_uint::try_from(n).map_err(|_| Errno::IO)
    }

    /// Writes blocks in a row and waits for them: one bio for each 1 MiB. `preflush`: what was
    /// completed before this call is durable before the first of them is. `fua`: they are durable
    /// when this returns. May sleep. EIO, EROFS and the like.
    pub(crate) fn write_log(
        &self,
        start: u64,
        blocks: &[Block],
        preflush: bool,
        fua: bool,
    ) -> SysResult<()> {
        let n = self.admit_bulk(start, blocks.len(), true)?;
        let mut flags = bindings::LATCHFS_BULK_WRITE;
        if preflush {
            flags |= bindings::LATCHFS_BULK_PREFLUSH;
        }
        if fua {
            flags |= bindings::LATCHFS_BULK_FUA;
        }
        let mut list = blocks;
        // SAFETY: The device is open. The list and its blocks, which nobody changes, live until the
        // call returns; `memory` is for such a list, and asked for the first `n` of it.
        check(unsafe {
            bindings::io_bulk(
                self.bdev(),
                start,
                n,
                Some(memory),
                (&raw mut list).cast(),
                flags,
            )
        })
    }

    /// Reads blocks in a row and waits for them. After an error their content is anything. May
    /// sleep. EIO and the like.
    pub(crate) fn read_blocks(&self, start: u64, blocks: &mut [Block]) -> SysResult<()> {
        let n = self.admit_bulk(start, blocks.len(), false)?;
        let mut list: &[Block] = blocks;
        // SAFETY: The device is open. The list and its blocks, which are ours alone, live until the
        // call returns; `memory` is for such a list, and asked for the first `n` of it.
        check(unsafe {
            bindings::io_bulk(
                self.bdev(),
                start,
                n,
                Some(memory),
                (&raw mut list).cast(),
                0,
            )
        })
    }
}
