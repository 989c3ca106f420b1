// SPDX-License-Identifier: GPL-2.0

//! Ring 1: the file system proper.

pub mod error;

pub use error::{Error, Result};
