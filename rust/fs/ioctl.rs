// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): stopping the file system, trimming it.

use super::error::Edge as _;
use super::Latchfs;
use super::SuperBlock;
use crate::kapi::ioctl::IoctlOps;
use crate::kapi::ioctl::Shutdown;
use crate::kapi::ioctl::TrimRange;
use kernel::prelude::*;

/// The reason that is logged.
const WHY: &str = "somebody asked for it (FS_IOC_SHUTDOWN)";

impl IoctlOps for Latchfs {
    /// As `xfs_fs_goingdown()`.
    fn goingdown(sb: &SuperBlock, how: Shutdown) -> Result {
        let m = &sb.data().mount;
        match how {
            Shutdown::Default => {
                // A file system that cannot be frozen is left alone, as XFS leaves it.
                let _ = sb.with_frozen(|| m.shutdown(WHY));
            }
            Shutdown::LogFlush => {
                // A log that cannot be written is one more reason.
                if !m.read_only() {
                    let _ = m.checkpoint();
                }
                m.shutdown(WHY);
            }
            Shutdown::NoLogFlush => m.shutdown(WHY),
        }
        Ok(())
    }

    fn trim(_sb: &SuperBlock, _range: &mut TrimRange) -> Result {
        Err(EOPNOTSUPP)
    }
}
