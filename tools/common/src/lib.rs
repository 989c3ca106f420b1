// SPDX-License-Identifier: GPL-2.0

//! What the tools share: opening devices and images, sizes, messages and exit codes.

pub mod bulk;
pub mod cli;
pub mod overlay;
pub mod size;
pub mod target;
pub mod volume;
pub mod xattr;

pub use cli::Failure;
pub use overlay::Overlay;
pub use target::{Access, Target};
pub use volume::Volume;
