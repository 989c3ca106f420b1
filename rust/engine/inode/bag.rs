// SPDX-License-Identifier: GPL-2.0

//! A list to which is added under a spinlock and which is emptied at once.
//!
//! The lists of inodes to inactivate and of chunks that may be empty are such. Elements are kept in segments,
//! so that adding never moves the others; the memory for a segment is allocated outside of the
//! lock.

use crate::sys::{self, Box, LockClass, Spin, Vec};

const PER_SEGMENT: usize = 60;

struct Segment<T> {
    items: Vec<T>,
    next: Option<Box<Segment<T>>>,
}

/// The list. `C` is the class of its lock.
pub(crate) struct Bag<T, C: LockClass> {
    head: Spin<Head<T>, C>,
}

struct Head<T> {
    first: Option<Box<Segment<T>>>,
    len: usize,
}

impl<T, C: LockClass> Bag<T, C> {
    /// An empty list; allocates nothing.
    pub(crate) fn new() -> Self {
        Self {
            head: Spin::new(Head {
                first: None,
                len: 0,
            }),
        }
    }

    /// Elements now.
    pub(crate) fn len(&self) -> usize {
        self.head.lock().len
    }

    /// Adds `item`. Returns how many there are now. May sleep (a small allocation that does not fail).
    pub(crate) fn add(&self, item: T) -> usize {
        let mut item = item;
        let mut fresh: Option<Box<Segment<T>>> = None;
        loop {
            {
                let mut head = self.head.lock();
                if let Some(segment) = fresh.take() {
                    let mut segment = segment;
                    segment.next = head.first.take();
                    head.first = Some(segment);
                }
                if let Some(first) = head.first.as_mut() {
                    match first.items.push_within_capacity(item) {
                        Ok(()) => {
                            head.len = head.len.saturating_add(1);
                            return head.len;
                        }
                        Err(back) => item = back,
                    }
                }
            }
            let mut items = Vec::new();
            items.must_reserve(PER_SEGMENT);
            fresh = Some(sys::must_box(Segment { items, next: None }));
        }
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Taken<T> {
        let mut head = self.head.lock();
        head.len = 0;
        Taken {
            segment: head.first.take(),
        }
    }
}

/// What was in a list, last added first within no particular order.
pub(crate) struct Taken<T> {
    segment: Option<Box<Segment<T>>>,
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            let segment = self.segment.as_mut()?;
            if let Some(item) = segment.items.pop() {
                return Some(item);
            }
            // One segment after the other, so that a long chain is not dropped recursively.
            self.segment = segment.next.take();
        }
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        for _ in self.by_ref() {}
    }
}

impl<T, C: LockClass> Drop for Bag<T, C> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
