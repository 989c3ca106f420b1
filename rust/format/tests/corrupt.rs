// SPDX-License-Identifier: GPL-2.0

//! Every verifier rejects a corruption of every field, with and without a repaired checksum.
