// SPDX-License-Identifier: GPL-2.0

//! Mount, sync, unmount.

use crate::engine::testing::Fixture;
use crate::engine::txn::{FreeKind, TxnRes};
use crate::format::{BlockKind, BlockRange, DiskBlock, Ino, Owner, SymlinkBlock};

#[test]
fn a_block_is_allocated_written_found_and_freed() {
    let mut f = Fixture::new(8192);
    let before = f.m.statfs();
    let owner = Owner::inode(Ino(1));
    let at = f
        .change(TxnRes::new(2, 2), |m, txn| {
            let buf = txn.new_meta(DiskBlock(0), BlockKind::Symlink, owner)?;
            let context = *m.context();
            txn.modify(&buf, |b| {
                let at = b.block();
                SymlinkBlock::format(b.whole(), &context, at, owner, 0, b"x");
            });
            Ok(buf.block())
        })
        .unwrap();
    assert_eq!(f.m.statfs().free, before.free - 1);
    f.m.sync().unwrap();
    f.remount();
    assert_eq!(f.m.statfs().free, before.free - 1);
    let buf = f.m.buf().read(at, BlockKind::Symlink, owner).unwrap();
    assert_eq!(SymlinkBlock::of(&buf.data()).bytes(), b"x");
    drop(buf);
    f.change(TxnRes::new(0, 0).frees(1), |_, txn| {
        txn.free(BlockRange::new(at, 1), FreeKind::Meta)
    })
    .unwrap();
    f.remount();
    assert_eq!(f.m.statfs().free, before.free);
}
