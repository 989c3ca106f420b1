// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: their tree, the blocks of values, and what they say.

use std::collections::BTreeSet;

use latchfs_engine::format::{
    hash::key_hash,
    xattr::{attr_hash, attrs},
    AttrBlock, AttrSpace, BlockKind, Defect, DefectKind, DiskBlock, Ino, InodeSlot, TreeKind,
};
use latchfs_tool::xattr::Attribute;

use crate::check::{Checker, Pass, Read};
use crate::problem::{FileId, Name, Problem};
use crate::walk::Walked;

impl Checker<'_> {
    /// Claims the blocks of an inode's attributes and checks what is in them.
    pub fn check_attrs(&mut self, ino: Ino, slot: &InodeSlot) -> Pass<Walked> {
        let file = FileId::Attrs(ino);
        let mut found = Vec::new();
        let mut walked = Walked::default();
        match slot.attr_tree() {
            Some(root) => {
                walked = self.walk(file, root, TreeKind::Attrs, true, &mut |_, _, leaf| {
                    let records = (0..leaf.count()).filter_map(|n| leaf.attr(n));
                    found.extend(records.map(|attr| Attribute::of(&attr)));
                    Ok(())
                })?;
            }
            None => found.extend(attrs(slot.attrs()).map(|attr| Attribute::of(&attr))),
        }
        let mut names = BTreeSet::new();
        for attr in &found {
            let mut own = true;
            for run in &attr.runs {
                own &= self.claim(file, *run)?;
                walked.blocks += u64::from(run.len);
            }
            if !self.observing {
                let first = names.insert((attr.space, attr.name.clone()));
                self.check_attr(ino, attr, first, own)?;
            }
        }
        let stored = u64::from(slot.attr_blocks.get());
        if !walked.torn && !self.observing && stored != walked.blocks {
            self.report(Problem::AttrBlocks {
                ino,
                stored,
                found: walked.blocks,
            })?;
        }
        Ok(walked)
    }

    /// Checks one attribute. `first`: the first one of its name; `own`: nothing else has its blocks.
    fn check_attr(&mut self, ino: Ino, attr: &Attribute, first: bool, own: bool) -> Pass {
        let name = || Name(attr.full_name());
        let key = attr.key;
        if !first {
            return self.report(Problem::AttrDuplicate {
                ino,
                key,
                name: name(),
            });
        }
        let seed = self.sb.hash_seed.get();
        let space = AttrSpace::from_disk(attr.space);
        let right = space.is_some_and(|s| attr_hash(seed, s, &attr.name) == key_hash(key));
        if !right {
            self.report(Problem::AttrHash {
                ino,
                key,
                name: name(),
            })?;
        }
        let Some(value) = self.attr_value(ino, attr, own)? else {
            return Ok(());
        };
        if space.is_some_and(AttrSpace::is_acl) && !acl_is_legal(&value) {
            self.report(Problem::AttrAcl {
                ino,
                key,
                name: name(),
            })?;
        }
        Ok(())
    }

    /// The value of an attribute; [`None`], with the problem reported, if it cannot be read.
    /// `loud`: blocks that something else has are that one's problem.
    fn attr_value(&mut self, ino: Ino, attr: &Attribute, loud: bool) -> Pass<Option<Vec<u8>>> {
        if let Some(value) = &attr.here {
            return Ok(Some(value.clone()));
        }
        let owner = FileId::Attrs(ino).owner();
        let mut value = Vec::new();
        for (index, block) in (0..).zip(value_blocks(attr)) {
            let bad = |defect| Problem::AttrValue {
                ino,
                name: Name(attr.full_name()),
                block,
                defect,
            };
            let (data, problem) = match self.read(block, BlockKind::AttrValue, owner) {
                Read::Good(data) => (Some(data), None),
                Read::Sound(data, defect) => (Some(data), Some(bad(defect))),
                Read::Bad(defect) => (None, Some(bad(defect))),
                Read::Unreadable(error) => {
                    let what = "value of an attribute";
                    (None, Some(Problem::ReadError { block, error, what }))
                }
            };
            if let (true, Some(problem)) = (loud, problem) {
                self.report(problem)?;
            }
            let Some(data) = data else {
                return Ok(None);
            };
            let Some(part) = AttrBlock::of(&data).part(attr.key, index, attr.len) else {
                if loud {
                    self.report(bad(Defect::new("key", DefectKind::Mismatch)))?;
                }
                return Ok(None);
            };
            value.extend_from_slice(part);
        }
        Ok(Some(value))
    }

    /// All attributes of an inode that can be read, silently: the tree was checked before.
    pub(crate) fn readable_attrs(
        &mut self,
        ino: Ino,
        slot: &InodeSlot,
    ) -> Vec<(AttrSpace, Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        match slot.attr_tree() {
            Some(root) => {
                let file = FileId::Attrs(ino);
                let keep = &mut found;
                let _ = self.walk(file, root, TreeKind::Attrs, false, &mut |_, _, leaf| {
                    let records = (0..leaf.count()).filter_map(|n| leaf.attr(n));
                    keep.extend(records.map(|attr| Attribute::of(&attr)));
                    Ok(())
                });
            }
            None => found.extend(attrs(slot.attrs()).map(|attr| Attribute::of(&attr))),
        }
        let mut names = BTreeSet::new();
        let mut values = Vec::new();
        for attr in found {
            let Some(space) = AttrSpace::from_disk(attr.space) else {
                continue;
            };
            let Ok(Some(value)) = self.attr_value(ino, &attr, false) else {
                continue;
            };
            let legal = !space.is_acl() || acl_is_legal(&value);
            if legal && names.insert((space, attr.name.clone())) {
                values.push((space, attr.name, value));
            }
        }
        values
    }
}

/// The blocks of a value in order.
fn value_blocks(attr: &Attribute) -> impl Iterator<Item = DiskBlock> + '_ {
    attr.runs
        .iter()
        .flat_map(|run| (0..u64::from(run.len)).map(|n| run.start.saturating_add(n)))
}

/// Whether a value is an ACL that the kernel takes: version, then entries in the order of their
/// tags, those of users and groups in any order of ids, a mask if there are any of them.
pub(crate) fn acl_is_legal(value: &[u8]) -> bool {
    const USER_OBJ: u16 = 1;
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const GROUP: u16 = 8;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;

    let Some((version, entries)) = value.split_first_chunk::<4>() else {
        return false;
    };
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return false;
    }
    let mut last = 0;
    let (mut seen, mut named) = (0, false);
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let perm = u16::from_le_bytes([entry[2], entry[3]]);
        let many = matches!(tag, USER | GROUP);
        let known = many || matches!(tag, USER_OBJ | GROUP_OBJ | MASK | OTHER);
        if !known || perm > 7 || tag < last || (tag == last && !many) {
            return false;
        }
        named |= many;
        seen |= tag;
        last = tag;
    }
    let needed = USER_OBJ | GROUP_OBJ | OTHER;
    seen & needed == needed && (!named || seen & MASK != 0)
}
