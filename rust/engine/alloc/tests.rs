// SPDX-License-Identifier: GPL-2.0

//! The allocator against naive oracles.

#![cfg(not(any(feature = "shuttle", feature = "loom")))]

mod lacking;
mod oracle;
mod places;
mod trees;
