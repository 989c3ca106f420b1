// SPDX-License-Identifier: GPL-2.0

//! Walking trees and extents of a file.
//!
//! Descending claims each node first, and a node that something else has is not descended into. So
//! a walk ends, whatever the image says: every block is entered at most once.

use std::collections::HashSet;

use latchfs_engine::format::{
    BlockKind, BlockRange, Defect, DefectKind, DiskBlock, Extent, ExtentRecord, FileBlock,
    TreeBlock, TreeKind, TreeRoot,
};

use crate::check::{Buf, Checker, Pass, Read};
use crate::problem::{FileId, Problem};

/// What a walk found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walked {
    /// Blocks: nodes and mapped ones.
    pub blocks: u64,
    /// Something could not be read.
    pub torn: bool,
}

/// A node to visit: where it is and what its parent says of it.
#[derive(Clone, Copy)]
struct Visit {
    at: DiskBlock,
    level: u8,
    /// Keys below this are wrong.
    low: u64,
    /// So are this and those above.
    high: Option<u64>,
}

/// Called with the block of each leaf, in key order.
pub(crate) type OnLeaf<'f, 'c> = &'f mut dyn FnMut(&mut Checker<'c>, DiskBlock, &TreeBlock) -> Pass;

impl<'c> Checker<'c> {
    /// Claims blocks for a file. False, with the problem reported, if something else has any.
    pub fn claim(&mut self, file: FileId, range: BlockRange) -> Pass<bool> {
        let taken = self.claims.claim(range);
        if self.observing {
            let shared = self.shared.iter().any(|shared| shared.overlaps(range));
            let known = |p: &Problem| matches!(p, Problem::BlockShared { file: f, range: r } if *f == file && r.overlaps(range));
            if shared && !self.problems().iter().any(known) {
                self.report(Problem::BlockShared { file, range })?;
            }
            return Ok(taken.is_empty());
        }
        for range in &taken {
            self.shared.push(*range);
            self.late.push((file, *range));
            self.report(Problem::BlockShared {
                file,
                range: *range,
            })?;
        }
        Ok(taken.is_empty())
    }

    /// Claims the blocks of extents that follow each other; `next` is the first file block that is
    /// still free.
    pub fn claim_extents(
        &mut self,
        file: FileId,
        records: &[ExtentRecord],
        next: &mut FileBlock,
        walked: &mut Walked,
        keep: &mut dyn FnMut(Extent),
    ) -> Pass {
        for extent in records.iter().map(ExtentRecord::unpack) {
            if extent.file < *next && !self.observing {
                self.report(Problem::ExtentOverlap {
                    file,
                    at: extent.file,
                })?;
            }
            *next = extent.end();
            walked.blocks += u64::from(extent.len);
            self.claim(file, extent.range())?;
            keep(extent);
        }
        Ok(())
    }

    /// Walks an extent tree, claiming nodes and blocks.
    pub fn walk_extents(
        &mut self,
        file: FileId,
        root: TreeRoot,
        keep: &mut dyn FnMut(Extent),
    ) -> Pass<Walked> {
        let mut next = FileBlock(0);
        let mut sums = Walked::default();
        let walked = self.walk(file, root, TreeKind::Extents, true, &mut |this, _, leaf| {
            this.claim_extents(file, leaf.extents(), &mut next, &mut sums, keep)
        })?;
        Ok(Walked {
            blocks: walked.blocks + sums.blocks,
            torn: walked.torn,
        })
    }

    /// Walks a tree and calls `leaf` with each leaf that could be read. With `claim` the nodes are
    /// claimed and defects reported; without, the tree was walked before and only its sound part is
    /// visited again, silently.
    pub fn walk(
        &mut self,
        file: FileId,
        root: TreeRoot,
        kind: TreeKind,
        claim: bool,
        leaf: OnLeaf<'_, 'c>,
    ) -> Pass<Walked> {
        let mut walked = Walked::default();
        let mut seen = HashSet::new();
        let Some(level) = root.depth.checked_sub(1) else {
            return Ok(walked);
        };
        // Nodes still to visit, the next one last: key order without recursion.
        let mut todo = vec![Visit {
            at: root.block,
            level,
            low: 0,
            high: None,
        }];
        while let Some(visit) = todo.pop() {
            let fresh = if claim {
                self.claim(file, BlockRange::new(visit.at, 1))?
            } else {
                seen.insert(visit.at)
            };
            let block = match fresh {
                true => self.node(file, visit, kind, claim)?,
                false => None,
            };
            let Some(block) = block else {
                walked.torn = true;
                continue;
            };
            walked.blocks += 1;
            let node = TreeBlock::of(&block);
            if visit.level == 0 {
                leaf(self, visit.at, node)?;
                continue;
            }
            let entries = node.entries();
            for (n, entry) in entries.iter().enumerate().rev() {
                todo.push(Visit {
                    at: DiskBlock(entry.child.get()),
                    level: visit.level - 1,
                    low: entry.key.get(),
                    high: entries
                        .get(n + 1)
                        .map_or(visit.high, |next| Some(next.key.get())),
                });
            }
        }
        Ok(walked)
    }

