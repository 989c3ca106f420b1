// SPDX-License-Identifier: GPL-2.0

//! The allocator against naive oracles.

mod lacking;
mod oracle;
mod places;
mod trees;
