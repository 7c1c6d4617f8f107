//! What every exported function does around its work: it refuses NULL, catches panics, and
//! keeps the sentence about the latest failure.
//!
//! Exported functions take `Option<&T>`, `Option<&mut T>` and `Option<Box<T>>`, which are plain
//! pointers in C with NULL as `None`: the type system then asks for every check and proves the
//! rule on threads, since what is `const` in C is a shared reference to a `Sync` type here.
//! Outputs are `MaybeUninit`, because C hands over memory that nobody has written.

use crate::status::{
    SHOAL_BUFFER_TOO_SMALL, SHOAL_INVALID_ARGUMENT, SHOAL_NULL_POINTER, SHOAL_OK, SHOAL_PANIC,
    shoal_status,
};
use std::any::Any;
use std::borrow::Cow;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Room for every sentence about a failure, its final NUL included. Longer ones are cut.
pub const SHOAL_DETAIL_SIZE: usize = 256;

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    status: shoal_status,
    detail: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(status: shoal_status, detail: impl Into<Cow<'static, str>>) -> Failure {
        Failure { status, detail: detail.into() }
    }

    fn panic(payload: &(dyn Any + Send)) -> Failure {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("a panic without a message");
        Failure::new(SHOAL_PANIC, format!("a bug in Shoal was caught: {text}"))
    }
}

/// `SHOAL_OK`, `SHOAL_NONE`, or a failure.
pub(crate) type Outcome = Result<shoal_status, Failure>;

/// A pointer that must not be NULL.
pub(crate) fn required<T>(argument: Option<T>, name: &'static str) -> Result<T, Failure> {
    argument.ok_or_else(|| Failure::new(SHOAL_NULL_POINTER, format!("{name} is NULL")))
}

/// Refuses reserved bytes that are not zero: a later version may give them a meaning, and must
/// not find one there that nobody meant.
pub(crate) fn check_reserved(bytes: &[u8], structure: &'static str) -> Result<(), Failure> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    let detail = format!("the reserved bytes of {structure} are not zero");
    Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail))
}

/// Does the work of a function that has no handle.
pub(crate) fn guarded(work: impl FnOnce() -> Outcome) -> shoal_status {
    catch(work).unwrap_or_else(|failure| failure.status)
}

/// Does the work of a function that creates a handle. `detail` receives the sentence on a
/// failure.
///
/// # Safety
/// `detail` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn guarded_with_detail(
    detail: *mut c_char,
    size: usize,
    work: impl FnOnce() -> Outcome,
) -> shoal_status {
    catch(work).unwrap_or_else(|failure| {
        if !detail.is_null() && size > 0 {
            let room = size.min(SHOAL_DETAIL_SIZE);
            // SAFETY: by the contract of this function; `room` is at most `size`.
            let buffer = unsafe { std::slice::from_raw_parts_mut(detail.cast(), room) };
            write_text_cut(&failure.detail, buffer);
        }
        failure.status
    })
}

fn catch(work: impl FnOnce() -> Outcome) -> Outcome {
    // What a panic left half done is never looked at again: its handle is poisoned.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Failure::panic(&*payload)))
}

/// Whether a handle is sound, and what went wrong with it last.
#[derive(Debug, Default)]
pub(crate) struct Health {
    poisoned: AtomicBool,
    detail: Mutex<Cow<'static, str>>,
}

impl Health {
    /// Does the work of a function on this handle.
    #[inline]
    pub(crate) fn guard(&self, work: impl FnOnce() -> Outcome) -> shoal_status {
        self.run(work).unwrap_or_else(|failure| self.keep(failure))
    }

    /// The same, for a function that tells its failure elsewhere.
    #[inline]
    pub(crate) fn run(&self, work: impl FnOnce() -> Outcome) -> Outcome {
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(Failure::new(SHOAL_PANIC, ""));
        }
        let outcome = catch(work);
        if matches!(outcome, Err(Failure { status: SHOAL_PANIC, .. })) {
            self.poisoned.store(true, Ordering::Relaxed);
        }
        outcome
    }

    #[cold]
    fn keep(&self, failure: Failure) -> shoal_status {
        // An empty sentence repeats the one that is kept.
        if !failure.detail.is_empty() {
            *self.detail.lock().unwrap_or_else(PoisonError::into_inner) = failure.detail;
        }
        failure.status
    }

    /// Copies the sentence about the latest failure, empty when there was none.
    ///
    /// # Safety
    /// `buffer` is NULL or points to `size` writable bytes.
    pub(crate) unsafe fn copy_detail(&self, buffer: *mut c_char, size: usize) -> shoal_status {
        let detail = self.detail.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // SAFETY: by the contract of this function.
        guarded(|| unsafe { copy_text(&detail, buffer, size) })
    }
}

/// Copies a text and its NUL, cut to the room there is.
///
/// # Safety
/// `buffer` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn copy_text(text: &str, buffer: *mut c_char, size: usize) -> Outcome {
    // SAFETY: by the contract of this function.
    let buffer = unsafe { text_buffer(buffer, size.min(text.len() + 1))? };
    if buffer.is_empty() {
        return Err(Failure::new(SHOAL_BUFFER_TOO_SMALL, "a text needs room for its NUL"));
    }
    write_text_cut(text, buffer);
    Ok(SHOAL_OK)
}

/// Drops a handle. A panic on the way must not cross into C; what is left is leaked then.
pub(crate) fn release<T>(handle: Option<Box<T>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
}

/// Writes a text and its NUL, cut at a character where there is no room for all of it.
fn write_text_cut(text: &str, buffer: &mut [MaybeUninit<u8>]) {
    let mut size = text.len().min(buffer.len() - 1);
    while !text.is_char_boundary(size) {
        size -= 1;
    }
    let terminated = text.as_bytes()[..size].iter().chain(std::iter::once(&0));
    for (target, &byte) in buffer.iter_mut().zip(terminated) {
        target.write(byte);
    }
}

