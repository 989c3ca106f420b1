// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{AgNumber, BlockRange, Defect, DefectKind, DiskBlock, Geometry};
use latchfs_fsck::Problem;

use super::common::{finds, fsck, sample};

#[test]
fn bitmap_damaged() {
    let s = sample();
    let block = s
        .image
        .context
        .geometry
        .bitmap_block(AgNumber(0), 0)
        .unwrap();
    let damaged = |defect| Problem::BitmapDamaged {
        ag: AgNumber(0),
        index: 0,
        block,
        defect,
    };
    s.image.edit_raw(block, |data| data[5] ^= 1);
    finds(
        &s.image,
        &[damaged(Defect::new("crc", DefectKind::Checksum))],
    );
    s.image.edit(block, |data| data[44] ^= 1);
    finds(
        &s.image,
        &[damaged(Defect::new("free", DefectKind::Mismatch))],
    );
}

#[test]
fn bitmap_frees_static_metadata() {
    let s = sample();
    s.image
        .edit_bitmap(0, 0, |bitmap| bitmap.set_range(0, 1, false));
    let problems = fsck(&s.image).problems;
    let bits = Defect::new("bits", DefectKind::Mismatch);
    assert!(matches!(problems[..], [Problem::BitmapDamaged { defect, .. }] if defect == bits));
}

#[test]
fn blocks_leaked() {
    let s = sample();
    s.image
        .edit_bitmap(0, 0, |bitmap| bitmap.set_range(3000, 5, true));
    let range = BlockRange::new(DiskBlock(3000), 5);
    finds(&s.image, &[Problem::BlocksLeaked { range }]);
}

#[test]
fn blocks_unmarked() {
    let s = sample();
    let range = s.image.slot(s.file).extents()[0].unpack().range();
    let (_, inside) = s.image.context.geometry.locate(range.start).unwrap();
    let (index, bit) = Geometry::bitmap_position(inside);
    s.image
        .edit_bitmap(0, index, |bitmap| bitmap.set_range(bit, 4, false));
    finds(&s.image, &[Problem::BlocksUnmarked { range }]);
}

/// Blocks in use under a bitmap block that was never written.
#[test]
fn blocks_unmarked_above_watermark() {
    let s = sample();
    s.image.edit_header(1, |header| header.bitmap_init.set(0));
    let problems = fsck(&s.image).problems;
    assert!(!problems.is_empty());
    assert!(problems
        .iter()
        .all(|problem| matches!(problem, Problem::BlocksUnmarked { .. })));
}
