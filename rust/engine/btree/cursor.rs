// SPDX-License-Identifier: GPL-2.0

//! Reading records in key order.

use core::marker::PhantomData;

use super::{
    decode,
    page::Checked,
    path::{
        Path,
        Toward, //
    },
    view,
    Raw,
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
    raw: Raw,
    path: Path,
    kind: PhantomData<fn() -> K>,
}

impl Raw {
    /// Finds the first record not below `key` (`up`), or the last one not above it; `false` if there
    /// is none.
    #[inline(never)]
    fn seek(
        &self,
        m: &Mount,
        root: &TreeRoot,
        key: u64,
        up: bool,
        path: &mut Path,
    ) -> Result<bool> {
        if !self.descend(m, root, Toward::Key(key), path)? {
            return Ok(false);
        }
        let Err(above) = path.found() else {
            return Ok(true);
        };
        let inside = if up {
            let count = view(path.buf(0)?, self.leaf, |leaf| Ok(leaf.count()))?;
            Some(above).filter(|index| *index < count)
        } else {
            above.checked_sub(1)
        };
        match inside {
            Some(index) => {
                path.set_index(0, index);
                Ok(true)
            }
            None => self.next_leaf(m, path, up),
        }
    }

    /// Calls `f` with each record from `from` on until it says false. `path` is then in the leaf of
    /// that record, or in the last one.
    #[inline(never)]
    pub(super) fn scan(
        &self,
        m: &Mount,
        root: &TreeRoot,
        from: u64,
        path: &mut Path,
        f: &mut dyn FnMut(&[u8]) -> Checked<bool>,
    ) -> Result<()> {
        if !self.descend(m, root, Toward::Key(from), path)? {
            return Ok(());
        }
        loop {
            let start = path.index(0);
            let on = view(path.buf(0)?, self.leaf, |leaf| {
                for index in start..leaf.count() {
                    if !f(leaf.record(index)?)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            })?;
            if !on || !self.next_leaf(m, path, true)? {
                return Ok(());
            }
        }
    }
}

impl<K: TreeKind> Cursor<K> {
    pub(super) fn seek(
        raw: Raw,
        m: &Mount,
        root: &TreeRoot,
        key: u64,
        up: bool,
    ) -> Result<Option<Self>> {
        let mut this = Self {
            raw,
            path: Path::new(),
            kind: PhantomData,
        };
        let found = raw.seek(m, root, key, up, &mut this.path)?;
        Ok(found.then_some(this))
    }

    /// The key of the record.
    pub fn key(&self) -> Result<u64> {
        let index = self.path.index(0);
        view(self.path.buf(0)?, K::SHAPE, |leaf| leaf.key(index))
    }

    /// Calls `f` with the record, under the content lock of its leaf; `f` must not sleep.
    pub fn read<R>(&self, f: impl FnOnce(K::Record<'_>) -> R) -> Result<R> {
        let index = self.path.index(0);
        view(self.path.buf(0)?, K::SHAPE, |leaf| {
            Ok(f(decode::<K>(leaf.record(index)?)?))
        })
    }

    /// Moves to the next record; `false`, and stays, if this is the last. May sleep.
    pub fn next(&mut self, m: &Mount) -> Result<bool> {
        let count = view(self.path.buf(0)?, K::SHAPE, |leaf| Ok(leaf.count()))?;
        let index = self.path.index(0) + 1;
        if index < count {
            self.path.set_index(0, index);
            return Ok(true);
        }
        self.raw.next_leaf(m, &mut self.path, true)
    }

    /// Moves to the record before; `false`, and stays, if this is the first. May sleep.
    pub fn prev(&mut self, m: &Mount) -> Result<bool> {
        match self.path.index(0).checked_sub(1) {
            Some(index) => {
                self.path.set_index(0, index);
                Ok(true)
            }
            None => self.raw.next_leaf(m, &mut self.path, false),
        }
    }
}
