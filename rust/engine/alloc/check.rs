// SPDX-License-Identifier: GPL-2.0

//! The allocator against the bitmaps.

use super::*;

impl Alloc {
    /// Checks, for every bitmap block something is known about (`all`: for every one), that its
    /// zero bits are exactly what the group believes, and that promises and blocks add up. No
    /// transaction is open and none is begun meanwhile. May sleep for I/O. For tests and debug
    /// builds: reads all bitmaps concerned.
    ///
    /// Errors: EUCLEAN, with the difference in the log.
    pub fn check(&self, all: bool) -> Result {
        for ag in self.ags.iter() {
            ag.group.lock().check(&self.cache, all)?;
        }
        Ok(())
    }
}
