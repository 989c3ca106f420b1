// SPDX-License-Identifier: GPL-2.0

//! The naive model: what a namespace is, without blocks, locks or transactions.

use std::collections::BTreeMap;
use std::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Dir,
    Symlink,
    Other(u16),
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) perm: u16,
    pub(super) uid: u32,
    pub(super) nlink: u32,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
    pub(super) target: Vec<u8>,
    pub(super) names: BTreeMap<Vec<u8>, usize>,
    pub(super) parent: usize,
}

/// Errors as names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Exist,
    NoEnt,
    NotDir,
    IsDir,
    NotEmpty,
    Perm,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<usize, Node>,
    next: usize,
}

type Answer<T = ()> = Result<T, Fault>;

pub(super) const ROOT: usize = 0;

impl Model {
    pub(super) fn new() -> Self {
        let mut m = Self {
            nodes: BTreeMap::new(),
            next: 0,
        };
        m.add(Kind::Dir, 0o755, 0, 0);
        m
    }

    fn add(&mut self, kind: Kind, perm: u16, uid: u32, now: i64) -> usize {
        let id = self.next;
        self.next += 1;
        let node = Node {
            kind,
            perm,
            uid,
            nlink: if kind == Kind::Dir { 2 } else { 1 },
            mtime: now,
            ctime: now,
            target: Vec::new(),
            names: BTreeMap::new(),
            parent: ROOT,
        };
        self.nodes.insert(id, node);
        id
    }

    pub(super) fn node(&self, id: usize) -> &Node {
        &self.nodes[&id]
    }

    fn node_mut(&mut self, id: usize) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub(super) fn find(&self, dir: usize, name: &[u8]) -> Option<usize> {
        self.node(dir).names.get(name).copied()
    }

    fn is_dir(&self, id: usize) -> bool {
        self.node(id).kind == Kind::Dir
    }

    /// Directories, in order.
    pub(super) fn dirs(&self) -> Vec<usize> {
        self.nodes
            .keys()
            .copied()
            .filter(|i| self.is_dir(*i))
            .collect()
    }

    /// Whether `id` is `below` or somewhere under it.
    pub(super) fn is_below(&self, mut id: usize, below: usize) -> bool {
        loop {
            if id == below {
                return true;
            }
            if id == ROOT {
                return false;
            }
            id = self.node(id).parent;
        }
    }

    fn enter(&mut self, dir: usize, name: &[u8], id: usize, now: i64) {
        let is_dir = self.is_dir(id);
        let d = self.node_mut(dir);
        d.names.insert(name.to_vec(), id);
        d.mtime = now;
        d.ctime = now;
        if is_dir {
            d.nlink += 1;
            self.node_mut(id).parent = dir;
        }
    }

    fn leave(&mut self, dir: usize, name: &[u8], now: i64) -> usize {
        let d = self.node_mut(dir);
        let id = d.names.remove(name).unwrap();
        d.mtime = now;
        d.ctime = now;
        if self.is_dir(id) {
            self.node_mut(dir).nlink -= 1;
        }
        id
    }

    fn drop_link(&mut self, id: usize, now: i64) {
        let is_dir = self.is_dir(id);
        let n = self.node_mut(id);
        n.nlink = if is_dir { 0 } else { n.nlink - 1 };
        n.ctime = now;
        if n.nlink == 0 {
            self.nodes.remove(&id);
        }
    }

    pub(super) fn create(
        &mut self,
        dir: usize,
        name: &[u8],
        kind: Kind,
        perm: u16,
        uid: u32,
        now: i64,
    ) -> Answer<usize> {
        if self.find(dir, name).is_some() {
            return Err(Fault::Exist);
        }
        let id = self.add(kind, perm, uid, now);
        self.enter(dir, name, id, now);
        Ok(id)
    }

    pub(super) fn link(&mut self, id: usize, dir: usize, name: &[u8], now: i64) -> Answer {
        if self.is_dir(id) {
            return Err(Fault::Perm);
        }
        if self.find(dir, name).is_some() {
            return Err(Fault::Exist);
        }
        self.enter(dir, name, id, now);
        let n = self.node_mut(id);
        n.nlink += 1;
        n.ctime = now;
        Ok(())
    }

    pub(super) fn unlink(&mut self, dir: usize, name: &[u8], now: i64) -> Answer {
        let id = self.find(dir, name).ok_or(Fault::NoEnt)?;
        if self.is_dir(id) {
            return Err(Fault::IsDir);
        }
        self.leave(dir, name, now);
        self.drop_link(id, now);
        Ok(())
    }

    pub(super) fn rmdir(&mut self, dir: usize, name: &[u8], now: i64) -> Answer {
        let id = self.find(dir, name).ok_or(Fault::NoEnt)?;
        if !self.is_dir(id) {
            return Err(Fault::NotDir);
        }
        if !self.node(id).names.is_empty() {
            return Err(Fault::NotEmpty);
        }
        self.leave(dir, name, now);
        self.drop_link(id, now);
        Ok(())
    }

    /// A rename that makes no loop.
    pub(super) fn rename(
        &mut self,
        from: (usize, &[u8]),
        to: (usize, &[u8]),
        no_replace: bool,
        now: i64,
    ) -> Answer {
        let id = self.find(from.0, from.1).ok_or(Fault::NoEnt)?;
        let target = self.find(to.0, to.1);
        if target.is_some() && no_replace {
            return Err(Fault::Exist);
        }
        if target == Some(id) {
            return Ok(());
        }
        if let Some(t) = target {
            match (self.is_dir(id), self.is_dir(t)) {
                (true, false) => return Err(Fault::NotDir),
                (false, true) => return Err(Fault::IsDir),
                _ => {}
            }
            if !self.node(t).names.is_empty() {
                return Err(Fault::NotEmpty);
            }
            self.leave(to.0, to.1, now);
            self.drop_link(t, now);
        }
        self.leave(from.0, from.1, now);
        self.enter(to.0, to.1, id, now);
        self.node_mut(id).ctime = now;
        Ok(())
    }

    pub(super) fn exchange(&mut self, a: (usize, &[u8]), b: (usize, &[u8]), now: i64) -> Answer {
        let x = self.find(a.0, a.1).ok_or(Fault::NoEnt)?;
        let y = self.find(b.0, b.1).ok_or(Fault::NoEnt)?;
        if x == y {
            return Ok(());
        }
        self.leave(a.0, a.1, now);
        self.leave(b.0, b.1, now);
        self.enter(a.0, a.1, y, now);
        self.enter(b.0, b.1, x, now);
        self.node_mut(x).ctime = now;
        self.node_mut(y).ctime = now;
        Ok(())
    }

    pub(super) fn setattr(&mut self, id: usize, perm: u16, uid: u32, mtime: i64, now: i64) {
        let n = self.node_mut(id);
        n.perm = perm;
        n.uid = uid;
        n.mtime = mtime;
        n.ctime = now;
    }

    pub(super) fn set_target(&mut self, id: usize, target: Vec<u8>) {
        self.node_mut(id).target = target;
    }
}
