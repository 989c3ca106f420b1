// SPDX-License-Identifier: GPL-2.0

//! What the programs of the VM tests share with the checks on the host: std only.

pub mod crash;
pub mod rng;
