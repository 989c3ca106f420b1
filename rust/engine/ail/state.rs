// SPDX-License-Identifier: GPL-2.0

//! The flush state of an item: a pure state machine that owns the item's buffer reference.
//!
//! ```text
//!            begin                 written
//! Attached ---------> Flushing ------------> (buffer handed back: attach again, or let go)
//!    ^                 |    ^
//!    |          failed |    | begin
//!    |                 v    |
//!    +-- (relogged) - Failed
//! ```
//!
//! Every state has the buffer, and a step takes the state by value: there is no way to keep an item
//! in the AIL whose buffer reference was dropped, nor to drop the reference of a state that another
//! task is looking at. In XFS the pointer, the failed mark and the reference are three things under
//! two locks.

use crate::format::Lsn;
use crate::sys::Errno;

/// Names one write of one item; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushId(pub(super) u64);

/// See the module's text. `B` is the buffer reference.
#[derive(Debug)]
pub enum FlushState<B> {
    /// The buffer that has, or will have, the item's image. No write of it is under way.
    Attached {
        /// The reference.
        buf: B,
    },
    /// An image as of `lsn` is in the buffer, and the write `id` owns the token of it.
    Flushing {
        /// The reference.
        buf: B,
        /// What the image is of.
        lsn: Lsn,
        /// The write.
        id: FlushId,
    },
    /// The write failed: the image has to be written again.
    Failed {
        /// The reference.
        buf: B,
        /// What the lost image was of.
        lsn: Lsn,
        /// Why.
        errno: Errno,
    },
}

impl<B> FlushState<B> {
    /// The buffer.
    pub fn buf(&self) -> &B {
        match self {
            Self::Attached { buf } | Self::Flushing { buf, .. } | Self::Failed { buf, .. } => buf,
        }
    }

    /// The buffer, and the end of the state.
    pub fn into_buf(self) -> B {
        match self {
            Self::Attached { buf } | Self::Flushing { buf, .. } | Self::Failed { buf, .. } => buf,
        }
    }

    /// Whether a write is under way.
    pub fn is_flushing(&self) -> bool {
        matches!(self, Self::Flushing { .. })
    }

    /// Whether the last write failed.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// A write `id` of an image as of `lsn` begins. `Err` if one is under way: at most one image of
    /// an item is in flight.
    pub fn begin(self, lsn: Lsn, id: FlushId) -> Result<Self, Self> {
        match self {
            Self::Attached { buf } | Self::Failed { buf, .. } => {
                Ok(Self::Flushing { buf, lsn, id })
            }
            flushing => Err(flushing),
        }
    }

    /// The write `id` has reached the disk. `Err` if that is not the one under way.
    pub fn written(self, id: FlushId) -> Result<(B, Lsn), Self> {
        match self {
            Self::Flushing { buf, lsn, id: mine } if mine == id => Ok((buf, lsn)),
            other => Err(other),
        }
    }

    /// The write `id` was lost. `Err` if that is not the one under way.
    pub fn failed(self, id: FlushId, errno: Errno) -> Result<Self, Self> {
        match self {
            Self::Flushing { buf, lsn, id: mine } if mine == id => {
                Ok(Self::Failed { buf, lsn, errno })
            }
            other => Err(other),
        }
    }
}

/// A flush state in its place. It is taken out and put back by each step; between the two the AIL's
/// lock is held, so nobody sees it empty.
#[derive(Debug)]
pub(super) struct Flush<B>(Option<FlushState<B>>);

impl<B> Flush<B> {
    /// Attached to `buf`.
    pub(super) fn attached(buf: B) -> Self {
        Self(Some(FlushState::Attached { buf }))
    }

    /// The state.
    pub(super) fn get(&self) -> Option<&FlushState<B>> {
        self.0.as_ref()
    }

    /// The buffer.
    pub(super) fn buf(&self) -> Option<&B> {
        self.0.as_ref().map(FlushState::buf)
    }

    /// Whether a write is under way.
    pub(super) fn is_flushing(&self) -> bool {
        self.0.as_ref().is_some_and(FlushState::is_flushing)
    }

    /// Whether the last write failed.
    pub(super) fn is_failed(&self) -> bool {
        self.0.as_ref().is_some_and(FlushState::is_failed)
    }

    /// Makes a step that may refuse; whether it was made.
    fn step(
        &mut self,
        step: impl FnOnce(FlushState<B>) -> Result<FlushState<B>, FlushState<B>>,
    ) -> bool {
        match self.0.take().map(step) {
            Some(Ok(new)) => {
                self.0 = Some(new);
                true
            }
            Some(Err(old)) => {
                self.0 = Some(old);
                false
            }
            None => false,
        }
    }

    /// [`FlushState::begin`].
    pub(super) fn begin(&mut self, lsn: Lsn, id: FlushId) -> bool {
        self.step(|s| s.begin(lsn, id))
    }

    /// [`FlushState::failed`].
    pub(super) fn failed(&mut self, id: FlushId, errno: Errno) -> bool {
        self.step(|s| s.failed(id, errno))
    }

    /// [`FlushState::written`], and attached again: what the image was of.
    pub(super) fn written(&mut self, id: FlushId) -> Option<Lsn> {
        match self.0.take()?.written(id) {
            Ok((buf, lsn)) => {
                self.0 = Some(FlushState::Attached { buf });
                Some(lsn)
            }
            Err(other) => {
                self.0 = Some(other);
                None
            }
        }
    }
}
