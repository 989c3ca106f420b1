// SPDX-License-Identifier: GPL-2.0

//! A sorted map in an [`Arena`]: an AVL tree with 32-bit links.
//!
//! It balances itself by heights and not by chance, so that no pattern of writes makes it slow; it
//! has parent links, so that a neighbour is found without a stack. All operations but
//! [`Map::clear`] are O(log n), stepping to a neighbour is O(1) on average. Nothing here allocates
//! or sleeps except the functions that say so.
//!
//! A [`Slot`] names an entry from its insertion until any entry is removed.

use super::arena::{Arena, Stock, NIL};
use crate::sys::SysResult;

/// Slots below which memory is not returned piece by piece.
const MANY: u32 = 64;

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// A node. `height` is that of the subtree, 1 for a leaf.
pub(super) struct Node<T> {
    key: u64,
    left: u32,
    right: u32,
    parent: u32,
    height: u8,
    value: T,
}

/// The map.
pub(super) struct Map<T> {
    arena: Arena<Node<T>>,
    root: u32,
    len: u32,
}

/// Memory for a map, allocated before the lock that protects the map.
pub(super) type NodeStock<T> = Stock<Node<T>>;

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl<T> Map<T> {
    /// An empty map; allocates nothing.
    pub(super) const fn new() -> Self {
        Self {
            arena: Arena::new(),
            root: NIL,
            len: 0,
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Entries that can be inserted without allocating.
    pub(super) fn spare(&self) -> u32 {
        self.arena.spare()
    }

    /// Chunks of memory so far: what the stock for this map must be made for.
    pub(super) fn chunks(&self) -> usize {
        self.arena.chunks()
    }

    /// Bytes of memory the map holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// Takes the memory if it is the chunk that comes next, else gives it back.
    pub(super) fn add(&mut self, stock: NodeStock<T>) -> NodeStock<T> {
        self.arena.add(stock)
    }

    /// Makes room for `n` entries. ENOMEM. May sleep.
    pub(super) fn try_reserve(&mut self, n: u32) -> SysResult<()> {
        self.arena.try_reserve(n)
    }

    /// Makes room for `n` entries. May sleep.
    pub(super) fn must_reserve(&mut self, n: u32) {
        self.arena.must_reserve(n);
    }

    fn node(&self, slot: u32) -> Option<&Node<T>> {
        self.arena.get(slot)
    }

    fn node_mut(&mut self, slot: u32) -> Option<&mut Node<T>> {
        self.arena.get_mut(slot)
    }

    fn height(&self, slot: u32) -> u8 {
        self.node(slot).map_or(0, |n| n.height)
    }

    fn child(&self, slot: u32, side: Side) -> u32 {
        self.node(slot).map_or(NIL, |n| match side {
            Side::Left => n.left,
            Side::Right => n.right,
        })
    }

    fn set_child(&mut self, slot: u32, side: Side, child: u32) {
        if let Some(n) = self.node_mut(slot) {
            match side {
                Side::Left => n.left = child,
                Side::Right => n.right = child,
            }
        }
        if let Some(c) = self.node_mut(child) {
            c.parent = slot;
        }
    }

    fn parent(&self, slot: u32) -> u32 {
        self.node(slot).map_or(NIL, |n| n.parent)
    }

    /// Puts `new` where `old` hangs below `parent`.
    fn replace_child(&mut self, parent: u32, old: u32, new: u32) {
        if parent == NIL {
            self.root = new;
            if let Some(n) = self.node_mut(new) {
                n.parent = NIL;
            }
        } else if self.child(parent, Side::Left) == old {
            self.set_child(parent, Side::Left, new);
        } else {
            self.set_child(parent, Side::Right, new);
        }
    }

    /// Heights of the two subtrees.
    fn heights(&self, slot: u32) -> (u8, u8) {
        self.node(slot)
            .map_or((0, 0), |n| (self.height(n.left), self.height(n.right)))
    }

    /// Corrects the height of a node. Returns what it was, and left height minus right height.
    fn fix_height(&mut self, slot: u32) -> (u8, i32) {
        let (left, right) = self.heights(slot);
        let height = left.max(right).saturating_add(1);
        let was = self
            .node_mut(slot)
            .map_or(0, |n| core::mem::replace(&mut n.height, height));
        (was, i32::from(left) - i32::from(right))
    }

    /// Left height minus right height.
    fn balance(&self, slot: u32) -> i32 {
        let (left, right) = self.heights(slot);
        i32::from(left) - i32::from(right)
    }

    /// Turns `slot` down to `side`; its other child takes its place and is returned.
    fn rotate(&mut self, slot: u32, side: Side) -> u32 {
        let other = match side {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        };
        let up = self.child(slot, other);
        if up == NIL {
            return slot;
        }
        let parent = self.parent(slot);
        let inner = self.child(up, side);
        self.set_child(slot, other, inner);
        self.replace_child(parent, slot, up);
        self.set_child(up, side, slot);
        self.fix_height(slot);
        self.fix_height(up);
        up
    }

    /// Restores heights and balance from `slot` to the root, or to where nothing changes any more.
    fn rebalance(&mut self, mut slot: u32) {
        while slot != NIL {
            let (before, balance) = self.fix_height(slot);
            match balance {
                2.. => {
                    let left = self.child(slot, Side::Left);
                    if self.balance(left) < 0 {
                        self.rotate(left, Side::Left);
                    }
                    slot = self.rotate(slot, Side::Right);
                }
                ..=-2 => {
                    let right = self.child(slot, Side::Right);
                    if self.balance(right) > 0 {
                        self.rotate(right, Side::Right);
                    }
                    slot = self.rotate(slot, Side::Left);
                }
                _ => {}
            }
            if self.height(slot) == before {
                return;
            }
            slot = self.parent(slot);
        }
    }

    fn outermost(&self, mut slot: u32, side: Side) -> u32 {
        loop {
            let next = self.child(slot, side);
            if next == NIL {
                return slot;
            }
            slot = next;
        }
    }

    fn step(&self, slot: u32, side: Side) -> u32 {
        let other = match side {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        };
        let below = self.child(slot, side);
        if below != NIL {
            return self.outermost(below, other);
        }
        let mut from = slot;
        let mut up = self.parent(slot);
        while up != NIL && self.child(up, side) == from {
            from = up;
            up = self.parent(up);
        }
        up
    }

    fn some(slot: u32) -> Option<Slot> {
        (slot != NIL).then_some(Slot(slot))
    }

    /// The entry with the smallest key.
    pub(super) fn first(&self) -> Option<Slot> {
        if self.root == NIL {
            return None;
        }
        Self::some(self.outermost(self.root, Side::Left))
    }

    /// The entry with the largest key.
    #[cfg(test)]
    pub(super) fn last(&self) -> Option<Slot> {
        if self.root == NIL {
            return None;
        }
        Self::some(self.outermost(self.root, Side::Right))
    }

    /// The entry behind `slot`.
    pub(super) fn next(&self, slot: Slot) -> Option<Slot> {
        Self::some(self.step(slot.0, Side::Right))
    }

    /// The entry before `slot`.
    pub(super) fn prev(&self, slot: Slot) -> Option<Slot> {
        Self::some(self.step(slot.0, Side::Left))
    }

    /// The entry with the largest key that is not above `key`.
    pub(super) fn find_le(&self, key: u64) -> Option<Slot> {
        let (mut at, mut found) = (self.root, NIL);
        while let Some(n) = self.node(at) {
            if n.key <= key {
                found = at;
                at = n.right;
            } else {
                at = n.left;
            }
        }
        Self::some(found)
    }

    /// The entry with the smallest key that is not below `key`.
    pub(super) fn find_ge(&self, key: u64) -> Option<Slot> {
        let (mut at, mut found) = (self.root, NIL);
        while let Some(n) = self.node(at) {
            if n.key >= key {
                found = at;
                at = n.left;
            } else {
                at = n.right;
            }
        }
        Self::some(found)
    }

    /// Key and value of an entry.
    pub(super) fn get(&self, slot: Slot) -> Option<(u64, &T)> {
        self.node(slot.0).map(|n| (n.key, &n.value))
    }

    /// Value of an entry.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.node_mut(slot.0).map(|n| &mut n.value)
    }

    /// Changes the key of an entry to one that leaves it between the entries before and behind it.
    pub(super) fn move_key(&mut self, slot: Slot, key: u64) {
        if let Some(n) = self.node_mut(slot.0) {
            n.key = key;
        }
    }

    /// Inserts. The value comes back if the key exists or no slot is spare. Never sleeps.
    pub(super) fn insert(&mut self, key: u64, value: T) -> Result<Slot, T> {
        let (mut at, mut parent, mut side) = (self.root, NIL, Side::Left);
        while let Some(n) = self.node(at) {
            parent = at;
            if key == n.key {
                return Err(value);
            }
            (side, at) = if key < n.key {
                (Side::Left, n.left)
            } else {
                (Side::Right, n.right)
            };
        }
        let node = Node {
            key,
            left: NIL,
            right: NIL,
            parent,
            height: 1,
            value,
        };
        let slot = self.arena.put(node).map_err(|n| n.value)?;
        if parent == NIL {
            self.root = slot;
        } else {
            self.set_child(parent, side, slot);
            self.rebalance(parent);
        }
        self.len += 1;
        Ok(Slot(slot))
    }

    /// Removes an entry. All other slots become invalid: find again.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let slot = slot.0;
        let (left, right, parent) = {
            let n = self.node(slot)?;
            (n.left, n.right, n.parent)
        };
        if left != NIL && right != NIL {
            // The next entry takes the place; it has no left child.
            let next = self.outermost(right, Side::Left);
            let next_parent = self.parent(next);
            let next_right = self.child(next, Side::Right);
            let from = if next_parent == slot {
                next
            } else {
                self.set_child(next_parent, Side::Left, next_right);
                self.set_child(next, Side::Right, right);
                next_parent
            };
            self.set_child(next, Side::Left, left);
            self.replace_child(parent, slot, next);
            // What hangs above knows the height of what was here.
            let height = self.height(slot);
            if let Some(n) = self.node_mut(next) {
                n.height = height;
            }
            self.rebalance(from);
        } else {
            let only = if left != NIL { left } else { right };
            self.replace_child(parent, slot, only);
            self.rebalance(parent);
        }
        self.len -= 1;
        self.arena.take(slot).map(|n| n.value)
    }

    /// Returns memory that is not needed if that is at least half of it: moves the entries in the last
    /// slots to free ones, and takes the rest of the slots away. All slots become invalid. O(n), and
    /// paid for by the removals before it; allocates nothing.
    pub(super) fn shrink(&mut self) {
        let (used, top) = (self.len, self.arena.top());
        if top < MANY || used > top / 2 {
            return;
        }
        let mut to = 0;
        for from in used..top {
            if self.arena.is_free(from) {
                continue;
            }
            while to < used && !self.arena.is_free(to) {
                to += 1;
            }
            self.relocate(from, to);
        }
        self.arena.shrink_to(used);
    }

    /// Moves a node to a free slot.
    fn relocate(&mut self, from: u32, to: u32) {
        let Some(node) = self.node(from) else {
            return;
        };
        let (parent, left, right) = (node.parent, node.left, node.right);
        self.arena.relocate(from, to);
        if parent == NIL {
            self.root = to;
        } else if let Some(parent) = self.node_mut(parent) {
            if parent.left == from {
                parent.left = to;
            } else {
                parent.right = to;
            }
        }
        for child in [left, right] {
            if let Some(child) = self.node_mut(child) {
                child.parent = to;
            }
        }
    }

    /// Height of the tree.
    #[cfg(test)]
    pub(super) fn levels(&self) -> u8 {
        self.node(self.root).map_or(0, |n| n.height)
    }

    /// Removes all entries and returns the memory.
    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.root = NIL;
        self.len = 0;
    }

    /// Checks order, links, heights and balance; for tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        fn walk<T>(map: &Map<T>, slot: u32, parent: u32, low: u64, high: u64, n: &mut u32) -> u8 {
            let Some(node) = map.node(slot) else {
                assert_eq!(slot, NIL);
                return 0;
            };
            *n += 1;
            assert_eq!(node.parent, parent);
            assert!(node.key >= low && node.key <= high);
            let left = walk(map, node.left, slot, low, node.key.saturating_sub(1), n);
            let right = walk(map, node.right, slot, node.key + 1, high, n);
            assert!(left.abs_diff(right) <= 1, "unbalanced");
            assert_eq!(node.height, left.max(right) + 1);
            node.height
        }
        let mut n = 0;
        walk(self, self.root, NIL, 0, u64::MAX - 1, &mut n);
        assert_eq!(n, self.len);
    }
}

/// Bytes of memory an entry takes, links included.
#[cfg(test)]
pub(super) const fn node_size<T>() -> usize {
    super::arena::slot_size::<Node<T>>()
}
