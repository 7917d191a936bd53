//! Words of the first start.

crate::words! {}
