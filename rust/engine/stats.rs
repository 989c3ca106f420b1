// SPDX-License-Identifier: GPL-2.0

//! Counters of what happened since mount: for tests, benchmarks and sysfs. No function depends on
//! them, so they are relaxed.

use crate::sys::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $count:ident;)*) => {
        /// The counters of one mount.
        #[derive(Default)]
        pub struct Stats {
            $($name: AtomicU64,)*
        }

        impl Stats {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> u64 {
                    self.$name.load(Ordering::Relaxed)
                }

                /// Adds to the counter of the same name.
                pub(crate) fn $count(&self, n: u64) {
                    self.$name.fetch_add(n, Ordering::Relaxed);
                }
            )*
        }
    };
}

counters! {
    /// Transactions committed.
    commits, add_commits;
    /// Checkpoints made.
    checkpoints, add_checkpoints;
    /// Blocks written to the log.
    log_blocks, add_log_blocks;
    /// Transactions that had to wait for room in the log.
    log_waits, add_log_waits;
    /// Blocks discarded.
    discarded, add_discarded;
    /// Inodes created.
    creates, add_creates;
}

impl Stats {
    /// A checkpoint wrote `blocks` blocks to the log.
    pub(crate) fn count_checkpoint(&self, blocks: u64) {
        self.add_checkpoints(1);
        self.add_log_blocks(blocks);
    }

    /// An inode was created.
    pub(crate) fn count_create(&self) {
        self.add_creates(1);
    }
}
