// SPDX-License-Identifier: GPL-2.0

//! Values in blocks of their own.

use crate::{
    engine::{
        error::{Error, Result},
        fork::Fork,
        mount::Mount,
        txn::{FreeKind, Txn},
    },
    format::{
        header::{BlockKind, Owner},
        limits::ATTR_VALUE_BYTES,
        units::{BlockRange, DiskBlock, Ino},
        xattr::{
            pack_run,
            unpack_run,
            value::{AttrBlock, MAX_VALUE_BLOCKS},
            Attr,
            RUN_SIZE, //
        },
    },
    sys::Errno,
};
use core::mem::offset_of;

/// Runs of blocks of one value, packed as in a record.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    bytes: [u8; MAX_VALUE_BLOCKS as usize * RUN_SIZE],
    len: usize,
}

impl Runs {
    /// No blocks.
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; MAX_VALUE_BLOCKS as usize * RUN_SIZE],
            len: 0,
        }
    }

    /// The blocks of an attribute's value; none if it is in its record.
    pub(super) fn of(attr: &Attr<'_>) -> Self {
        let mut runs = Self::new();
        for run in attr.runs() {
            // More than fit are more than the verifier passes.
            runs.push(run);
        }
        runs
    }

    fn push(&mut self, run: BlockRange) -> Option<()> {
        let end = self.len.checked_add(RUN_SIZE)?;
        self.bytes
            .get_mut(self.len..end)?
            .copy_from_slice(&pack_run(run)?);
        self.len = end;
        Some(())
    }

    /// Adds one block, to the last run if it continues that.
    fn push_block(&mut self, block: DiskBlock) -> Option<()> {
        if let Some(last) = self.iter().last().filter(|run| run.end() == block) {
            self.len = self.len.checked_sub(RUN_SIZE)?;
            return self.push(BlockRange::new(last.start, last.len.saturating_add(1)));
        }
        self.push(BlockRange::new(block, 1))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As a record has them.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The runs, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = BlockRange> + '_ {
        let (runs, _) = self.as_bytes().as_chunks::<RUN_SIZE>();
        runs.iter().map(|run| unpack_run(*run))
    }

    /// The blocks, in order.
    fn blocks(&self) -> impl Iterator<Item = DiskBlock> + '_ {
        self.iter()
            .flat_map(|run| (0..u64::from(run.len)).map(move |n| run.start.saturating_add(n)))
    }
}

/// Reads the value of attribute `key`, all of it, into `out`. The caller holds the ILOCK. May sleep.
/// EUCLEAN if a block is not the part of the value it should be.
#[inline(never)]
pub(super) fn read(m: &Mount, ino: Ino, key: u64, runs: &Runs, out: &mut [u8]) -> Result {
    let len = out.len() as u32;
    let mut parts = out.chunks_mut(ATTR_VALUE_BYTES);
    for (index, block) in (0_u32..).zip(runs.blocks()) {
        let buf = m
            .buf()
            .read(block, BlockKind::AttrValue, Owner::inode(ino))?;
        let data = buf.data();
        let part = AttrBlock::of(&data).part(key, index, len);
        match (part, parts.next()) {
            (Some(from), Some(to)) if from.len() == to.len() => to.copy_from_slice(from),
            _ => return Err(Error::corrupt(block.0, "key, index or len of a value")),
        }
    }
    match parts.next() {
        None => Ok(()),
        Some(_) => Err(Error::new(Errno::UCLEAN)),
    }
}

/// Writes a value into new blocks of the transaction's reservation and counts them in `fork`. May
/// sleep.
#[inline(never)]
pub(super) fn write(
    txn: &mut Txn<'_>,
    ino: Ino,
    fork: &mut Fork,
    near: DiskBlock,
    key: u64,
    value: &[u8],
) -> Result<Runs> {
    let mut runs = Runs::new();
    let mut near = near;
    for (index, part) in (0_u32..).zip(value.chunks(ATTR_VALUE_BYTES)) {
        let buf = txn.new_meta(near, BlockKind::AttrValue, Owner::inode(ino))?;
        let len = part.len() as u32;
        txn.modify(&buf, |b| -> Result {
            b.write(offset_of!(AttrBlock, key), &key.to_le_bytes())?;
            b.write(offset_of!(AttrBlock, index), &index.to_le_bytes())?;
            b.write(offset_of!(AttrBlock, len), &len.to_le_bytes())?;
            b.write(offset_of!(AttrBlock, value), part)
        })?;
        runs.push_block(buf.block())
            .ok_or(Error::new(Errno::UCLEAN))?;
        fork.root.blocks = fork.root.blocks.saturating_add(1);
        near = buf.block().saturating_add(1);
    }
    Ok(runs)
}

/// Frees the blocks of a value. May sleep.
#[inline(never)]
pub(super) fn free(txn: &mut Txn<'_>, fork: &mut Fork, runs: &Runs) -> Result {
    for run in runs.iter() {
        txn.free(run, FreeKind::Meta)?;
        fork.root.blocks = fork.root.blocks.saturating_sub(u64::from(run.len));
    }
    Ok(())
}
