// SPDX-License-Identifier: GPL-2.0

//! Operations on extended attributes.

use super::{names::FULL, time, Done, World};
use crate::model::{Model, ObjId, OpId};
use latchfs_engine::{
    engine::{
        namespace::Change,
        xattr::{self, How, Name},
    },
    format::xattr::AttrSpace,
};
use std::sync::Arc;

/// The name space of all of them: the one in which also symlinks have attributes.
pub const SPACE: AttrSpace = AttrSpace::Trusted;

/// The value that an operation gives to an attribute: not a word of it is that of another one.
pub fn attr_value(op: OpId, len: usize) -> Vec<u8> {
    let words = (0..len as u64).step_by(8);
    let word = |at: u64| {
        (op << 32 | at)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes()
    };
    let mut value: Vec<u8> = words.flat_map(word).collect();
    value.truncate(len);
    value
}

impl World {
    /// setxattr(2) with a value of this length.
    pub fn set_attribute(&self, id: ObjId, name: &[u8], len: usize) -> Done {
        self.change_attribute(id, name, Some(len))
    }

    /// removexattr(2), if there is one.
    pub fn remove_attribute(&self, id: ObjId, name: &[u8]) -> Done {
        self.change_attribute(id, name, None)
    }

    fn change_attribute(&self, id: ObjId, name: &[u8], len: Option<usize>) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(inode) = self.inode(id) else {
            return false;
        };
        let usable = {
            let model = self.model();
            let object = &model.objects[id];
            object.is_linked() && (len.is_some() || object.now().attributes.contains_key(name))
        };
        if !usable {
            return false;
        }
        let shown = String::from_utf8_lossy(&name[..name.len().min(12)]);
        let (op, _) = self.begin(match len {
            Some(len) => format!("set attribute {shown} of {id}, {len} bytes"),
            None => format!("remove attribute {shown} of {id}"),
        });
        let change = Change {
            ctime: Some(time(op)),
            ..Change::default()
        };
        let (m, name_of) = (self.m(), Name::new(SPACE, name));
        let result = match len {
            Some(len) => xattr::set(&m, &inode, name_of, &attr_value(op, len), How::Any, &change),
            None => xattr::remove(&m, &inode, name_of, &change),
        };
        let note = |model: &mut Model, ()| {
            model.push(id, op, |state| {
                let mut attributes = (*state.attributes).clone();
                match len {
                    Some(len) => attributes.insert(name.to_vec(), (op, len)),
                    None => attributes.remove(name),
                };
                state.attributes = Arc::new(attributes);
            });
        };
        self.end(op, &[id], result.map_err(|e| e.errno()), FULL, note)
    }
}
