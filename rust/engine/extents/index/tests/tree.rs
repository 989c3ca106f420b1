// SPDX-License-Identifier: GPL-2.0

//! The map against std's, in all shapes of growth and shrinking.

use crate::engine::extents::index::tree::Map;
use std::collections::BTreeMap;

/// xorshift64*: a test is its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn put(map: &mut Map<u64>, key: u64, value: u64) {
    map.must_reserve(1);
    assert!(map.insert(key, value).is_ok());
}

fn same(map: &Map<u64>, model: &BTreeMap<u64, u64>) {
    map.check();
    assert_eq!(map.len() as usize, model.len());
    let mut slot = map.first();
    for (key, value) in model {
        let at = slot.expect("an entry is missing");
        assert_eq!(map.get(at), Some((*key, value)));
        slot = map.next(at);
    }
    assert!(slot.is_none());
    let mut slot = map.last();
    for (key, value) in model.iter().rev() {
        let at = slot.expect("an entry is missing");
        assert_eq!(map.get(at), Some((*key, value)));
        slot = map.prev(at);
    }
    assert!(slot.is_none());
}

#[test]
fn ascending_descending_and_delete_all() {
    for step in [1_i64, -1] {
        let mut map = Map::new();
        let mut model = BTreeMap::new();
        for i in 0..10_000_i64 {
            let key = (20_000 + i * step) as u64;
            put(&mut map, key, key * 3);
            model.insert(key, key * 3);
        }
        same(&map, &model);
        while let Some(slot) = if step > 0 { map.first() } else { map.last() } {
            let key = map.get(slot).map(|(k, _)| k).unwrap_or_default();
            assert_eq!(map.remove(slot), model.remove(&key));
            if model.len() % 997 == 0 {
                same(&map, &model);
            }
        }
        assert!(model.is_empty());
    }
}

#[test]
fn random_against_std() {
    for seed in 1..=8 {
        let mut rng = Rng(seed);
        let mut map = Map::new();
        let mut model = BTreeMap::new();
        // Key range small enough for hits, and growing and shrinking phases.
        for op in 0..20_000_u64 {
            let key = rng.next() % 2_000;
            let grow = (op / 4_000) % 2 == 0;
            if !rng.next().is_multiple_of(3) && grow || rng.next().is_multiple_of(3) {
                map.must_reserve(1);
                assert_eq!(
                    map.insert(key, op).is_ok(),
                    !model.contains_key(&key),
                    "insert"
                );
                model.entry(key).or_insert(op);
            } else if let Some(slot) = map.find_ge(key) {
                let found = map.get(slot).map(|(k, v)| (k, *v));
                assert_eq!(found, model.range(key..).next().map(|(k, v)| (*k, *v)));
                let (found, _) = found.unwrap_or_default();
                assert_eq!(map.remove(slot), model.remove(&found));
            }
            let le = map.find_le(key).and_then(|s| map.get(s)).map(|(k, _)| k);
            assert_eq!(le, model.range(..=key).next_back().map(|(k, _)| *k));
            if op % 977 == 0 {
                map.shrink();
            }
            if op % 1_999 == 0 {
                same(&map, &model);
            }
        }
        same(&map, &model);
    }
}

#[test]
fn depth_is_logarithmic_and_memory_is_bounded() {
    let mut map = Map::new();
    assert_eq!(map.bytes(), 0);
    put(&mut map, 0, 0);
    // One extent costs a few hundred bytes, not a page.
    assert!(map.bytes() < 4 * 64 + 256, "{}", map.bytes());
    for key in 1..100_000 {
        put(&mut map, key, key);
    }
    map.check();
    // Freed slots are used again.
    let before = map.bytes();
    for _ in 0..50_000 {
        if let Some(slot) = map.first() {
            map.remove(slot);
        }
    }
    for key in 200_000..250_000 {
        put(&mut map, key, key);
    }
    assert_eq!(map.bytes(), before);
    // Memory comes back when most of it is free, wherever the entries are.
    while map.len() > 1_000 {
        let key = u64::from(map.len()) * 2_654_435_761 % 300_000;
        let slot = map.find_ge(key).or_else(|| map.first());
        map.remove(slot.expect("it is not empty"));
    }
    map.shrink();
    map.check();
    assert_eq!(map.len(), 1_000);
    assert!(map.bytes() < 2_000 * 64, "{}", map.bytes());
    for key in 300_000..301_000 {
        put(&mut map, key, key);
    }
    map.check();
    map.clear();
    assert_eq!(map.bytes(), 0);
}

#[test]
fn insertion_fails_without_a_spare_slot_and_loses_nothing() {
    let mut map = Map::new();
    assert_eq!(map.insert(1, 7), Err(7));
    map.must_reserve(1);
    while map.spare() > 0 {
        let key = u64::from(map.len());
        assert!(map.insert(key, key).is_ok());
    }
    let key = u64::from(map.len());
    assert_eq!(map.insert(key, 9), Err(9));
    map.check();
    crate::sys::alloc::fail_after(Some(0));
    assert!(map.try_reserve(1).is_err());
    crate::sys::alloc::fail_after(None);
    assert!(map.try_reserve(1).is_ok());
    assert!(map.insert(key, 9).is_ok());
}
