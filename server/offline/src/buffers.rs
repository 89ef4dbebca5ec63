//! Memory for bytes that are read once and forgotten: parts of files, pages undone from compression.
//!
//! A scan goes through gigabytes in pieces of about a megabyte. Asked of the allocator, each piece is fresh memory that the
//! system clears page by page as it is touched, which costs as much as reading it. A [`Buffer`] goes back to a shelf when it
//! is dropped and is handed out again as it is.

use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;

/// Bytes that lie on the shelf, at most.
const SHELF_BYTES: usize = 64 << 20;

/// Buffers on the shelf, at most: it is searched from end to end.
const SHELF_BUFFERS: usize = 64;

/// The process's shelf: buffers move between plans and threads.
static SHELF: Mutex<Shelf> = Mutex::new(Shelf { buffers: Vec::new(), bytes: 0 });

struct Shelf {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Shelf {
    /// The smallest buffer that holds `length` bytes; of several the one put back last, which may still be in a core's cache.
    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let fitting = self.buffers.iter().enumerate().rev().filter(|(_, bytes)| bytes.len() >= length);
        let (at, _) = fitting.min_by_key(|(_, bytes)| bytes.len())?;
        let bytes = self.buffers.remove(at);
        self.bytes -= bytes.len();
        Some(bytes)
    }

    /// Takes a buffer back where there is room; larger ones take the place of smaller ones.
    fn put(&mut self, bytes: Vec<u8>) {
        if self.buffers.len() == SHELF_BUFFERS
            && let Some((at, least)) = self.buffers.iter().enumerate().min_by_key(|(_, bytes)| bytes.len())
            && least.len() < bytes.len()
        {
            self.bytes -= least.len();
            self.buffers.remove(at);
        }
        if self.buffers.len() < SHELF_BUFFERS && self.bytes + bytes.len() <= SHELF_BYTES {
            self.bytes += bytes.len();
            self.buffers.push(bytes);
        }
    }
}

/// Bytes of no particular content, to be written over.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// As long as it ever was, so that nothing is cleared again.
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes.
    pub(crate) fn of(length: usize) -> Self {
        let found = SHELF.lock().take(length);
        Self { bytes: found.unwrap_or_else(|| vec![0; length.next_power_of_two()]), length }
    }

    /// Leaves the first `length` bytes of it.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        SHELF.lock().put(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::{SHELF_BUFFERS, SHELF_BYTES, Shelf};

    #[test]
    fn the_smallest_that_fits_is_handed_out() {
        let mut shelf = Shelf { buffers: Vec::new(), bytes: 0 };
        [64, 16, 32].into_iter().for_each(|length| shelf.put(vec![0; length]));
        assert_eq!(shelf.take(20).map(|bytes| bytes.len()), Some(32));
        assert_eq!(shelf.take(20).map(|bytes| bytes.len()), Some(64));
        assert_eq!(shelf.take(20), None);
        assert_eq!(shelf.bytes, 16);
    }

    #[test]
    fn the_shelf_is_bounded() {
        let mut shelf = Shelf { buffers: Vec::new(), bytes: 0 };
        (1..=2 * SHELF_BUFFERS).for_each(|length| shelf.put(vec![0; length]));
        assert_eq!(shelf.buffers.len(), SHELF_BUFFERS);
        assert!(shelf.buffers.iter().all(|bytes| bytes.len() > SHELF_BUFFERS), "the larger ones stay");
        shelf.put(vec![0; SHELF_BYTES]);
        assert!(shelf.bytes <= SHELF_BYTES);
        assert_eq!(shelf.bytes, shelf.buffers.iter().map(Vec::len).sum::<usize>());
    }
}
