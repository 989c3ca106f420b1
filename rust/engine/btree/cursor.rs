// SPDX-License-Identifier: GPL-2.0

//! Reading a tree: one record, or records in key order.

use core::ops::ControlFlow;

use super::{
    page::{
        Bad,
        View, //
    },
    path::{
        Path,
        Toward, //
    },
    view,
    Tree,
    TreeKind,
    TreeRoot, //
};
use crate::engine::{
    error::Result,
    mount::Mount, //
};

/// A place in a tree: always at a record. Good as long as the tree does not change, that is while
/// the owner's lock is held and nothing is inserted or removed.
pub struct Cursor<K: TreeKind> {
    tree: Tree<K>,
    path: Path,
}

impl<K: TreeKind> Tree<K> {
    /// Calls `f` with the record of `key`; `None` if there is none. `f` runs under the content lock
    /// of the leaf and must not sleep. Reads `depth` blocks. May sleep.
    pub fn lookup<R>(
        &self,
        m: &Mount,
        root: &TreeRoot,
        key: u64,
        f: impl FnOnce(K::Record<'_>) -> R,
    ) -> Result<Option<R>> {
        let Some(path) = self.descend(m, root, Toward::Key(key))? else {
            return Ok(None);
        };
        let Ok(index) = path.found() else {
            return Ok(None);
        };
        view(&path.step(0)?.buf, K::SHAPE, |leaf| {
            Ok(Some(f(decode::<K>(&leaf, index)?)))
        })
    }

    /// The first record with a key not below `key`. May sleep.
    pub fn seek_ge(&self, m: &Mount, root: &TreeRoot, key: u64) -> Result<Option<Cursor<K>>> {
        let Some(mut path) = self.descend(m, root, Toward::Key(key))? else {
            return Ok(None);
        };
        if let Err(index) = path.found() {
            let count = view(&path.step(0)?.buf, K::SHAPE, |leaf| Ok(leaf.count()))?;
            if index >= count && !self.next_leaf(m, &mut path, true)? {
                return Ok(None);
            }
        }
        Ok(Some(Cursor { tree: *self, path }))
    }

    /// The last record with a key not above `key`. May sleep.
    pub fn seek_le(&self, m: &Mount, root: &TreeRoot, key: u64) -> Result<Option<Cursor<K>>> {
        let Some(mut path) = self.descend(m, root, Toward::Key(key))? else {
            return Ok(None);
        };
        if let Err(above) = path.found() {
            match above.checked_sub(1) {
                Some(index) => path.set_leaf_index(index),
                None => {
                    if !self.next_leaf(m, &mut path, false)? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some(Cursor { tree: *self, path }))
    }

    /// Calls `f` with each record from `from` on, in key order, until it breaks; what it broke with,
    /// or `None` at the end. `f` runs under the content lock of a leaf and must not sleep. May sleep.
    pub fn scan<B>(
        &self,
        m: &Mount,
        root: &TreeRoot,
        from: u64,
        mut f: impl FnMut(K::Record<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>> {
        let Some(mut path) = self.descend(m, root, Toward::Key(from))? else {
            return Ok(None);
        };
        let (Ok(mut start) | Err(mut start)) = path.found();
        loop {
            let found = view(&path.step(0)?.buf, K::SHAPE, |leaf| {
                for index in start..leaf.count() {
                    if let ControlFlow::Break(found) = f(decode::<K>(&leaf, index)?) {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            })?;
            if found.is_some() || !self.next_leaf(m, &mut path, true)? {
                return Ok(found);
            }
            start = 0;
        }
    }
}

/// Record `index` of a leaf, decoded.
pub(super) fn decode<'a, K: TreeKind>(
    leaf: &View<'a>,
    index: usize,
) -> super::page::Checked<K::Record<'a>> {
    K::decode(leaf.record(index)?).ok_or(Bad("record"))
}

impl<K: TreeKind> Cursor<K> {
    /// The key of the record.
    pub fn key(&self) -> Result<u64> {
        let step = self.path.step(0)?;
        view(&step.buf, K::SHAPE, |leaf| leaf.key(step.index))
    }

    /// Calls `f` with the record, under the content lock of its leaf; `f` must not sleep.
    pub fn read<R>(&self, f: impl FnOnce(K::Record<'_>) -> R) -> Result<R> {
        let step = self.path.step(0)?;
        view(&step.buf, K::SHAPE, |leaf| {
            Ok(f(decode::<K>(&leaf, step.index)?))
        })
    }

    /// Moves to the next record; `false`, and stays, if this is the last. May sleep.
    pub fn next(&mut self, m: &Mount) -> Result<bool> {
        let step = self.path.step(0)?;
        let count = view(&step.buf, K::SHAPE, |leaf| Ok(leaf.count()))?;
        let index = step.index + 1;
        if index < count {
            self.path.set_leaf_index(index);
            return Ok(true);
        }
        self.tree.next_leaf(m, &mut self.path, true)
    }

    /// Moves to the record before; `false`, and stays, if this is the first. May sleep.
    pub fn prev(&mut self, m: &Mount) -> Result<bool> {
        match self.path.step(0)?.index.checked_sub(1) {
            Some(index) => {
                self.path.set_leaf_index(index);
                Ok(true)
            }
            None => self.tree.next_leaf(m, &mut self.path, false),
        }
    }
}