/// Writes a text and its NUL.
///
/// # Safety
/// `buffer` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn write_text(text: &str, buffer: *mut c_char, size: usize) -> Outcome {
    let needed = text.len() + 1;
    if size < needed && !buffer.is_null() {
        let detail = format!("the buffer has {size} bytes, the text needs {needed}");
        return Err(Failure::new(SHOAL_BUFFER_TOO_SMALL, detail));
    }
    // SAFETY: by the contract of this function; `needed` is at most `size` unless it is NULL.
    write_text_cut(text, unsafe { text_buffer(buffer, needed)? });
    Ok(SHOAL_OK)
}

/// A text that ends with NUL within `size_max` bytes; `None` when it does not.
///
/// # Safety
/// `text` points to a C string, or to at least `size_max` bytes.
pub(crate) unsafe fn read_text<'a>(text: *const c_char, size_max: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract of this function; the scan ends at the NUL or at the limit.
    let size = unsafe { libc::strnlen(text, size_max) };
    // SAFETY: the scan has just read these bytes.
    (size < size_max).then(|| unsafe { std::slice::from_raw_parts(text.cast(), size) })
}

/// A read-only array; NULL stands for the array of size 0.
///
/// # Safety
/// `items` is NULL or points to `count` items that nobody changes during the call.
pub(crate) unsafe fn array<'a, T>(
    items: *const T,
    count: usize,
    name: &'static str,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::new(SHOAL_INVALID_ARGUMENT, format!("{name} has {count} items")));
    }
    // SAFETY: by the contract of this function; the array fits the address space.
    let array = (!items.is_null()).then(|| unsafe { std::slice::from_raw_parts(items, count) });
    required(array, name)
}

/// A buffer for text.
///
/// # Safety
/// `buffer` is NULL or points to `size` writable bytes that nobody else uses during the call.
unsafe fn text_buffer<'a>(
    buffer: *mut c_char,
    size: usize,
) -> Result<&'a mut [MaybeUninit<u8>], Failure> {
    // SAFETY: by the contract of this function.
    let bytes = (!buffer.is_null())
        .then(|| unsafe { std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), size) });
    required(bytes, "buffer")
}

/// A fixed character array with this text, zero behind it. The text is known to fit with a NUL.
pub(crate) fn fixed_text<const SIZE: usize>(text: &[u8]) -> [c_char; SIZE] {
    assert!(text.len() < SIZE, "the array has room for every text of its kind");
    let mut array = [0; SIZE];
    for (target, &byte) in array.iter_mut().zip(text) {
        *target = byte as c_char;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{SHOAL_NONE, SHOAL_UNDRAINED};

    fn detail(health: &Health) -> String {
        let mut buffer = [0u8; SHOAL_DETAIL_SIZE];
        // SAFETY: the buffer is as large as is said.
        let status = unsafe { health.copy_detail(buffer.as_mut_ptr().cast(), buffer.len()) };
        assert_eq!(status, SHOAL_OK);
        let size = buffer.iter().position(|&byte| byte == 0).expect("a NUL ends the text");
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    #[test]
    fn a_panic_poisons_its_handle_and_tells_why() {
        let health = Health::default();
        assert_eq!(health.guard(|| Ok(SHOAL_NONE)), SHOAL_NONE);
        assert_eq!(detail(&health), "");
        let number = 7;
        assert_eq!(health.guard(|| panic!("slot {number} is free")), SHOAL_PANIC);
        assert_eq!(detail(&health), "a bug in Shoal was caught: slot 7 is free");
        let untouched = || unreachable!("a poisoned handle does no work");
        assert_eq!(health.guard(untouched), SHOAL_PANIC);
        assert_eq!(detail(&health), "a bug in Shoal was caught: slot 7 is free");
        assert_eq!(guarded(|| panic!()), SHOAL_PANIC);
    }

    #[test]
    fn a_failure_is_kept_until_the_next_one() {
        let health = Health::default();
        let fail = |detail: &'static str| {
            health.guard(|| Err(Failure::new(SHOAL_UNDRAINED, detail)));
        };
        fail("first");
        assert_eq!(health.guard(|| Ok(SHOAL_OK)), SHOAL_OK);
        assert_eq!(detail(&health), "first");
        fail("second");
        assert_eq!(detail(&health), "second");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut buffer = [MaybeUninit::new(b'x'); 6];
        write_text_cut("abcd\u{e9}f", &mut buffer);
        // SAFETY: every byte was written before or by the call.
        let bytes = buffer.map(|byte| unsafe { byte.assume_init() });
        assert_eq!(&bytes, b"abcd\0x");
        let health = Health::default();
        let long = "\u{20ac}".repeat(200);
        health.guard(|| Err(Failure::new(SHOAL_UNDRAINED, long.clone())));
        assert_eq!(detail(&health), "\u{20ac}".repeat(85));
    }

    #[test]
    fn arrays_of_size_zero_may_be_null() {
        // SAFETY: NULL is allowed.
        unsafe {
            assert!(array::<u64>(std::ptr::null(), 0, "items").unwrap().is_empty());
            let null = array::<u64>(std::ptr::null(), 3, "items").unwrap_err();
            assert_eq!((null.status, &*null.detail), (SHOAL_NULL_POINTER, "items is NULL"));
            let huge = array::<u64>(std::ptr::null(), usize::MAX, "items").unwrap_err();
            assert_eq!(huge.status, SHOAL_INVALID_ARGUMENT);
        }
    }
}
