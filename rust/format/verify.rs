// SPDX-License-Identifier: GPL-2.0

//! One entry point for the verifiers of all block kinds: what the buffer cache calls after a read
//! and before a write.

use super::{
    ag::AgHeader,
    bitmap::BitmapBlock,
    btree::TreeBlock,
    defect::{Defect, DefectKind},
    header::{BlockKind, Context, Owner},
    imap::MapBlock,
    log::LogHeader,
    symlink::SymlinkBlock,
    units::{AgNumber, Block, DiskBlock},
    xattr::value::AttrBlock,
};

/// Checks a block of kind `kind` that was read from, or is about to be written to, block `at`.
///
/// `owner` is whose block the caller expects; [`None`] accepts any (fsck, inspection). Blocks of
/// inode slots always pass: each slot is checked when it is used
/// ([`super::inode::InodeSlot::verify`]).
pub fn verify_block(
    block: &Block,
    kind: BlockKind,
    context: &Context,
    at: DiskBlock,
    owner: Option<Owner>,
) -> Result<(), Defect> {
    match kind {
        BlockKind::AgHeader => AgHeader::verify(block, context, at, ag_of(context, at)?),
        BlockKind::Bitmap => BitmapBlock::verify(block, context, at, ag_of(context, at)?),
        BlockKind::InodeMap => {
            // Map blocks may be in any group; the owner says whose they are.
            let ag = match owner {
                Some(owner) => owner.as_inode_map(),
                None => super::header::BlockHeader::of(block).owner().as_inode_map(),
            };
            let ag = ag.filter(|ag| ag.0 < context.geometry.ag_count());
            MapBlock::verify(
                block,
                context,
                at,
                ag.ok_or(Defect::new("owner", DefectKind::Owner))?,
            )
        }
        BlockKind::Tree => TreeBlock::verify(block, context, at, owner),
        BlockKind::Symlink => SymlinkBlock::verify(block, context, at, owner),
        BlockKind::AttrValue => AttrBlock::verify(block, context, at, owner),
        BlockKind::Log => LogHeader::verify(block, context, at),
        BlockKind::Inodes => Ok(()),
    }
}

fn ag_of(context: &Context, at: DiskBlock) -> Result<AgNumber, Defect> {
    context
        .geometry
        .locate(at)
        .map(|(ag, _)| ag)
        .ok_or(Defect::new("block", DefectKind::Misplaced))
}
