//! The library's allocator: the system's, and small pieces that the thread that frees them keeps at hand.
//!
//! Calls come and go by the batch: sixty pieces of a size are taken, then sixty are freed. glibc keeps seven of a size at hand, and the
//! way to all others takes several times as long ([SPEED.md](../../docs/SPEED.md)). mimalloc was as fast; it has locks, and a
//! forked child may find one held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// Sizes are rounded up to multiples of this, at which pieces are aligned.
const STEP: usize = 16;
/// How many sizes there are.
const SIZES: usize = 8;
/// Pieces of one size that a thread keeps: 72 KiB in all.
const MOST: usize = 64;

/// The system's memory; of small pieces each thread keeps some that are free.
pub(crate) struct Pieces;

/// A free piece: it says which is the next.
struct Free {
    next: *mut Free,
}

/// Free pieces of one size.
struct Shelf {
    first: Cell<*mut Free>,
    count: Cell<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// It has kept nothing yet.
    Begins,
    Keeps,
    /// Nobody would give back what it keeps.
    Ends,
}

struct Shelves {
    thread: Cell<Thread>,
    shelves: [Shelf; SIZES],
}

thread_local! {
    static HERE: Shelves = const {
        Shelves {
            thread: Cell::new(Thread::Begins),
            shelves: [const { Shelf { first: Cell::new(ptr::null_mut()), count: Cell::new(0) } }; SIZES],
        }
    };
    static END: End = const { End };
}

/// Gives back what a thread keeps when it ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        HERE.with(Shelves::close);
    }
}

/// Which size a piece of this layout has, if it is small. What is taken and what is freed with one layout agree.
fn size(layout: Layout) -> Option<usize> {
    let size = layout.size().wrapping_sub(1) / STEP;
    (size < SIZES && layout.align() <= STEP).then_some(size)
}

/// A piece of this size as the system knows it.
fn whole(size: usize) -> Layout {
    Layout::from_size_align((size + 1) * STEP, STEP).expect("a small size and a power of two")
}

impl Shelf {
    fn take(&self) -> Option<*mut u8> {
        let piece = self.first.get();
        if piece.is_null() {
            return None;
        }
        // SAFETY: it is free, and `keep` has written it.
        self.first.set(unsafe { (*piece).next });
        self.count.set(self.count.get() - 1);
        Some(piece.cast())
    }

    /// # Safety
    /// The piece is free, the caller's own, of the shelf's size, and aligned to a step.
    unsafe fn keep(&self, piece: *mut u8) {
        let piece = piece.cast::<Free>();
        // SAFETY: a piece has room for a pointer and is aligned for one.
        unsafe { piece.write(Free { next: self.first.get() }) };
        self.first.set(piece);
        self.count.set(self.count.get() + 1);
    }
}

impl Shelves {
    /// Whether one more piece of this size may be kept.
    fn has_room(&self, size: usize) -> bool {
        match self.thread.get() {
            Thread::Keeps => self.shelves[size].count.get() < MOST,
            Thread::Ends => false,
            Thread::Begins => {
                // Before what follows, which may come back here for memory of its own.
                self.thread.set(Thread::Keeps);
                if END.try_with(|_| ()).is_err() {
                    self.thread.set(Thread::Ends);
                }
                self.thread.get() == Thread::Keeps
            }
        }
    }

    fn close(&self) {
        self.thread.set(Thread::Ends);
        for (size, shelf) in self.shelves.iter().enumerate() {
            while let Some(piece) = shelf.take() {
                // SAFETY: the system gave it with this layout, and nobody has it.
                unsafe { System.dealloc(piece, whole(size)) };
            }
        }
    }
}

