// SPDX-License-Identifier: GPL-2.0

//! Nodes alone, against a naive model: a sorted map from key to record.

use super::super::edit::{
    self,
    Edit,
    Fit, //
};
use super::super::page::*;
use super::super::split::{
    self,
    Side, //
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// A block in memory that notes which bytes were declared changed.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) bytes: Block,
    touched: Vec<bool>,
}

impl Page {
    pub(super) fn new(shape: Shape) -> Self {
        let mut page = Self {
            bytes: [0; 4096],
            touched: vec![false; 4096],
        };
        edit::init(&mut page, shape, 0, 2).unwrap();
        page
    }

    pub(super) fn chunks(&self) -> usize {
        self.touched
            .chunks(128)
            .filter(|c| c.contains(&true))
            .count()
    }

    pub(super) fn clean(&mut self) {
        self.touched.fill(false);
    }
}

impl Edit for Page {
    fn bytes(&self) -> &Block {
        &self.bytes
    }

    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.touched.get_mut(range.clone())?.fill(true);
        self.bytes.get_mut(range)
    }
}

/// Test records: key, u16 length of the payload, payload.
fn measure(bytes: &[u8]) -> Option<usize> {
    let payload = usize::from(get_u16(bytes, 8)?);
    let len = 10 + payload;
    (MIN_RECORD..=MAX_RECORD).contains(&len).then_some(len)
}

pub(super) const SLOTTED: Shape = Shape::Slotted(measure);
pub(super) const FIXED: Shape = Shape::Fixed(16);

pub(super) fn record(shape: Shape, key: u64, payload: usize) -> Vec<u8> {
    let mut r = key.to_le_bytes().to_vec();
    match shape {
        Shape::Fixed(size) => r.resize(size, payload as u8),
        Shape::Slotted(_) => {
            let payload = payload.clamp(MIN_RECORD - 10, MAX_RECORD - 10);
            r.extend((payload as u16).to_le_bytes());
            r.resize(10 + payload, key as u8);
        }
    }
    r
}

fn content(page: &Page, shape: Shape) -> BTreeMap<u64, Vec<u8>> {
    let view = View::new(&page.bytes, shape).unwrap();
    view.verify().unwrap();
    (0..view.count())
        .map(|i| (view.key(i).unwrap(), view.record(i).unwrap().to_vec()))
        .collect()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, usize),
    Remove(usize),
    Overwrite(usize, u8),
    Truncate(usize),
    Compact,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..400_u64, prop_oneof![4..60_usize, 60..300_usize, 300..2100_usize])
            .prop_map(|(k, n)| Op::Insert(k, n)),
        5 => (0..300_usize).prop_map(Op::Remove),
        3 => (0..300_usize, any::<u8>()).prop_map(|(i, b)| Op::Overwrite(i, b)),
        1 => (0..300_usize).prop_map(Op::Truncate),
        1 => Just(Op::Compact),
    ]
}

