// SPDX-License-Identifier: GPL-2.0

//! Transactions: what is changed, what comes back, what is refused.

use super::*;
use crate::engine::testing::Fixture;
use crate::format::{Geometry, Ino, SymlinkBlock};

const OWNER: Owner = Owner::inode(Ino(77));
const KIND: BlockKind = BlockKind::Symlink;

fn write(m: &Mount, txn: &mut Txn<'_>, buf: &BufRef, text: &[u8]) {
    let context = *m.context();
    txn.modify(buf, |b| {
        let at = b.block();
        SymlinkBlock::format(b.whole(), &context, at, OWNER, 0, text);
    });
}

fn new_block(f: &Fixture, text: &[u8]) -> DiskBlock {
    f.change(TxnRes::new(1, 1), |m, txn| {
        let buf = txn.new_meta(DiskBlock(0), KIND, OWNER)?;
        write(m, txn, &buf, text);
        Ok(buf.block())
    })
    .unwrap()
}

#[test]
fn an_unused_transaction_leaves_nothing_behind() {
    let f = Fixture::new(8192);
    let before = (f.m.statfs(), f.m.alloc().hidden());
    drop(f.m.begin(TxnRes::new(10, 10)).unwrap());
    let mut txn = f.m.begin(TxnRes::new(3, 3)).unwrap();
    let at = txn.new_meta(DiskBlock(0), KIND, OWNER).unwrap().block();
    drop(txn);
    assert!(!f.m.is_shutdown(), "nothing was changed");
    assert_eq!((f.m.statfs(), f.m.alloc().hidden()), before);
    // The block may be used again.
    let again = new_block(&f, b"x");
    assert!(again.get().abs_diff(at.get()) < 64);
    f.m.checkpoint().unwrap();
    f.m.alloc().check(true).unwrap();
}

#[test]
fn unused_blocks_are_given_back_at_commit() {
    let f = Fixture::new(8192);
    let before = f.m.statfs().free;
    f.change(TxnRes::new(20, 20), |m, txn| {
        let buf = txn.new_meta(DiskBlock(0), KIND, OWNER)?;
        write(m, txn, &buf, b"x");
        assert_eq!(txn.blocks_left(), 19);
        Ok(())
    })
    .unwrap();
    assert_eq!(f.m.statfs().free, before - 1);
}

#[test]
fn a_transaction_that_fails_after_a_change_shuts_down() {
    let f = Fixture::new(8192);
    let at = new_block(&f, b"old");
    f.m.checkpoint().unwrap();
    let mut txn = f.m.begin(TxnRes::new(0, 1)).unwrap();
    let buf = f.m.buf().read(at, KIND, OWNER).unwrap();
    write(&f.m, &mut txn, &buf, b"new");
    drop(txn);
    assert!(f.m.is_shutdown());
    assert!(f
        .m
        .begin(TxnRes::new(0, 0))
        .map(drop)
        .unwrap_err()
        .is(Errno::IO));
    assert!(f.m.checkpoint().unwrap_err().is(Errno::IO));
    let _ = f.m.unmount();
    // What was not committed is not on the disk.
    let m = Fixture::mount(&f.disk);
    let buf = m.buf().read(at, KIND, OWNER).unwrap();
    assert_eq!(SymlinkBlock::of(&buf.data()).bytes(), b"old");
    drop(buf);
    m.unmount().unwrap();
}

#[test]
fn enospc_is_told_at_begin_and_only_there() {
    let f = Fixture::new(8192);
    let mut n = 0;
    let e = loop {
        match f.m.begin(TxnRes::new(100, 100)) {
            Ok(mut txn) => {
                for _ in 0..100 {
                    let buf = txn.new_meta(DiskBlock(0), KIND, OWNER).unwrap();
                    write(&f.m, &mut txn, &buf, b"x");
                }
                txn.commit().unwrap();
                n += 100;
            }
            Err(e) => break e,
        }
    };
    assert!(e.is(Errno::NOSPC));
    assert!(f.m.statfs().free < 100);
    assert!(n > 6000);
    f.m.checkpoint().unwrap();
    f.m.alloc().check(true).unwrap();
}

