//! Reads traces of tftrace.
