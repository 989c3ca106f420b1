// SPDX-License-Identifier: GPL-2.0

//! The index against a model that knows each block.

mod figures;
mod oracle;
mod tree;
