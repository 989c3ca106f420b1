// SPDX-License-Identifier: GPL-2.0

//! The kind of a buffer as a number, and where a block of a kind can be.

use crate::format::{
    defect::{Defect, DefectKind},
    header::{BlockKind, Context},
    units::DiskBlock, //
};

/// Kinds by the number that a buffer stores.
const KINDS: [BlockKind; 8] = [
    BlockKind::AgHeader,
    BlockKind::Bitmap,
    BlockKind::InodeMap,
    BlockKind::Tree,
    BlockKind::Symlink,
    BlockKind::Log,
    BlockKind::Inodes,
    BlockKind::AttrValue,
];

/// The number a buffer stores for `kind`.
pub(super) fn code(kind: BlockKind) -> u32 {
    KINDS.iter().position(|k| *k == kind).unwrap_or(0) as u32
}

/// The kind with this number.
pub(super) fn kind(code: u32) -> BlockKind {
    KINDS
        .get(code as usize)
        .copied()
        .unwrap_or(BlockKind::AgHeader)
}

/// Checks that a block of this kind can be at `at`: static metadata has one place, everything else
/// is anywhere but there. Costs no I/O, so a wild pointer in an image is caught before one.
pub(super) fn place(kind: BlockKind, context: &Context, at: DiskBlock) -> Result<(), Defect> {
    let geometry = &context.geometry;
    match kind {
        BlockKind::AgHeader | BlockKind::Bitmap => match geometry.locate(at) {
            Some((ag, block)) if block < geometry.head_end(ag) => Ok(()),
            _ => Err(Defect::new("address", DefectKind::Address)),
        },
        BlockKind::Log => {
            if geometry.log().contains(at) {
                Ok(())
            } else {
                Err(Defect::new("address", DefectKind::Address))
            }
        }
        BlockKind::InodeMap
        | BlockKind::Tree
        | BlockKind::Symlink
        | BlockKind::AttrValue
        | BlockKind::Inodes => geometry.check_block(at, "address"),
    }
}
