// SPDX-License-Identifier: GPL-2.0

//! Headers of the allocation groups.

use latchfs_engine::format::{BlockKind, Owner};

use crate::check::{Checker, Group, Pass, Read};
use crate::problem::Problem;

impl Checker<'_> {
    /// Reads all headers. A group without a usable one has no inodes as far as the check goes.
    pub fn check_groups(&mut self) -> Pass {
        let geometry = self.context.geometry;
        self.progress
            .begin("allocation groups", u64::from(geometry.ag_count()));
        for ag in geometry.ags() {
            self.progress.step();
            let mut group = Group::default();
            let Some(block) = geometry.header_block(ag) else {
                continue;
            };
            match self.read(block, BlockKind::AgHeader, Owner::ag(ag)) {
                Read::Good(header) => group.header = Some(header),
                Read::Sound(header, defect) => {
                    group.header = Some(header);
                    self.report(Problem::AgHeaderDamaged { ag, block, defect })?;
                }
                Read::Bad(defect) => {
                    self.report(Problem::AgHeaderDamaged { ag, block, defect })?;
                }
                Read::Unreadable(error) => {
                    self.report(Problem::ReadError {
                        block,
                        error,
                        what: "AG header",
                    })?;
                }
            }
            group.whole = group.header.is_some();
            self.groups.push(group);
        }
        Ok(())
    }
}
