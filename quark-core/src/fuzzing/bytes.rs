//! Reads an input as a script of steps, for targets that do more than parse it once. Whatever the bytes are, they are a
//! script; a mutation of one byte changes one step.

/// What is left of an input.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; `None` at the end.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    /// The next byte as a number; 0 after the end.
    pub(crate) fn number(&mut self) -> usize {
        self.byte().unwrap_or_default().into()
    }

    /// The next two bytes as a number.
    pub(crate) fn large_number(&mut self) -> usize {
        self.number() << 8 | self.number()
    }

    /// So many bytes, or what is left.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(count.min(self.0.len()));
        self.0 = left;
        taken
    }
}
