// SPDX-License-Identifier: GPL-2.0

//! Sync, remount, shutdown, unmount.

use super::*;
use crate::format::superblock::STATE_CLEAN;
use crate::sys;
use zerocopy::little_endian::U16;

impl Mount {
    /// Everything that was done before this call is durable after it, and files that were deleted
    /// have given their space back. May sleep; nothing may be held.
    ///
    /// Errors: EIO. What could not be written is still dirty, and the next call tries again.
    pub fn sync(self: &Arc<Self>) -> Result {
        self.check_live()?;
        if self.read_only() {
            return Ok(());
        }
        if self.check_faults().is_err() {
            // After an error nothing new is begun, but what was committed is not given up.
            return self.checkpoint();
        }
        hooks::drain_inodes(self)?;
        self.checkpoint()?;
        if hooks::reap_inodes(self)? {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Makes the mount read-only (after a sync; the file system on disk is then clean), or
    /// writable again. The VFS has seen to it that nobody writes. May sleep.
    ///
    /// Errors: EIO; EROFS if the device, unknown features or recorded errors do not allow it.
    pub fn set_read_only(self: &Arc<Self>, read_only: bool) -> Result {
        if read_only == self.read_only() {
            return Ok(());
        }
        if read_only {
            self.sync()?;
            if self.faults.count() == 0 {
                self.mark_clean()?;
            }
            self.flags.fetch_or(flag::READ_ONLY, Ordering::AcqRel);
            return Ok(());
        }
        self.check_live()?;
        let can_write = self.superblock(Superblock::can_write)?;
        if self.buf.device().read_only() || !can_write || self.faults.count() != 0 {
            return Err(Error::new(Errno::ROFS));
        }
        self.begin_writing()
    }

    /// Stops everything: from now on nothing is written, all changes fail with EIO. Does not
    /// sleep. The first reason is logged.
    pub fn shutdown(&self, why: &str) {
        let old = self.flags.fetch_or(flag::SHUTDOWN, Ordering::AcqRel);
        if old & flag::SHUTDOWN == 0 {
            sys::pr_err!("shut down: {}\n", why);
        }
    }

    /// The superblock says that everything is in its place. After a checkpoint with nothing since.
    fn mark_clean(&self) -> Result {
        self.write_super(|sb| sb.state = U16::new(sb.state.get() | STATE_CLEAN))?;
        Ok(self.buf.device().flush()?)
    }

    /// Unmounts: nobody uses the file system any more. Always ends; what cannot be written is
    /// lost, which the error says. May sleep.
    ///
    /// The order: deleted files, background work, a checkpoint, the clean flag, the caches.
    pub fn unmount(self: &Arc<Self>) -> Result {
        if self.flags.fetch_or(flag::CLOSED, Ordering::AcqRel) & flag::CLOSED != 0 {
            return Ok(());
        }
        let mut verdict = Ok(());
        if !self.is_shutdown() && !self.read_only() {
            verdict = self.sync();
        }
        let item = self.background.lock().take();
        if let Some(item) = item {
            item.stop();
        }
        if !self.is_shutdown() && !self.read_only() {
            verdict = verdict.and(self.checkpoint());
            if verdict.is_ok() && self.faults.count() == 0 {
                verdict = self.mark_clean();
            }
        }
        hooks::drop_inodes(self);

        let (lost, held) = self.buf.purge();
        if lost != 0 {
            sys::pr_err!("{} dirty metadata blocks were lost\n", lost);
        }
        if held != 0 {
            sys::pr_err!("{} metadata blocks are still in use\n", held);
        }
        verdict
    }
}
