// SPDX-License-Identifier: GPL-2.0

//! readdir while the directory changes: what is there all the time is seen exactly once.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn stable(n: u32) -> Vec<u8> {
    format!("stays-{n}").into_bytes()
}

fn passing(n: u32) -> Vec<u8> {
    format!("comes-and-goes-{n}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    #[test]
    fn what_stays_is_seen_once(
        // Few: the directory changes between inode and tree under the reader.
        count in prop_oneof![1..8_u32, 1..400_u32],
        seed in prop_oneof![3 => any::<u64>(), 1 => Just(SAME_HASH)],
        changes in proptest::collection::vec((0..300_u32, any::<bool>()), 0..600),
        step in 1..40_usize,
    ) {
        let mut dir = TestDir::new(seed);
        for n in 0..count {
            dir.insert(&stable(n), 1);
        }
        let mut changes = changes.into_iter();
        let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut buffer = EntryBuf::try_new().unwrap();
        let mut from = 0;
        loop {
            read(&dir.fx.m, &dir.fork, &dir.ctx, from, &mut buffer).unwrap();
            if buffer.is_empty() {
                break;
            }
            // The reader has room for a few entries only.
            for entry in buffer.iter().take(step) {
                prop_assert!(entry.key >= from);
                from = entry.key + 1;
                *seen.entry(entry.name.to_vec()).or_default() += 1;
            }
            for (n, come) in changes.by_ref().take(25) {
                if come {
                    dir.insert(&passing(n), 2);
                } else {
                    dir.remove(&passing(n));
                }
            }
        }
        for n in 0..count {
            prop_assert_eq!(seen.get(&stable(n)), Some(&1));
        }
        dir.check();
    }
}

/// rm -r: read a buffer, remove what it had, go on; everything is removed in one pass.
#[test]
fn removing_while_reading() {
    for count in [5, 14, 3000] {
        let mut dir = TestDir::new(9);
        for n in 0..count {
            dir.insert(&stable(n), 1);
        }
        let mut buffer = EntryBuf::try_new().unwrap();
        let mut from = 0;
        loop {
            read(&dir.fx.m, &dir.fork, &dir.ctx, from, &mut buffer).unwrap();
            if buffer.is_empty() {
                break;
            }
            let names: Vec<_> = buffer.iter().map(|e| e.name.to_vec()).collect();
            from = buffer.iter().last().unwrap().key + 1;
            for name in names {
                dir.remove(&name);
            }
        }
        assert!(is_empty(&dir.fork), "{count}");
        dir.check();
    }
}

/// The buffer holds 4 KiB, and always at least one entry.
#[test]
fn buffer_takes_what_fits() {
    let mut dir = TestDir::new(2);
    for n in 0..100_u8 {
        dir.insert(&[n + 100; 255], 1);
    }
    let mut buffer = EntryBuf::try_new().unwrap();
    read(&dir.fx.m, &dir.fork, &dir.ctx, 0, &mut buffer).unwrap();
    assert_eq!(buffer.iter().count(), 15);
    let last = dir.list(0).last().unwrap().1.key;
    read(&dir.fx.m, &dir.fork, &dir.ctx, last, &mut buffer).unwrap();
    assert_eq!(buffer.iter().count(), 1);
    read(&dir.fx.m, &dir.fork, &dir.ctx, last + 1, &mut buffer).unwrap();
    assert!(buffer.is_empty());
    read(&dir.fx.m, &dir.fork, &dir.ctx, u64::MAX, &mut buffer).unwrap();
    assert!(buffer.is_empty());
}
