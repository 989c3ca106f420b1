// SPDX-License-Identifier: GPL-2.0

//! The attribute fork of an inode slot.
//!
//! Few attributes stand at the end of the literal area, from `attr_off` on, and the data fork has
//! what is before them. Many are in a tree whose root is in fields of its own, so that attributes
//! never need room that the data fork has.

use zerocopy::little_endian::{U16, U32, U64};

use super::verify_attrs;
use crate::format::{
    btree::TreeRoot,
    defect::{ensure, Defect, DefectKind},
    geometry::Geometry,
    inode::{ForkFormat, InodeSlot},
    limits::LITERAL_SIZE,
    units::DiskBlock,
};

/// Where inline attributes of `len` bytes begin in the literal area.
pub const fn attr_start(len: usize) -> usize {
    LITERAL_SIZE.saturating_sub(len.next_multiple_of(8))
}

impl InodeSlot {
    /// Format of the attribute fork; [`None`] if it is none that attributes can have.
    pub const fn attr_format(&self) -> Option<ForkFormat> {
        match ForkFormat::from_disk(self.attr_format) {
            Some(format @ (ForkFormat::None | ForkFormat::InlineAttrs | ForkFormat::AttrTree)) => {
                Some(format)
            }
            _ => None,
        }
    }

    /// The bytes of the literal area that inline attributes use.
    pub fn attrs(&self) -> &[u8] {
        let start = usize::from(self.attr_off.get());
        let end = start.saturating_add(usize::from(self.attr_len.get()));
        self.literal.get(start..end).unwrap_or(&[])
    }

    /// The root of the attribute tree, if there is one.
    pub fn attr_tree(&self) -> Option<TreeRoot> {
        (self.attr_format()? == ForkFormat::AttrTree).then(|| TreeRoot {
            block: DiskBlock(self.attr_block.get()),
            depth: self.attr_depth,
        })
    }

    /// Replaces the attribute fork; false, and nothing done, if `bytes` do not fit behind the data
    /// fork. `blocks` are those of the tree and of values.
    pub fn set_attrs(
        &mut self,
        format: ForkFormat,
        root: TreeRoot,
        blocks: u32,
        bytes: &[u8],
    ) -> bool {
        let start = attr_start(bytes.len());
        let Ok(len) = u16::try_from(bytes.len()) else {
            return false;
        };
        if bytes.len() > LITERAL_SIZE || start < usize::from(self.data_len.get()) {
            return false;
        }
        let old = usize::from(self.attr_off.get()).min(start);
        let Some(area) = self.literal.get_mut(old..) else {
            return false;
        };
        area.fill(0);
        if let Some(area) = self.literal.get_mut(start..) {
            if let Some(area) = area.get_mut(..bytes.len()) {
                area.copy_from_slice(bytes);
            }
        }
        self.attr_format = format as u8;
        self.attr_depth = root.depth;
        self.attr_block = U64::new(root.block.0);
        self.attr_blocks = U32::new(blocks);
        self.attr_len = U16::new(len);
        self.attr_off = U16::new(start as u16);
        true
    }

    /// Checks the attribute fork.
    pub(crate) fn verify_attr_fork(&self, geometry: &Geometry) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        let format = self
            .attr_format()
            .ok_or(Defect::new("attr_format", Range))?;
        let len = usize::from(self.attr_len.get());
        let off = usize::from(self.attr_off.get());

        ensure(len <= LITERAL_SIZE, "attr_len", Range)?;
        ensure(off == attr_start(len), "attr_off", Mismatch)?;
        match format {
            ForkFormat::AttrTree => {
                ensure(len == 0, "attr_len", Mismatch)?;
                ensure(self.attr_depth > 0, "attr_depth", Range)?;
                ensure(self.attr_blocks.get() > 0, "attr_blocks", Range)?;
                let blocks = u64::from(self.attr_blocks.get());
                ensure(blocks <= self.blocks.get(), "attr_blocks", Mismatch)?;
                let root = TreeRoot {
                    block: DiskBlock(self.attr_block.get()),
                    depth: self.attr_depth,
                };
                root.verify(geometry)
            }
            _ => {
                ensure(self.attr_depth == 0, "attr_depth", Mismatch)?;
                ensure(self.attr_block.get() == 0, "attr_block", Mismatch)?;
                ensure(self.attr_blocks.get() == 0, "attr_blocks", Mismatch)?;
                let used = format == ForkFormat::InlineAttrs;
                ensure(used == (len > 0), "attr_len", Mismatch)?;
                verify_attrs(self.attrs(), geometry)
            }
        }
    }
}