#[test]
fn rolling_keeps_the_gate_and_hands_unused_blocks_on() {
    let f = Fixture::new(8192);
    let before = f.m.statfs().free;
    let mut txn = f.m.begin(TxnRes::new(4, 4)).unwrap();
    for n in 0..10_u8 {
        let buf = txn.new_meta(DiskBlock(0), KIND, OWNER).unwrap();
        write(&f.m, &mut txn, &buf, &[b'a' + n]);
        txn = txn.roll(TxnRes::new(4, 4)).unwrap();
        assert!(!txn.is_dirty());
        assert_eq!(txn.blocks_left(), 4);
    }
    txn.commit().unwrap();
    assert_eq!(f.m.statfs().free, before - 10);
    f.m.checkpoint().unwrap();
    f.m.alloc().check(true).unwrap();
}

#[test]
fn blocks_freed_in_a_chain_are_not_used_by_it() {
    let f = Fixture::new(8192);
    let at = new_block(&f, b"x");
    let mut txn = f.m.begin(TxnRes::new(1, 1).frees(1)).unwrap();
    txn.free(BlockRange::new(at, 1), FreeKind::Meta).unwrap();
    let mut seen = Vec::new();
    for _ in 0..100 {
        txn = txn.roll(TxnRes::new(1, 1)).unwrap();
        let buf = txn.new_meta(at, KIND, OWNER).unwrap();
        write(&f.m, &mut txn, &buf, b"y");
        seen.push(buf.block());
    }
    txn.commit().unwrap();
    assert!(!seen.contains(&at));
}

#[test]
fn a_checkpoint_has_nothing_of_open_transactions() {
    let f = Fixture::new(8192);
    let at = new_block(&f, b"old");
    f.m.push_ail_all().unwrap();
    let mut txn = f.m.begin(TxnRes::new(0, 1)).unwrap();
    let buf = f.m.buf().read(at, KIND, OWNER).unwrap();
    write(&f.m, &mut txn, &buf, b"new");
    std::thread::scope(|s| {
        let m = &f.m;
        // Does not wait for the transaction, neither does what follows it.
        s.spawn(move || m.checkpoint()).join().unwrap().unwrap();
    });
    let on_disk = |f: &Fixture| {
        let mut block = [0; 4096];
        crate::sys::device::Backend::read(&*f.disk, at.get(), &mut block).unwrap();
        SymlinkBlock::of(&block).bytes().to_vec()
    };
    assert_eq!(on_disk(&f), b"old");
    assert!(buf.item().is_pinned());
    txn.commit().unwrap();
    assert!(buf.item().is_pinned(), "by the open context");
    f.m.checkpoint().unwrap();
    assert!(!buf.item().is_pinned());
    assert_eq!(on_disk(&f), b"old", "only in the log yet");
    f.m.push_ail_all().unwrap();
    assert_eq!(on_disk(&f), b"new");
}

#[test]
fn transactions_do_not_nest() {
    let f = Fixture::new(8192);
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _outer = f.m.begin(TxnRes::new(0, 0));
        let inner = f.m.begin(TxnRes::new(0, 0));
        assert!(inner.is_err());
    }));
    // Debug builds stop at the assertion, others refuse.
    assert_eq!(r.is_err(), cfg!(debug_assertions));
}

#[test]
fn dirty_chunks_are_those_that_were_given_out() {
    let mut bytes = [0; 4096];
    let mut b = BlockMut::new(1, &mut bytes);
    b.bytes_mut(0..1).unwrap()[0] = 1;
    assert_eq!(b.chunks(), 1);
    b.bytes_mut(127..129).unwrap().fill(2);
    assert_eq!(b.chunks(), 0b11);
    b.write(4095, &[3]).unwrap();
    assert_eq!(b.chunks(), 0b11 | 1 << 31);
    b.copy_within(0..200, 1000).unwrap();
    assert_eq!(b.chunks(), 0b11 | 0b111 << 7 | 1 << 31);
    assert_eq!(b.bytes()[1000], 1);
    b.bytes_mut(300..300).unwrap();
    assert_eq!(b.chunks(), 0b11 | 0b111 << 7 | 1 << 31);
    assert!(b.bytes_mut(4000..4097).is_err());
    assert!(b.write(4096, &[1]).is_err());
    assert!(b.write(usize::MAX, &[1, 2]).is_err());
    assert!(b.copy_within(0..200, 4000).is_err());
    assert!(b.copy_within(4000..5000, 0).is_err());
    b.whole();
    assert_eq!(b.chunks(), u32::MAX);
}

