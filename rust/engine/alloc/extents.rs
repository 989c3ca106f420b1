// SPDX-License-Identifier: GPL-2.0

//! A set of block runs inside the coverage of one bitmap block, ordered by start and, if wanted,
//! by size.
//!
//! Two treaps over one array of nodes with `u16` links: a bitmap block covers 32,256 blocks, so a
//! run is 12 bytes with its four links, and the worst case (every other block) 194 KB. The
//! priorities of a treap are not stored but computed from the run's start with a key drawn at
//! mount, so an image cannot make the trees degenerate. All operations are O(log n) expected, none
//! recurses.
//!
//! Runs never overlap and never touch: neighbours are merged at insertion.

use crate::sys;

/// No node.
const NIL: u16 = u16::MAX;
/// Nodes allocated at once (1.5 KB: small enough to be allocated where nothing may fail).
const CHUNK: usize = 128;

/// Which of the two trees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Start = 0,
    Size = 1,
}

#[derive(Clone, Copy)]
struct Node {
    start: u16,
    len: u16,
    /// Left and right in the tree by start, left and right in the tree by size.
    links: [u16; 4],
}

const UNUSED: Node = Node {
    start: 0,
    len: 0,
    links: [NIL; 4],
};

/// A run of blocks, relative to the first block that the bitmap block covers. `len` is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Run {
    /// First block behind the run.
    pub(super) fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }
}

/// The set.
pub(super) struct Extents {
    chunks: sys::Vec<sys::Box<[Node; CHUNK]>>,
    free: u16,
    made: u16,
    roots: [u16; 2],
    sized: bool,
    key: u32,
    count: u32,
    blocks: u32,
}

impl Extents {
    /// An empty set; allocates nothing. `sized`: can be searched by size. `key` is random.
    pub(super) const fn new(sized: bool, key: u32) -> Self {
        Self {
            chunks: sys::Vec::new(),
            free: NIL,
            made: 0,
            roots: [NIL; 2],
            sized,
            key,
            count: 0,
            blocks: 0,
        }
    }

    /// Number of runs.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The key the set was made with.
    pub(super) fn key(&self) -> u32 {
        self.key
    }

