// SPDX-License-Identifier: GPL-2.0

//! Damaged directories: every operation ends, with a result or an error.

use super::*;
use crate::engine::btree::edit::Edit;
use crate::format::BlockKind;
use proptest::prelude::*;

fn all_operations(dir: &mut TestDir, names: &[Vec<u8>]) {
    let (fx, ctx, fork) = (&dir.fx, &dir.ctx, &mut dir.fork);
    let mut buffer = EntryBuf::try_new().unwrap();
    let (mut from, mut seen) = (0, 0);
    while read(&fx.m, fork, ctx, from, &mut buffer).is_ok() {
        let Some(last) = buffer.iter().last() else {
            break;
        };
        seen += buffer.iter().count();
        assert!(seen < 10_000);
        let Some(next) = last.key.checked_add(1).filter(|next| *next > from) else {
            break;
        };
        from = next;
    }
    for name in names {
        let _ = lookup(&fx.m, fork, ctx, name);
        let _ = fx.change(RES, |m, txn| {
            replace(m, txn, fork, ctx, name, Ino(3), FileType::Fifo)
        });
        let _ = fx.change(RES, |m, txn| remove(m, txn, fork, ctx, name));
        let _ = fx.change(RES, |m, txn| {
            insert(m, txn, fork, ctx, name, Ino(2), FileType::Regular)
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..Default::default() })]

    #[test]
    fn damaged_leaf(
        count in 20..100_u32,
        patches in proptest::collection::vec((40..4096_usize, any::<u8>()), 1..60),
        same in any::<bool>(),
    ) {
        let mut dir = TestDir::new(if same { SAME_HASH } else { 5 });
        let names: Vec<_> = (0..count).map(|n| format!("name {n}").into_bytes()).collect();
        for name in &names {
            dir.insert(name, 1);
        }
        let owner = Owner::inode(dir.ctx.owner);
        let leaf = dir.fx.m.buf().read(dir.fork.root.block, BlockKind::Tree, owner).unwrap();
        dir.fx
            .change(RES, |_, txn| {
                txn.modify(&leaf, |page| {
                    for (at, byte) in patches {
                        Edit::bytes_mut(page, at..at + 1).unwrap()[0] = byte;
                    }
                });
                Ok(())
            })
            .unwrap();
        all_operations(&mut dir, &names);
    }

    /// The inode's bytes are verified when it is read; here they are not.
    #[test]
    fn damaged_inline(
        count in 1..12_u32,
        patches in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20),
        cut in 0..40_usize,
    ) {
        let mut dir = TestDir::new(5);
        let names: Vec<_> = (0..count).map(|n| format!("name {n}").into_bytes()).collect();
        for name in &names {
            dir.insert(name, 1);
        }
        let len = dir.fork.inline.len();
        for (at, byte) in patches {
            dir.fork.inline[at % len] = byte;
        }
        dir.fork.inline.truncate(len.saturating_sub(cut));
        all_operations(&mut dir, &names);
    }
}
