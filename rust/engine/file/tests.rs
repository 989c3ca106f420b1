// SPDX-License-Identifier: GPL-2.0

//! The callbacks one by one, without a page cache. Whole files are tested over the model page cache
//! in tools/testing/pagecache.

mod calls;
mod direct;
mod limits;
mod size;