    /// Number of blocks in all runs.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    fn node(&self, at: u16) -> Option<&Node> {
        self.chunks
            .get(at as usize / CHUNK)?
            .get(at as usize % CHUNK)
    }

    fn node_mut(&mut self, at: u16) -> Option<&mut Node> {
        self.chunks
            .get_mut(at as usize / CHUNK)?
            .get_mut(at as usize % CHUNK)
    }

    fn link(&self, by: By, at: u16, right: bool) -> u16 {
        self.node(at)
            .and_then(|n| n.links.get(by as usize * 2 + usize::from(right)))
            .copied()
            .unwrap_or(NIL)
    }

    /// Sets the link `(at, right)` of a tree; the root if `at` is [`NIL`].
    fn set_link(&mut self, by: By, (at, right): (u16, bool), to: u16) {
        if at == NIL {
            if let Some(root) = self.roots.get_mut(by as usize) {
                *root = to;
            }
        } else if let Some(link) = self
            .node_mut(at)
            .and_then(|n| n.links.get_mut(by as usize * 2 + usize::from(right)))
        {
            *link = to;
        }
    }

    fn root(&self, by: By) -> u16 {
        self.roots.get(by as usize).copied().unwrap_or(NIL)
    }

    /// What a tree is ordered by; unique, because starts are.
    fn order(&self, by: By, at: u16) -> u32 {
        match (self.node(at), by) {
            (Some(n), By::Start) => u32::from(n.start),
            (Some(n), By::Size) => u32::from(n.len) << 16 | u32::from(n.start),
            (None, _) => 0,
        }
    }

    /// Heap order of the treap: a hash of the start.
    fn priority(&self, by: By, at: u16) -> u32 {
        let start = self.node(at).map_or(0, |n| u32::from(n.start));
        let mut x = (start << 1 | by as u32) ^ self.key;
        // The finalizer of MurmurHash3: every input bit reaches every output bit.
        x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
        x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
        x ^ x >> 16
    }

    /// A node for a run. Allocates; never fails, may sleep.
    fn alloc(&mut self, run: Run) -> u16 {
        let at = if self.free != NIL {
            let at = self.free;
            self.free = self.link(By::Start, at, false);
            at
        } else {
            let at = self.made;
            if at as usize / CHUNK >= self.chunks.len() {
                self.chunks.must_push(sys::must_box_filled(UNUSED));
            }
            self.made = at.saturating_add(1);
            at
        };
        if let Some(n) = self.node_mut(at) {
            *n = Node {
                start: run.start as u16,
                len: run.len as u16,
                links: [NIL; 4],
            };
        }
        at
    }

    fn release(&mut self, at: u16) {
        let free = self.free;
        if let Some(n) = self.node_mut(at) {
            *n = UNUSED;
        }
        self.set_link(By::Start, (at, false), free);
        self.free = at;
    }

    /// Hangs node `new` into a tree: down to where its priority belongs, then what is below is
    /// split around it.
    fn tree_insert(&mut self, by: By, new: u16) {
        let order = self.order(by, new);
        let priority = self.priority(by, new);
        let mut place = (NIL, false);
        let mut at = self.root(by);

        while at != NIL && self.priority(by, at) >= priority {
            let right = self.order(by, at) < order;
            place = (at, right);
            at = self.link(by, at, right);
        }
        self.set_link(by, place, new);

        // What is smaller goes to the left of the new node, what is larger to the right.
        let mut left = (new, false);
        let mut right = (new, true);
        while at != NIL {
            if self.order(by, at) < order {
                self.set_link(by, left, at);
                left = (at, true);
                at = self.link(by, at, true);
            } else {
                self.set_link(by, right, at);
                right = (at, false);
                at = self.link(by, at, false);
            }
        }
        self.set_link(by, left, NIL);
        self.set_link(by, right, NIL);
    }

    /// Takes node `old` out of a tree: its two subtrees are merged in its place.
    fn tree_remove(&mut self, by: By, old: u16) {
        let order = self.order(by, old);
        let mut place = (NIL, false);
        let mut at = self.root(by);

        while at != NIL && at != old {
            let right = self.order(by, at) < order;
            place = (at, right);
            at = self.link(by, at, right);
        }
        if at == NIL {
            return;
        }

        let mut left = self.link(by, old, false);
        let mut right = self.link(by, old, true);
        while left != NIL && right != NIL {
            if self.priority(by, left) >= self.priority(by, right) {
                self.set_link(by, place, left);
                place = (left, true);
                left = self.link(by, left, true);
            } else {
                self.set_link(by, place, right);
                place = (right, false);
                right = self.link(by, right, false);
            }
        }
        self.set_link(by, place, if left != NIL { left } else { right });
    }

    /// The node with the largest order below `limit`, or at least `limit` with the smallest.
    fn search(&self, by: By, limit: u32, above: bool) -> u16 {
        let mut best = NIL;
        let mut at = self.root(by);
        while at != NIL {
            let right = self.order(by, at) < limit;
            if right != above {
                best = at;
            }
            at = self.link(by, at, right);
        }
        best
    }

    fn run(&self, at: u16) -> Option<Run> {
        self.node(at).map(|n| Run {
            start: u32::from(n.start),
            len: u32::from(n.len),
        })
    }

    fn add_node(&mut self, run: Run) {
        let at = self.alloc(run);
        self.tree_insert(By::Start, at);
        if self.sized {
            self.tree_insert(By::Size, at);
        }
        self.count += 1;
        self.blocks += run.len;
    }

    fn drop_node(&mut self, at: u16) {
        let Some(run) = self.run(at) else { return };
        self.tree_remove(By::Start, at);
        if self.sized {
            self.tree_remove(By::Size, at);
        }
        self.release(at);
        self.count -= 1;
        self.blocks -= run.len;
    }

    /// The run that contains `block`, or else the first one behind it.
    pub(super) fn at_or_after(&self, block: u32) -> Option<Run> {
        match self.run(self.search(By::Start, block.saturating_add(1), false)) {
            Some(run) if run.end() > block => Some(run),
            _ => self.run(self.search(By::Start, block, true)),
        }
    }

    /// The smallest run of at least `len` blocks, of several the first. For sized sets.
    pub(super) fn fit(&self, len: u32) -> Option<Run> {
        self.run(self.search(By::Size, len.min(0x7fff) << 16, true))
    }

    /// The largest run, of several the last. For sized sets.
    pub(super) fn largest(&self) -> Option<Run> {
        self.run(self.search(By::Size, u32::MAX, false))
    }

    /// Whether a block of `run` is in the set.
    pub(super) fn overlaps(&self, run: Run) -> bool {
        self.at_or_after(run.start)
            .is_some_and(|found| found.start < run.end())
    }

    /// Adds a run, and merges it with its neighbours. False, and nothing done, if a block of it is
    /// there already. May sleep for memory, never fails for it.
    #[must_use]
    pub(super) fn insert(&mut self, run: Run) -> bool {
        if run.len == 0 || self.overlaps(run) {
            return run.len == 0;
        }
        let mut new = run;
        let before = self.search(By::Start, run.start, false);
        if let Some(found) = self.run(before).filter(|f| f.end() == run.start) {
            new = Run {
                start: found.start,
                len: found.len + new.len,
            };
            self.drop_node(before);
        }
        let after = self.search(By::Start, run.start, true);
        if let Some(found) = self.run(after).filter(|f| f.start == run.end()) {
            new.len += found.len;
            self.drop_node(after);
        }
        self.add_node(new);
        true
    }

    /// Takes a run out. False, and nothing done, if not all of it is in the set. May sleep for
    /// memory, never fails for it.
    #[must_use]
    pub(super) fn remove(&mut self, run: Run) -> bool {
        if run.len == 0 {
            return true;
        }
        let at = self.search(By::Start, run.start.saturating_add(1), false);
        let Some(found) = self.run(at).filter(|f| f.end() >= run.end()) else {
            return false;
        };
        self.drop_node(at);
        if found.start < run.start {
            self.add_node(Run {
                start: found.start,
                len: run.start - found.start,
            });
        }
        if run.end() < found.end() {
            self.add_node(Run {
                start: run.end(),
                len: found.end() - run.end(),
            });
        }
        true
    }

    /// Takes the part of `run` out that is in the set.
    pub(super) fn subtract(&mut self, run: Run) {
        while let Some(found) = self.at_or_after(run.start).filter(|f| f.start < run.end()) {
            let start = found.start.max(run.start);
            let end = found.end().min(run.end());
            if !self.remove(Run {
                start,
                len: end - start,
            }) {
                return;
            }
        }
    }

    /// All runs, by start.
    pub(super) fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let run = self.at_or_after(from)?;
            from = run.end();
            Some(run)
        })
    }

    /// The longest path of the tree by start. For tests.
    #[cfg(test)]
    pub(super) fn depth(&self) -> usize {
        let mut level = std::vec![self.root(By::Start)];
        let mut depth = 0;
        while level.iter().any(|n| *n != NIL) {
            depth += 1;
            level = level
                .iter()
                .filter(|n| **n != NIL)
                .flat_map(|n| {
                    [
                        self.link(By::Start, *n, false),
                        self.link(By::Start, *n, true),
                    ]
                })
                .collect();
        }
        depth
    }
}