// SAFETY: all memory is the system's. Small pieces are taken and given back with the layout of their size, which has room for all layouts
// of that size; one that is kept is nobody's until it is taken.
unsafe impl GlobalAlloc for Pieces {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let kept = size(layout).map(|size| (size, HERE.with(|here| here.shelves[size].take())));
        // SAFETY: as for this function; a whole piece is not empty.
        unsafe {
            match kept {
                None => System.alloc(layout),
                Some((_, Some(piece))) => piece,
                Some((size, None)) => System.alloc(whole(size)),
            }
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(size) = size(layout) else {
            // SAFETY: as for this function.
            return unsafe { System.dealloc(piece, layout) };
        };
        // SAFETY: as for this function; it was taken whole.
        HERE.with(|here| unsafe {
            if here.has_room(size) {
                here.shelves[size].keep(piece);
            } else {
                System.dealloc(piece, whole(size));
            }
        });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this function; what was kept is not zero.
        unsafe {
            if size(layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let piece = self.alloc(layout);
            if !piece.is_null() {
                piece.write_bytes(0, layout.size());
            }
            piece
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as for this function: the new size is not too large for the alignment.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            match (size(layout), size(new)) {
                (None, None) => System.realloc(piece, layout, new_size),
                (Some(old), Some(new)) if old == new => piece,
                _ => {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(piece, layout.size().min(new_size));
                        self.dealloc(piece, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    fn kept(size_of: usize) -> usize {
        HERE.with(|here| here.shelves[size(layout(size_of)).unwrap()].count.get())
    }

    /// Takes so many pieces and frees them; returns where they were.
    fn take_and_free(count: usize, size: usize) -> Vec<usize> {
        // SAFETY: each piece is freed once, with its layout, and written within.
        unsafe {
            let pieces: Vec<_> = (0..count).map(|_| Pieces.alloc(layout(size))).collect();
            for (number, piece) in pieces.iter().enumerate() {
                assert!(!piece.is_null() && piece.addr() % STEP == 0);
                piece.write_bytes(number as u8, size);
            }
            for (number, piece) in pieces.iter().enumerate() {
                assert!((0..size).all(|at| *piece.add(at) == number as u8), "no two are one");
                Pieces.dealloc(*piece, layout(size));
            }
            pieces.into_iter().map(<*mut u8>::addr).collect()
        }
    }

    #[test]
    fn what_is_freed_is_taken_again_and_only_so_much_is_kept() {
        std::thread::spawn(|| {
            let mut first = take_and_free(MOST, 100);
            let mut again = take_and_free(MOST, 112);
            first.sort_unstable();
            again.sort_unstable();
            assert_eq!(first, again, "one size");
            assert_eq!((kept(100), kept(96)), (MOST, 0));
            take_and_free(3 * MOST, 100);
            assert_eq!(kept(100), MOST);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn large_ones_and_those_with_a_wish_are_the_systems() {
        assert_eq!(size(layout(1)), Some(0));
        assert_eq!(size(layout(16)), Some(0));
        assert_eq!(size(layout(17)), Some(1));
        assert_eq!(size(layout(SIZES * STEP)), Some(SIZES - 1));
        assert_eq!(size(layout(SIZES * STEP + 1)), None);
        assert_eq!(size(Layout::from_size_align(16, 32).unwrap()), None);
    }

    #[test]
    fn what_grows_and_shrinks_keeps_what_is_in_it() {
        // SAFETY: the piece is used and freed with the layout that it has.
        unsafe {
            let sizes = [5, 16, 17, 120, 128, 129, 5000, 20_000, 130, 128, 64, 3];
            let mut piece = Pieces.alloc(layout(sizes[0]));
            for (old, new) in sizes.into_iter().zip(sizes.into_iter().skip(1)) {
                piece.write_bytes(old as u8, old);
                piece = Pieces.realloc(piece, layout(old), new);
                assert!((0..old.min(new)).all(|at| *piece.add(at) == old as u8), "{old} to {new}");
            }
            Pieces.dealloc(piece, layout(3));
        }
    }

    #[test]
    fn zeroed_means_zero_also_where_something_was() {
        take_and_free(4, 48);
        // SAFETY: as above.
        unsafe {
            for size in [48, 4800] {
                let piece = Pieces.alloc_zeroed(layout(size));
                assert!((0..size).all(|at| *piece.add(at) == 0));
                Pieces.dealloc(piece, layout(size));
            }
        }
    }

    #[test]
    fn a_piece_may_be_freed_by_another_thread_and_a_thread_that_ends_keeps_nothing() {
        // SAFETY: as above; the piece goes to the other thread.
        let piece = unsafe { Pieces.alloc(layout(80)) }.expose_provenance();
        std::thread::spawn(move || {
            // SAFETY: as above, and nobody else has it.
            unsafe { Pieces.dealloc(ptr::with_exposed_provenance_mut(piece), layout(80)) };
            assert_eq!(kept(80), 1);
            HERE.with(Shelves::close);
            assert_eq!(kept(80), 0);
            take_and_free(3, 80);
            assert_eq!(kept(80), 0, "nobody would give them back");
        })
        .join()
        .unwrap();
    }
}
