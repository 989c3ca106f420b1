// SPDX-License-Identifier: GPL-2.0

//! The way from the root to a leaf.

use super::{
    corrupt,
    page::Bad,
    view,
    Range,
    Tree,
    TreeKind,
    TreeRoot,
    MAX_DEPTH, //
};
use crate::engine::{
    buf::BufRef,
    error::{
        Error,
        Result, //
    },
    mount::Mount,
};
use crate::format::units::DiskBlock;

/// Which entry of each interior node to follow.
#[derive(Clone, Copy)]
pub(super) enum Toward {
    /// The one whose subtree covers this key.
    Key(u64),
    /// The first.
    First,
    /// The last.
    Last,
}

/// One node on the way: the buffer, and the entry that was followed or the record that is meant.
pub(super) struct Step {
    pub(super) buf: BufRef,
    pub(super) index: usize,
}

/// A path from the root to a leaf, indexed by level. Valid while the tree does not change; the
/// buffers stay referenced.
pub(super) struct Path {
    steps: [Option<Step>; MAX_DEPTH],
    depth: usize,
    /// Whether the record at the leaf step is the one that was looked for.
    found: bool,
}

impl Path {
    /// Levels of the tree.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The step at `level`.
    pub(super) fn step(&self, level: usize) -> Result<&Step> {
        self.steps
            .get(level)
            .and_then(Option::as_ref)
            .ok_or_else(|| Error::corrupt(0, "path.level"))
    }

    /// What a descent toward a key found in the leaf: `Ok` the index of its record, or `Err` the
    /// index it would have.
    pub(super) fn found(&self) -> core::result::Result<usize, usize> {
        let index = match self.steps.first() {
            Some(Some(step)) => step.index,
            _ => 0,
        };
        if self.found {
            Ok(index)
        } else {
            Err(index)
        }
    }

    /// Sets the meaning of the leaf step.
    pub(super) fn set_leaf_index(&mut self, index: usize) {
        if let Some(Some(step)) = self.steps.first_mut() {
            step.index = index;
        }
    }

    /// The keys the node at `level` may hold, as its ancestors say.
    pub(super) fn range(&self, level: usize) -> Result<Range> {
        let mut range = Range::ALL;
        if level + 1 < self.depth {
            let parent = self.step(level + 1)?;
            range.low = view(&parent.buf, super::Shape::INTERIOR, |node| {
                node.key(parent.index)
            })?;
        }
        for above in level + 1..self.depth {
            let step = self.step(above)?;
            let next = view(&step.buf, super::Shape::INTERIOR, |node| {
                if step.index + 1 < node.count() {
                    node.key(step.index + 1).map(Some)
                } else {
                    Ok(None)
                }
            })?;
            if next.is_some() {
                range.high = next;
                break;
            }
        }
        Ok(range)
    }

    /// The range of the child at entry `index` of the node at `level`.
    pub(super) fn child_range(&self, level: usize, index: usize) -> Result<Range> {
        let step = self.step(level)?;
        let (low, high) = view(&step.buf, super::Shape::INTERIOR, |node| {
            let low = node.key(index)?;
            let high = if index + 1 < node.count() {
                Some(node.key(index + 1)?)
            } else {
                None
            };
            Ok((low, high))
        })?;
        Ok(match high {
            Some(_) => Range { low, high },
            None => Range {
                low,
                high: self.range(level)?.high,
            },
        })
    }
}

impl<K: TreeKind> Tree<K> {
    /// Descends to a leaf; `None` if the tree is empty. The index of the leaf step is what
    /// [`Path::found`] says of a key, or of the first or last record. May sleep.
    pub(super) fn descend(
        &self,
        m: &Mount,
        root: &TreeRoot,
        toward: Toward,
    ) -> Result<Option<Path>> {
        let depth = usize::from(root.depth);
        if depth == 0 {
            return Ok(None);
        }
        if depth > MAX_DEPTH {
            return Err(corrupt(root.block, Bad("root.depth")));
        }
        let mut path = Path {
            steps: [const { None }; MAX_DEPTH],
            depth,
            found: false,
        };
        self.down(m, &mut path, depth - 1, root.block, Range::ALL, toward)?;
        Ok(Some(path))
    }

    /// Fills the path from `level` down, beginning with the node `block`.
    fn down(
        &self,
        m: &Mount,
        path: &mut Path,
        level: usize,
        block: DiskBlock,
        range: Range,
        toward: Toward,
    ) -> Result<()> {
        let (mut block, mut range) = (block, range);
        for level in (0..=level).rev() {
            let (buf, (index, found, next)) = self.read(m, block, level, range, |node| {
                let last = node.count().saturating_sub(1);
                if level == 0 {
                    let (index, found) = match toward {
                        Toward::Key(key) => match node.search(key)? {
                            Ok(index) => (index, true),
                            Err(above) => (above, false),
                        },
                        Toward::First => (0, false),
                        Toward::Last => (last, false),
                    };
                    return Ok((index, found, None));
                }
                let index = match toward {
                    Toward::Key(key) => node.covering(key)?,
                    Toward::First => 0,
                    Toward::Last => last,
                };
                let high = if index < last {
                    Some(node.key(index + 1)?)
                } else {
                    range.high
                };
                let low = node.key(index)?;
                let child = DiskBlock(node.child(index)?);
                Ok((index, false, Some((child, Range { low, high }))))
            })?;
            if let Some(step) = path.steps.get_mut(level) {
                *step = Some(Step { buf, index });
            }
            path.found = found;
            if let Some(next) = next {
                (block, range) = next;
            }
        }
        Ok(())
    }

    /// Moves the path to the next leaf (`forward`) or the one before; `false` if there is none, and
    /// the path stays. The leaf step is the first record of the leaf, or its last. May sleep.
    pub(super) fn next_leaf(&self, m: &Mount, path: &mut Path, forward: bool) -> Result<bool> {
        for level in 1..path.depth {
            let step = path.step(level)?;
            let index = if forward {
                let count = view(&step.buf, super::Shape::INTERIOR, |node| Ok(node.count()))?;
                Some(step.index + 1).filter(|index| *index < count)
            } else {
                step.index.checked_sub(1)
            };
            let Some(index) = index else {
                continue;
            };
            let child = view(&step.buf, super::Shape::INTERIOR, |node| node.child(index))?;
            let range = path.child_range(level, index)?;
            if let Some(Some(step)) = path.steps.get_mut(level) {
                step.index = index;
            }
            let toward = if forward { Toward::First } else { Toward::Last };
            self.down(m, path, level - 1, DiskBlock(child), range, toward)?;
            return Ok(true);
        }
        Ok(false)
    }
}
