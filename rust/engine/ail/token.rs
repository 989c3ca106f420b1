// SPDX-License-Identifier: GPL-2.0

//! The flush lock: the right to say what became of the image of an item.
//!
//! A token is made when an item's image is put into its buffer, and belongs to the write of that
//! buffer until the write has ended. It cannot be copied, so there is one for each image in flight;
//! it names the item by entry and write, and does not point at it. Nobody waits for a token.

use super::{Ail, FlushId};
use crate::sys::{self, atomic::Ordering, Arc, Errno};
use core::cell::Cell;

/// The flush lock of one item, for one write.
#[must_use = "the write has to own it"]
pub struct FlushToken {
    ail: Arc<Ail>,
    at: u32,
    id: FlushId,
    spent: Cell<bool>,
}

impl FlushToken {
    pub(super) fn new(ail: &Arc<Ail>, at: u32, id: FlushId) -> Self {
        ail.tokens.fetch_add(1, Ordering::Relaxed);
        Self {
            ail: ail.clone(),
            at,
            id,
            spent: Cell::new(false),
        }
    }

    /// The AIL it is of.
    pub(crate) fn ail(&self) -> &Arc<Ail> {
        &self.ail
    }

    /// Uses it up: the caller tells the entry what became of the write.
    pub(super) fn spent(&self) -> (u32, FlushId) {
        if !self.spent.replace(true) {
            self.ail.tokens.fetch_sub(1, Ordering::Release);
        }
        (self.at, self.id)
    }
}

impl Drop for FlushToken {
    fn drop(&mut self) {
        if self.spent.get() {
            return;
        }
        // The image may or may not be on the disk, and nobody will ever know: the log cannot be
        // trusted to be freed.
        sys::pr_err!("a metadata write has no end: shutting down\n");
        self.ail.tokens.fetch_sub(1, Ordering::Release);
        self.ail.give_up(Errno::IO);
    }
}
