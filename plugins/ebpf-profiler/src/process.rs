//! What the kernel says of processes: mappings, starts, ends.
