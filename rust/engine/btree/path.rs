// SPDX-License-Identifier: GPL-2.0

//! The way from the root to a leaf.

use super::{
    corrupt,
    page::Bad,
    view,
    Range,
    Raw,
    Shape,
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

/// A path from the root to a leaf: at each level a node, and the entry that was followed, or in the
/// leaf the record that is meant. Valid while the tree does not change; the buffers stay referenced.
///
/// Lives in its user's frame and is filled in place.
pub(super) struct Path {
    bufs: [Option<BufRef>; MAX_DEPTH],
    index: [u16; MAX_DEPTH],
    depth: u8,
    /// Whether the record in the leaf is the one that was looked for.
    found: bool,
    /// The keys the leaf may hold.
    keys: Range,
}

impl Path {
    /// A path nowhere.
    pub(super) const fn new() -> Self {
        Self {
            bufs: [const { None }; MAX_DEPTH],
            index: [0; MAX_DEPTH],
            depth: 0,
            found: false,
            keys: Range::ALL,
        }
    }

    /// Whether the path leads to the leaf that `key` belongs in.
    fn leads_to(&self, key: u64) -> bool {
        let keys = self.keys;
        self.depth != 0 && keys.low <= key && keys.high.is_none_or(|high| key < high)
    }

    /// Levels of the tree.
    pub(super) fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    /// The node at `level`.
    pub(super) fn buf(&self, level: usize) -> Result<&BufRef> {
        self.bufs
            .get(level)
            .and_then(Option::as_ref)
            .ok_or_else(|| Error::corrupt(0, "path.level"))
    }

    /// The entry at `level`.
    pub(super) fn index(&self, level: usize) -> usize {
        self.index.get(level).copied().map_or(0, usize::from)
    }

    /// Sets the entry at `level`, which is less than the number of records of a node.
    pub(super) fn set_index(&mut self, level: usize, index: usize) {
        if let Some(to) = self.index.get_mut(level) {
            *to = index as u16;
        }
    }

    /// What a descent toward a key found in the leaf: `Ok` the index of its record, or `Err` the
    /// index it would have.
    pub(super) fn found(&self) -> core::result::Result<usize, usize> {
        let index = self.index(0);
        if self.found {
            Ok(index)
        } else {
            Err(index)
        }
    }

    /// The keys the node at `level` may hold, as its ancestors say.
    pub(super) fn range(&self, level: usize) -> Result<Range> {
        if level + 1 < self.depth() {
            self.child_range(level + 1, self.index(level + 1))
        } else {
            Ok(Range::ALL)
        }
    }

    /// The range of the child at entry `index` of the node at `level`.
    #[inline(never)]
    pub(super) fn child_range(&self, level: usize, index: usize) -> Result<Range> {
        let low = view(self.buf(level)?, Shape::INTERIOR, |node| node.key(index))?;
        let mut index = index;
        for level in level..self.depth() {
            let high = view(self.buf(level)?, Shape::INTERIOR, |node| {
                if index + 1 < node.count() {
                    node.key(index + 1).map(Some)
                } else {
                    Ok(None)
                }
            })?;
            if high.is_some() {
                return Ok(Range { low, high });
            }
            index = self.index(level + 1);
        }
        Ok(Range { low, high: None })
    }
}

impl Raw {
    /// Descends to a leaf; `false` if the tree is empty. The index in the leaf is what
    /// [`Path::found`] says of a key, or that of the first or last record. May sleep.
    #[inline(never)]
    pub(super) fn descend(
        &self,
        m: &Mount,
        root: &TreeRoot,
        toward: Toward,
        path: &mut Path,
    ) -> Result<bool> {
        let depth = usize::from(root.depth);
        if depth > MAX_DEPTH {
            return Err(corrupt(root.block, Bad("root.depth")));
        }
        let Some(top) = depth.checked_sub(1) else {
            return Ok(false);
        };
        path.depth = root.depth;
        self.down(m, path, top, root.block, Range::ALL, toward)?;
        Ok(true)
    }

    /// Fills the path from `level` down, beginning with the node `block`.
    #[inline(never)]
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
            let mut index = 0;
            let (buf, ()) = self.read(m, block, level, range, |node| {
                let last = node.count().saturating_sub(1);
                if level == 0 {
                    let found = match toward {
                        Toward::Key(key) => node.search(key)?,
                        Toward::First => Err(0),
                        Toward::Last => Err(last),
                    };
                    path.found = found.is_ok();
                    index = found.unwrap_or_else(|above| above);
                    return Ok(());
                }
                index = match toward {
                    Toward::Key(key) => node.covering(key)?,
                    Toward::First => 0,
                    Toward::Last => last,
                };
                if index < last {
                    range.high = Some(node.key(index + 1)?);
                }
                range.low = node.key(index)?;
                block = DiskBlock(node.child(index)?);
                Ok(())
            })?;
            path.set_index(level, index);
            if let Some(to) = path.bufs.get_mut(level) {
                *to = Some(buf);
            }
        }
        path.keys = range;
        Ok(())
    }

    /// Makes `path`, which is nowhere or was left in this tree since its last change, what a descent
    /// toward `key` makes it. Without a descent if it leads to the same leaf. `false` if the tree is
    /// empty. May sleep.
    #[inline(never)]
    pub(super) fn redirect(
        &self,
        m: &Mount,
        root: &TreeRoot,
        key: u64,
        path: &mut Path,
    ) -> Result<bool> {
        if !path.leads_to(key) {
            return self.descend(m, root, Toward::Key(key), path);
        }
        let found = view(path.buf(0)?, self.leaf, |leaf| leaf.search(key))?;
        path.found = found.is_ok();
        path.set_index(0, found.unwrap_or_else(|above| above));
        Ok(true)
    }

    /// Moves the path to the next leaf (`forward`) or the one before; `false` if there is none, and
    /// the path stays. The index in the leaf is that of the first record, or of the last. May sleep.
    #[inline(never)]
    pub(super) fn next_leaf(&self, m: &Mount, path: &mut Path, forward: bool) -> Result<bool> {
        for level in 1..path.depth() {
            let next = if forward {
                path.index(level).checked_add(1)
            } else {
                path.index(level).checked_sub(1)
            };
            let Some(index) = next else {
                continue;
            };
            let child = view(path.buf(level)?, Shape::INTERIOR, |node| {
                if index < node.count() {
                    node.child(index).map(Some)
                } else {
                    Ok(None)
                }
            })?;
            let Some(child) = child else {
                continue;
            };
            let range = path.child_range(level, index)?;
            path.set_index(level, index);
            let toward = if forward { Toward::First } else { Toward::Last };
            self.down(m, path, level - 1, DiskBlock(child), range, toward)?;
            return Ok(true);
        }
        Ok(false)
    }
}
