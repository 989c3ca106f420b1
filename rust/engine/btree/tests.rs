// SPDX-License-Identifier: GPL-2.0

//! Tests of the tree: nodes alone ([`pages`]), whole trees against a model ([`model`]), damaged
//! trees ([`hostile`]), failing memory and disks ([`faults`]), and figures ([`figures`]).

pub(crate) mod check;
mod faults;
mod figures;
mod hostile;
mod model;
mod pages;