    /// Reads a node and checks what its parent says of it. [`None`] if it cannot be used.
    fn node(
        &mut self,
        file: FileId,
        visit: Visit,
        kind: TreeKind,
        loud: bool,
    ) -> Pass<Option<Buf>> {
        let loud = loud && !self.observing;
        let at = visit.at;
        let (block, problem) = match self.read(at, BlockKind::Tree, file.owner()) {
            Read::Good(block) => (Some(block), None),
            Read::Sound(block, defect) => {
                let problem = Problem::NodeDamaged {
                    file,
                    block: at,
                    defect,
                };
                (Some(block), Some(problem))
            }
            Read::Bad(defect) => {
                let problem = Problem::NodeDamaged {
                    file,
                    block: at,
                    defect,
                };
                (None, Some(problem))
            }
            Read::Unreadable(error) => {
                let problem = Problem::ReadError {
                    block: at,
                    error,
                    what: "tree node",
                };
                (None, Some(problem))
            }
        };
        if let (true, Some(problem)) = (loud, problem) {
            self.report(problem)?;
        }
        let Some(block) = block else {
            return Ok(None);
        };

        let node = TreeBlock::of(&block);
        let wrong = if !apart(node) {
            // Lengths add up in such a leaf, which is all that the verifier looks at.
            Some(Problem::NodeDamaged {
                file,
                block: at,
                defect: Defect::new("slot", DefectKind::Mismatch),
            })
        } else if node.kind != kind as u8 {
            Some(Problem::NodeKind { file, block: at })
        } else if node.level != visit.level {
            Some(Problem::NodeLevel {
                file,
                block: at,
                found: node.level,
                expected: visit.level,
            })
        } else if !keys_fit(node, kind, visit) {
            Some(Problem::NodeKeys { file, block: at })
        } else {
            None
        };
        let Some(problem) = wrong else {
            return Ok(Some(block));
        };
        if loud {
            self.report(problem)?;
        }
        Ok(None)
    }
}

/// Whether the records of a slotted leaf lie apart from each other.
fn apart(node: &TreeBlock) -> bool {
    let len = |n: usize| match TreeKind::from_disk(node.kind) {
        Some(TreeKind::Dirents) => node.dirent(n).map(|entry| entry.len()),
        Some(TreeKind::Attrs) => node.attr(n).map(|attr| attr.record_len()),
        _ => None,
    };
    if node.level != 0 {
        return true;
    }
    let mut places: Vec<(usize, usize)> = (0..node.count())
        .filter_map(|n| Some((node.slot(n)?, len(n)?)))
        .collect();
    places.sort_unstable();
    places
        .windows(2)
        .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
}

/// Whether first and last key of a node are in the range that its parent gives it.
fn keys_fit(node: &TreeBlock, kind: TreeKind, visit: Visit) -> bool {
    let last = node.count().saturating_sub(1);
    let key = |n: usize| match (node.level, kind) {
        (0, TreeKind::Extents) => node.extents().get(n).map(|e| e.file_block.get()),
        (0, TreeKind::Dirents) => node.dirent(n).map(|entry| entry.key),
        (0, TreeKind::Attrs) => node.attr(n).map(|attr| attr.key),
        _ => node.entries().get(n).map(|entry| entry.key.get()),
    };
    match (key(0), key(last)) {
        (Some(first), Some(last)) => {
            // The first key of an interior node is the lower bound itself.
            let low = first == visit.low || (node.level == 0 && first > visit.low);
            low && visit.high.is_none_or(|high| last < high)
        }
        _ => false,
    }
}
