// SPDX-License-Identifier: GPL-2.0

//! mkfs.latchfs as a library: what the program does once it knows what the user wants.

pub mod device;
pub mod make;
pub mod signature;

pub use make::{make, Plan};