/// Runs the operations on a node and on the model. A full node is split and goes on with one half.
fn run(shape: Shape, ops: &[Op]) {
    let mut page = Page::new(shape);
    let mut model = BTreeMap::new();
    for op in ops {
        let view = View::new(&page.bytes, shape).unwrap();
        match *op {
            Op::Insert(key, payload) => {
                let new = record(shape, key, payload);
                let Err(index) = view.search(key).unwrap() else {
                    continue;
                };
                assert_eq!(index, model.range(..key).count());
                if edit::fit(&view, new.len()).unwrap() != Fit::No {
                    split::insert(&mut page, shape, index, &new).unwrap();
                    model.insert(key, new);
                } else {
                    let cut = split::plan(&view, index, new.len()).unwrap();
                    let mut right = Page::new(shape);
                    let separator =
                        split::apply(&mut page, &mut right, shape, cut, index, &new).unwrap();
                    model.insert(key, new);
                    let upper = model.split_off(&separator);
                    assert_eq!(content(&page, shape), model);
                    assert_eq!(content(&right, shape), upper);
                    assert!(!model.is_empty() && !upper.is_empty());
                    let went = if key >= separator {
                        Side::Right
                    } else {
                        Side::Left
                    };
                    assert_eq!(cut.side, went);
                    if key % 2 == 0 {
                        page = right;
                        model = upper;
                    }
                }
            }
            Op::Remove(n) if n < model.len() => {
                edit::remove(&mut page, shape, n).unwrap();
                let key = *model.keys().nth(n).unwrap();
                model.remove(&key);
            }
            Op::Overwrite(n, byte) if n < model.len() => {
                let (_, r) = model.iter_mut().nth(n).unwrap();
                *r.last_mut().unwrap() = byte;
                let r = r.clone();
                page.clean();
                edit::overwrite(&mut page, shape, n, &r).unwrap();
                assert!(page.chunks() <= 1);
            }
            Op::Truncate(n) => {
                edit::truncate(&mut page, shape, n).unwrap();
                while model.len() > n {
                    model.pop_last();
                }
            }
            Op::Compact => {
                edit::compact(&mut page, shape).unwrap();
            }
            _ => {}
        }
        assert_eq!(content(&page, shape), model);
        let view = View::new(&page.bytes, shape).unwrap();
        let used: usize = model.values().map(|r| shape.cost(r.len())).sum();
        assert_eq!(view.used().unwrap(), used);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slotted_node_is_a_map(ops in proptest::collection::vec(op(), 500)) {
        run(SLOTTED, &ops);
    }

    #[test]
    fn fixed_node_is_a_map(ops in proptest::collection::vec(op(), 500)) {
        run(FIXED, &ops);
    }

    /// Merging gives what splitting took.
    #[test]
    fn append_joins_nodes(
        sizes in proptest::collection::vec(4..120_usize, 1..60),
        cut in 0..60_usize,
    ) {
        let (mut a, mut b) = (Page::new(SLOTTED), Page::new(SLOTTED));
        let mut model = BTreeMap::new();
        for (i, n) in sizes.iter().enumerate() {
            let r = record(SLOTTED, i as u64, *n);
            let used: usize = model.values().map(|r: &Vec<u8>| r.len() + SLOT).sum();
            if used + r.len() + SLOT > CAPACITY {
                break;
            }
            let page = if i < cut { &mut a } else { &mut b };
            let at = View::new(&page.bytes, SLOTTED).unwrap().count();
            split::insert(page, SLOTTED, at, &r).unwrap();
            model.insert(i as u64, r);
        }
        edit::append(&mut a, SLOTTED, &View::new(&b.bytes, SLOTTED).unwrap(), 0).unwrap();
        prop_assert_eq!(content(&a, SLOTTED), model);
    }

    /// Whatever the bytes are: an answer, no panic, no endless loop.
    #[test]
    fn any_bytes_are_survived(
        seed in proptest::collection::vec(any::<u8>(), 64),
        patches in proptest::collection::vec((40..400_usize, any::<u8>()), 0..40),
        filled in 0..80_usize,
        index in 0..300_usize,
        slotted in any::<bool>(),
    ) {
        let shape = if slotted { SLOTTED } else { FIXED };
        let mut page = Page::new(shape);
        if filled == 79 {
            for (i, b) in page.bytes.iter_mut().enumerate() {
                *b = seed[i % seed.len()].wrapping_add((i / 64) as u8);
            }
        } else {
            for i in 0..filled {
                split::insert(&mut page, shape, i, &record(shape, i as u64 * 2, 30)).unwrap();
            }
        }
        for (at, byte) in patches {
            page.bytes[at] = byte;
        }
        let Ok(view) = View::new(&page.bytes, shape) else { return Ok(()) };
        let _ = view.verify();
        let _ = view.search(77);
        let _ = view.covering(77);
        let _ = view.used();
        for i in 0..300 {
            let _ = view.record(i);
            let _ = view.child(i);
        }
        let new = record(shape, 33, 50);
        let _ = edit::fit(&view, new.len());
        if view.count() > 0 {
            let _ = split::plan(&view, index, new.len());
        }
        let _ = edit::append(&mut Page::new(shape), shape, &view, index);
        let _ = edit::append(&mut page.clone(), shape, &view, 0);
        let _ = split::insert(&mut page.clone(), shape, index, &new);
        let _ = edit::overwrite(&mut page.clone(), shape, index, &new);
        let _ = edit::remove(&mut page.clone(), shape, index);
        let _ = edit::truncate(&mut page.clone(), shape, index);
        let _ = edit::set_branch_key(&mut page.clone(), index, 5);
        let _ = edit::compact(&mut page, shape);
    }
}

/// An insert logs slots, header and the record, not the node.
#[test]
fn insert_changes_little() {
    let mut page = Page::new(SLOTTED);
    for i in 0..60 {
        split::insert(&mut page, SLOTTED, i, &record(SLOTTED, i as u64 * 2, 20)).unwrap();
    }
    page.clean();
    split::insert(&mut page, SLOTTED, 10, &record(SLOTTED, 19, 20)).unwrap();
    assert!(page.chunks() <= 4, "{}", page.chunks());
    page.clean();
    edit::remove(&mut page, SLOTTED, 10).unwrap();
    assert!(page.chunks() <= 2, "{}", page.chunks());
}

/// Sequences leave full nodes behind, up and down, at the ends and in the middle; others are halved.
#[test]
fn cut_follows_the_insertion() {
    let full = |last: usize| {
        let mut page = Page::new(FIXED);
        for i in (0..MAX_RECORDS).filter(|i| *i != last) {
            let at = View::new(&page.bytes, FIXED).unwrap().count();
            edit::insert(&mut page, FIXED, at, &record(FIXED, i as u64 * 2, 0)).unwrap();
        }
        edit::insert(&mut page, FIXED, last, &record(FIXED, last as u64 * 2, 0)).unwrap();
        let view = View::new(&page.bytes, FIXED).unwrap();
        view.verify().unwrap();
        assert_eq!(edit::fit(&view, 16).unwrap(), Fit::No);
        page
    };
    let at = |last: usize, index: usize| {
        let page = full(last);
        let cut = split::plan(&View::new(&page.bytes, FIXED).unwrap(), index, 16).unwrap();
        (cut.at, cut.side)
    };
    assert_eq!(at(3, 252), (252, Side::Right));
    assert_eq!(at(249, 250), (250, Side::Right));
    assert_eq!(at(99, 100), (100, Side::Left));
    assert_eq!(at(9, 0), (0, Side::Left));
    assert_eq!(at(2, 2), (2, Side::Left));
    assert_eq!(at(100, 100), (100, Side::Right));
    for other in [50, 100, 200] {
        assert!((125..=127).contains(&at(7, other).0));
    }
}
