//! Structures of settings that grow: each begins with its size, so that a program and a library
//! of different age understand each other.
//!
//! A shorter structure comes from an older header: what it lacks has its default. A longer one
//! comes from a newer header: it is understood while everything beyond what is known here is
//! zero.

use crate::call::{Failure, Outcome};
use crate::status::{SHOAL_INVALID_STRUCT_SIZE, SHOAL_NULL_POINTER, SHOAL_OK};

/// A newer header may have added this much at most; anything beyond is no size but garbage.
pub(crate) const GROWTH_MAX: usize = 512;

/// A structure of settings.
///
/// # Safety
/// It is `repr(C)`, begins with `struct_size: usize`, and every pattern of bytes is a value of
/// it.
pub(crate) unsafe trait Growing: Copy {
    /// Its size in the first published header: nothing smaller can be meant.
    const SIZE_FIRST: usize;

    /// Every default, with the structure's size as it is here.
    fn defaults() -> Self;
}

/// Refuses sizes that no version of the structure can have.
fn check_size<T: Growing>(struct_size: usize) -> Result<(), Failure> {
    let is_aligned = struct_size.is_multiple_of(align_of::<T>());
    if is_aligned && (T::SIZE_FIRST..=size_of::<T>() + GROWTH_MAX).contains(&struct_size) {
        return Ok(());
    }
    let detail = format!("struct_size is {struct_size}; call the function that writes defaults");
    Err(Failure::new(SHOAL_INVALID_STRUCT_SIZE, detail))
}

/// Writes every default into a program's structure of this size.
///
/// # Safety
/// `target` is NULL or points to `struct_size` writable bytes.
pub(crate) unsafe fn init<T: Growing>(target: *mut T, struct_size: usize) -> Outcome {
    if target.is_null() {
        return Err(Failure::new(SHOAL_NULL_POINTER, "config is NULL"));
    }
    check_size::<T>(struct_size)?;
    let defaults = T::defaults();
    let known = struct_size.min(size_of::<T>());
    // SAFETY: the program's structure has `struct_size` bytes. What is not known of it becomes
    // zero, the rest is copied from a whole one, and its size comes first.
    unsafe {
        target.cast::<u8>().write_bytes(0, struct_size);
        target.cast::<u8>().copy_from_nonoverlapping((&raw const defaults).cast(), known);
        target.cast::<usize>().write(struct_size);
    }
    Ok(SHOAL_OK)
}

/// The program's structure, whatever its age, as this library's.
///
/// # Safety
/// `source` is NULL or points to as many bytes as its first field says.
pub(crate) unsafe fn read<T: Growing>(source: *const T) -> Result<T, Failure> {
    if source.is_null() {
        return Err(Failure::new(SHOAL_NULL_POINTER, "config is NULL"));
    }
    // SAFETY: every version of the structure begins with its size.
    let struct_size = unsafe { source.cast::<usize>().read() };
    check_size::<T>(struct_size)?;
    let known = struct_size.min(size_of::<T>());
    let mut complete = T::defaults();
    // SAFETY: the structure has `struct_size` bytes, and every pattern of bytes is one.
    let newer = unsafe {
        let bytes = source.cast::<u8>();
        (&raw mut complete).cast::<u8>().copy_from_nonoverlapping(bytes, known);
        std::slice::from_raw_parts(bytes.add(known), struct_size - known)
    };
    if newer.iter().any(|&byte| byte != 0) {
        let detail = "a setting of a newer header is used; update the library";
        return Err(Failure::new(SHOAL_INVALID_STRUCT_SIZE, detail));
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Settings {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: it begins with its size and has integers only.
    unsafe impl Growing for Settings {
        const SIZE_FIRST: usize = 16;

        fn defaults() -> Settings {
            Settings { struct_size: size_of::<Settings>(), first: 1, second: 2 }
        }
    }

    #[test]
    fn an_older_structure_gets_defaults_for_what_it_lacks() {
        let mut older = [usize::MAX, 9, 77];
        // SAFETY: the array has at least the size that is passed.
        unsafe {
            init::<Settings>(older.as_mut_ptr().cast(), 16).unwrap();
            assert_eq!(older, [16, 1, 77], "nothing is written behind its end");
            older[1] = 5;
            let read = read::<Settings>(older.as_ptr().cast()).unwrap();
            assert_eq!(read, Settings { struct_size: 16, first: 5, second: 2 });
        }
    }

    #[test]
    fn a_newer_structure_is_understood_while_its_news_are_not_used() {
        let mut newer = [usize::MAX; 5];
        // SAFETY: the array has the size that is passed.
        unsafe {
            init::<Settings>(newer.as_mut_ptr().cast(), 40).unwrap();
            assert_eq!(newer, [40, 1, 2, 0, 0]);
            assert_eq!(read::<Settings>(newer.as_ptr().cast()).unwrap().second, 2);
            newer[4] = 1;
            read::<Settings>(newer.as_ptr().cast()).unwrap_err();
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let mut settings = Settings::defaults();
        for struct_size in [0, 8, 17, 24 + GROWTH_MAX + 8, usize::MAX, usize::MAX - 7] {
            settings.struct_size = struct_size;
            // SAFETY: nothing but the first field is touched.
            unsafe {
                read(&settings).unwrap_err();
                init(&mut settings, struct_size).unwrap_err();
            }
        }
        // SAFETY: NULL is allowed.
        unsafe {
            read::<Settings>(std::ptr::null()).unwrap_err();
            init::<Settings>(std::ptr::null_mut(), 24).unwrap_err();
        }
    }
}
