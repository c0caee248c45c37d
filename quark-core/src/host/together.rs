//! Items that one call of the host takes together.

use std::collections::VecDeque;

/// Which items of a queue are run together: the first, and those right behind it that go with it.
pub struct Together<T> {
    /// How many at most.
    pub most: usize,
    /// Whether the second, which comes later, goes with the first.
    pub goes_with: fn(&T, &T) -> bool,
}

impl<T> Together<T> {
    /// Each item alone.
    #[must_use]
    pub fn none() -> Self {
        Self { most: 1, goes_with: |_, _| false }
    }

    /// Moves the first item and what goes with it to the end of `batch`, whose memory is used again. Nothing of what has come is
    /// waited for.
    pub fn take(&self, queue: &mut VecDeque<T>, batch: &mut Vec<T>) {
        let Some(first) = queue.pop_front() else { return };
        let with_it = queue.iter().take(self.most - 1).take_while(|item| (self.goes_with)(&first, item));
        let count = with_it.count();
        batch.push(first);
        batch.extend(queue.drain(..count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_go_together_are_taken_together() {
        let same_parity = Together { most: 3, goes_with: |a: &i32, b: &i32| a % 2 == b % 2 };
        let mut queue = VecDeque::from([1, 3, 5, 7, 2, 9]);
        let mut next = |together: &Together<i32>| {
            let mut batch = Vec::new();
            together.take(&mut queue, &mut batch);
            batch
        };
        assert_eq!(next(&same_parity), [1, 3, 5], "three at most");
        assert_eq!(next(&same_parity), [7]);
        assert_eq!(next(&same_parity), [2]);
        assert_eq!(next(&Together::none()), [9]);
        assert!(next(&same_parity).is_empty());
    }
}
