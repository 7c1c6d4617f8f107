//! Arrays by slot: what several parts of the engine each know of every member.
//!
//! A slot is a member's number in the member table, so these arrays are as long as the highest slot in
//! use. They grow by a thirty-second at a time: doubling would leave up to half of a large table's memory
//! unused, and growing more often still moves each member 33 times at most on average.

/// One part in this many is added.
const GROWTH_PART: usize = 32;
/// Room that is added at least.
const GROWTH_MIN: usize = 16;

/// Makes sure that a slot has a place, filled with `empty` where it is new.
pub(crate) fn reach<T: Clone>(values: &mut Vec<T>, slot: u32, empty: T) {
    let count = slot as usize + 1;
    if count > values.len() {
        make_room(values, count);
        values.resize(count, empty);
    }
}

/// Appends a value as `Vec::push` does, growing as arrays by slot do.
pub(crate) fn push<T>(values: &mut Vec<T>, value: T) {
    make_room(values, values.len() + 1);
    values.push(value);
}

fn make_room<T>(values: &mut Vec<T>, count: usize) {
    if count > values.capacity() {
        let ahead = count + (count / GROWTH_PART).max(GROWTH_MIN);
        values.reserve_exact(ahead - values.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_wastes_little_and_copies_seldom() {
        let mut values = Vec::new();
        let (mut capacity, mut growth_count) = (0, 0);
        for slot in 0..100_000 {
            reach(&mut values, slot, 7u8);
            assert_eq!(values.len(), slot as usize + 1);
            assert!(
                values.capacity() <= values.len() + (values.len() / GROWTH_PART).max(GROWTH_MIN)
            );
            growth_count += usize::from(values.capacity() != capacity);
            capacity = values.capacity();
        }
        assert!(growth_count < 300, "{growth_count} times");
        reach(&mut values, 5, 0);
        assert_eq!((values.len(), values[5]), (100_000, 7));
        push(&mut values, 9);
        assert_eq!(values.last(), Some(&9));
    }
}
