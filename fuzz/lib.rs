//! The fuzz targets of this package stand in the file beside this one; there is no library.