#[test]
fn two_blocks_are_changed_together_in_either_order() {
    let f = Fixture::new(8192);
    let (a, b) = (new_block(&f, b"a"), new_block(&f, b"b"));
    let read = |at| f.m.buf().read(at, KIND, OWNER).unwrap();
    for (x, y) in [(a, b), (b, a)] {
        f.change(TxnRes::new(0, 2), |_, txn| {
            txn.modify2(&read(x), &read(y), |x, y| {
                let byte = x.bytes()[64];
                x.write(64, &[y.bytes()[64]]).unwrap();
                y.write(64, &[byte]).unwrap();
            })
        })
        .unwrap();
    }
    assert_eq!(read(a).data()[64], b'a');
    let e = f.change(TxnRes::new(0, 2), |_, txn| {
        txn.modify2(&read(a), &read(a), |_, _| ())
    });
    assert!(e.unwrap_err().is(Errno::UCLEAN));
}

#[test]
fn a_bitmap_that_lies_is_found_at_commit() {
    let f = Fixture::new(8192);
    let claim = f.m.claim(DiskBlock(4000), 4, 4).unwrap();
    // Somebody set the bits behind our back.
    let (ag, block) = f.m.geo().locate(claim.range().start).unwrap();
    let (map, bit) = Geometry::bitmap_position(block);
    let at = f.m.geo().bitmap_block(ag, map).unwrap();
    f.change(TxnRes::new(0, 0).frees(1), |m, txn| {
        // Makes the bitmap block if there is none yet.
        let other = m.alloc().claim(claim.range().end(), 1, 1)?;
        txn.use_claim(other)
    })
    .unwrap();
    let buf =
        f.m.buf()
            .read(at, BlockKind::Bitmap, Owner::ag(ag))
            .unwrap();
    buf.modify_for_flush(|b| {
        crate::format::BitmapBlock::of_mut(b).set_range(bit, 4, true);
    });
    let e = f.change(TxnRes::new(0, 0).frees(1), |_, txn| txn.use_claim(claim));
    assert!(e.unwrap_err().is(Errno::UCLEAN));
    assert!(f.m.is_shutdown());
}

#[test]
fn an_unreadable_bitmap_is_met_before_the_first_change() {
    let mut f = Fixture::new(8192);
    let at = new_block(&f, b"x");
    f.remount();
    f.disk.fail_reads(true);
    let e = f.change(TxnRes::new(0, 0).frees(1), |_, txn| {
        txn.free(BlockRange::new(at, 1), FreeKind::Data)
    });
    assert!(e.is_err());
    assert!(!f.m.is_shutdown());
    f.disk.fail_reads(false);
}

#[test]
fn the_documentation_has_the_reservations() {
    use crate::engine::extents::disk::{change_res, step_res};
    use crate::engine::xattr;
    let doc = include_str!("../../../Documentation/journal.rst");
    let all = [
        ("create, mkdir, mknod", res::CREATE),
        ("symlink", res::SYMLINK),
        ("tmpfile", res::TMPFILE),
        ("link", res::LINK),
        ("unlink, rmdir", res::REMOVE),
        ("rename", res::RENAME),
        ("rename with whiteout", res::RENAME_WHITEOUT),
        ("setattr, flags", res::SETATTR),
        ("inactivate", res::INACTIVATE),
        ("inactivate a small file", res::INACTIVATE_FILE),
        ("new inode chunk", res::INODE_CHUNK),
        ("inode chunk goes", res::INODE_CHUNK_FREE),
        ("change of an extent map", change_res(1)),
        ("truncate, each link", step_res()),
        ("attribute, small", xattr::SET_SMALL),
        ("attribute, large", xattr::SET_LARGE),
        ("attribute goes", xattr::REMOVE),
        ("attributes freed, a step", xattr::FREE_STEP),
    ];
    for (name, res) in all {
        let row = std::format!(
            "{name:<26}{:>8}{:>8}{:>8}{:>10}",
            res.bufs,
            res.inodes,
            res.bitmaps(),
            res.log_bytes()
        );
        assert!(doc.contains(&row), "not in the table:\n{row}");
    }
}
