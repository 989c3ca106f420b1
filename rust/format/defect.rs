// SPDX-License-Identifier: GPL-2.0

//! What a verifier found wrong.
//!
//! A verifier does not know which file a block belongs to or what its caller was doing, and it
//! must not allocate: it names the field and the kind of damage, the caller adds block number and
//! file. XFS returns the address of the failing test (`xfs_failaddr_t`) for the same purpose; a
//! name survives a rebuild.

use core::fmt;

/// Kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefectKind {
    /// The magic number is that of another structure, or of none.
    Magic,
    /// The checksum does not match the content.
    Checksum,
    /// The block belongs to another (or an earlier) file system.
    Foreign,
    /// The block says that it belongs somewhere else on the device.
    Misplaced,
    /// The block belongs to another file or allocation group.
    Owner,
    /// The version, revision or a feature is one that this code cannot handle.
    Unsupported,
    /// The value is outside its legal range.
    Range,
    /// Keys or ranges are not in strictly ascending order.
    Order,
    /// The value contradicts another field of the same structure.
    Mismatch,
    /// A block number is outside the device, in static metadata or across a boundary.
    Address,
}

impl DefectKind {
    /// A short phrase for messages, to be read after the name of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            DefectKind::Magic => "has a wrong magic number",
            DefectKind::Checksum => "does not match the content",
            DefectKind::Foreign => "is of another file system",
            DefectKind::Misplaced => "names another block",
            DefectKind::Owner => "names another owner",
            DefectKind::Unsupported => "is not supported",
            DefectKind::Range => "is out of range",
            DefectKind::Order => "is out of order",
            DefectKind::Mismatch => "contradicts another field",
            DefectKind::Address => "is not a legal block address",
        }
    }
}

/// One defect: which field, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Defect {
    /// Name of the field as in Documentation/format.rst.
    pub field: &'static str,
    /// What is wrong with it.
    pub kind: DefectKind,
}

impl Defect {
    /// A defect of `field`.
    #[inline]
    pub const fn new(field: &'static str, kind: DefectKind) -> Self {
        Self { field, kind }
    }

    /// Whether the errno at the edge is `EBADMSG` (a checksum) rather than `EUCLEAN`.
    #[inline]
    pub const fn is_checksum(&self) -> bool {
        matches!(self.kind, DefectKind::Checksum)
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.kind.as_str())
    }
}

/// Fails with a [`Defect`] of `field` unless `ok`.
#[inline]
pub(super) fn ensure(ok: bool, field: &'static str, kind: DefectKind) -> Result<(), Defect> {
    if ok {
        Ok(())
    } else {
        Err(Defect::new(field, kind))
    }
}
