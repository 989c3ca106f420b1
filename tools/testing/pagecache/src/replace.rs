// SPDX-License-Identifier: GPL-2.0

//! rename(2) over a file, as ring 3 does it.

use crate::{errno, File, Result};
use latchfs_engine::engine::file;

impl File {
    /// The file is about to take the place of another one: its data first, if it has any that is not
    /// on disk at all. Whether it was all written.
    pub fn write_before_replacing(&self) -> Result<bool> {
        if !file::has_new_data(&self.inode) {
            return Ok(false);
        }
        let upto = file::fsync_upto(&self.inode, u64::MAX);
        self.write_and_wait(0, u64::MAX);
        if self.wb_error().is_some() {
            // fsync will tell.
            return Ok(false);
        }
        file::settle_size(&self.m, &self.inode, upto).map_err(errno)?;
        Ok(true)
    }
}
