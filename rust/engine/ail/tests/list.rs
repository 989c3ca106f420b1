// SPDX-License-Identifier: GPL-2.0

//! Arena, list and cursor against a vector.

use super::super::list::{List, Room};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    Link(usize),
    Unlink(usize),
    Remove(usize),
    Rewind,
    Advance,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => any::<u32>().prop_map(Op::Insert),
        4 => any::<usize>().prop_map(Op::Link),
        2 => any::<usize>().prop_map(Op::Unlink),
        2 => any::<usize>().prop_map(Op::Remove),
        1 => Just(Op::Rewind),
        4 => Just(Op::Advance),
    ];
    proptest::collection::vec(op, 0..600)
}

/// What the list must be: entries with their slots, the slots on the list in order, and how many of
/// them are behind the cursor.
#[derive(Default)]
struct Model {
    entries: Vec<(u32, u32)>,
    order: Vec<u32>,
    passed: usize,
    standing: bool,
}

impl Model {
    fn unlink(&mut self, at: u32) {
        if let Some(n) = self.order.iter().position(|a| *a == at) {
            self.order.remove(n);
            if n < self.passed {
                self.passed -= 1;
            }
        }
    }

    fn pick(&self, n: usize) -> Option<u32> {
        (!self.entries.is_empty()).then(|| self.entries[n % self.entries.len()].0)
    }

    /// The cursor has run off the end: what is added later is for the next round.
    fn settle(&mut self) {
        if self.passed >= self.order.len() {
            self.standing = false;
        }
    }
}

proptest! {
    #[test]
    fn the_list_is_a_vector(ops in ops()) {
        let mut list: List<u32> = List::new();
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Insert(value) => {
                    if list.room() == 0 {
                        let room = Room::must_new(list.wants_segments());
                        drop(list.grow(room));
                    }
                    let at = list.insert(value).unwrap();
                    prop_assert!(model.entries.iter().all(|e| e.0 != at));
                    model.entries.push((at, value));
                }
                Op::Link(n) => if let Some(at) = model.pick(n) {
                    list.push_back(at);
                    model.unlink(at);
                    model.settle();
                    model.order.push(at);
                },
                Op::Unlink(n) => if let Some(at) = model.pick(n) {
                    list.unlink(at);
                    model.unlink(at);
                    model.settle();
                },
                Op::Remove(n) => if let Some(at) = model.pick(n) {
                    let value = list.remove(at);
                    prop_assert_eq!(list.remove(at), None);
                    model.unlink(at);
                    model.settle();
                    let n = model.entries.iter().position(|e| e.0 == at).unwrap();
                    prop_assert_eq!(value, Some(model.entries.swap_remove(n).1));
                },
                Op::Rewind => {
                    list.rewind();
                    model.passed = 0;
                    model.standing = !model.order.is_empty();
                }
                Op::Advance => {
                    let want = model.standing.then(|| model.order[model.passed]);
                    prop_assert_eq!(list.advance(), want);
                    model.passed += usize::from(model.standing);
                    model.settle();
                }
            }
            prop_assert_eq!(list.used(), model.entries.len());
            prop_assert_eq!(list.len(), model.order.len());
            prop_assert_eq!(list.first(), model.order.first().copied());
            prop_assert_eq!(list.last(), model.order.last().copied());
            for (at, value) in &model.entries {
                prop_assert_eq!(list.get(*at), Some(value));
            }
        }
        // From the front, all of it in order.
        let mut order = Vec::new();
        list.rewind();
        while let Some(at) = list.advance() {
            order.push(at);
        }
        prop_assert_eq!(order, model.order);
        let mut seen = 0;
        let mut from = 0;
        while let Some(at) = list.any_from(from) {
            from = at + 1;
            seen += 1;
        }
        prop_assert_eq!(seen, model.entries.len());
    }
}

#[test]
fn without_room_nothing_goes_in() {
    let mut list: List<u8> = List::new();
    assert_eq!(list.insert(1), Err(1));
    drop(list.grow(Room::must_new(1)));
    let room = list.room();
    for _ in 0..room {
        list.insert(2).unwrap();
    }
    assert_eq!(list.insert(3), Err(3));
    assert_eq!(list.room(), 0);
    // The directory of segments grows by and by, and nothing is lost.
    for n in 1..20 {
        drop(list.grow(Room::must_new(list.wants_segments())));
        assert_eq!(list.room(), n * room);
        assert_eq!(list.used(), room);
    }
    assert!((0..room as u32).all(|at| list.get(at) == Some(&2)));
}
