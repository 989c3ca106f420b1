// SPDX-License-Identifier: GPL-2.0

//! Attributes that an inode has from its first moment.

use super::{
    change::{plan_set, put, record_len},
    How, Name,
};
use crate::{
    engine::{
        error::{Error, Result},
        inode::InodeInner,
        mount::Mount,
        txn::{Txn, TxnRes},
    },
    format::{
        limits::{MAX_ATTR_RECORD, MAX_ATTR_VALUE},
        units::Ino,
        xattr::value::value_blocks,
    },
    sys::Errno,
};

/// An attribute of a new inode.
#[derive(Clone, Copy, Debug)]
pub struct InitAttr<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Its value.
    pub value: &'a [u8],
}

/// Most attributes that a new inode gets: two ACLs, and what the security modules of a system have.
const MOST_INITIAL: usize = 16;

/// What writing these attributes with a new inode needs beside the rest of its transaction. E2BIG if
/// they are more than one transaction can have.
///
/// Whether they fit into the inode depends on what else is in it; a block for a leaf is always taken.
pub(crate) fn initial_res(attrs: &[InitAttr<'_>]) -> Result<TxnRes> {
    if attrs.is_empty() {
        return Ok(TxnRes::new(0, 0));
    }
    let (mut bytes, mut values) = (0_usize, 0_u32);
    for attr in attrs {
        attr.name.check()?;
        if attr.value.len() > MAX_ATTR_VALUE as usize {
            return Err(Error::new(Errno::TOOBIG));
        }
        let record = record_len(attr.name, attr.value);
        bytes = bytes
            .saturating_add(record.min(MAX_ATTR_RECORD))
            .saturating_add(2);
        if record > MAX_ATTR_RECORD {
            values = values.saturating_add(value_blocks(attr.value.len() as u32));
        }
    }
    // A leaf that is not split has everything; else at most each record has one, below one root.
    let nodes = if bytes <= 2 * MAX_ATTR_RECORD {
        1
    } else {
        attrs.len() as u32 + 1
    };
    let blocks = nodes.saturating_add(values);
    if attrs.len() > MOST_INITIAL || blocks > LARGEST.blocks {
        return Err(Error::new(Errno::TOOBIG));
    }
    Ok(TxnRes::new(blocks, blocks))
}

/// The largest answer of [`initial_res`]: three values of 64 KiB and a leaf for each other attribute.
const LARGEST: TxnRes = {
    let blocks = 3 * crate::format::xattr::value::MAX_VALUE_BLOCKS + MOST_INITIAL as u32 + 1;
    TxnRes::new(blocks, blocks)
};
const _: () = {
    let _ = crate::engine::txn::res::SYMLINK.and(LARGEST).checked();
};

/// Writes the attributes of a new inode, in the transaction that makes it, after its data fork.
/// The inode is to be logged. May sleep.
pub(crate) fn set_initial(
    m: &Mount,
    txn: &mut Txn<'_>,
    ino: Ino,
    inner: &mut InodeInner,
    attrs: &[InitAttr<'_>],
) -> Result {
    for attr in attrs {
        let plan = plan_set(m, ino, inner, attr.name, attr.value, How::Any)?;
        put(m, txn, ino, inner, attr.name, attr.value, &plan)?;
    }
    Ok(())
}
