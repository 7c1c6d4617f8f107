//! The benchmarks of this package stand in the files beside this one; there is no library.
