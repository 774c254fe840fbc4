//! Reads a script of actions from bytes. Every input is a script, so that a change of one byte changes one action.

/// The rest of an input.
#[derive(Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number in two bytes; an input that ends has zeros.
    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte().unwrap_or(0), self.byte().unwrap_or(0)])
    }

    /// Bytes with their length in front: one byte, or two after a byte of 255.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = match self.byte().unwrap_or(0) {
            u8::MAX => usize::from(self.short()),
            length => usize::from(length),
        };
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Bytes as text: what is not UTF-8 is replaced, as the platform does.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A number of the sizes at which mistakes are made.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte().unwrap_or(0) {
            small @ 0..=199 => u64::from(small),
            200 => (1 << 53) - 2,
            201 => (1 << 53) - 1,
            202 => 1 << 53,
            203 => i64::MAX as u64,
            204 => i64::MAX as u64 + 1,
            205 => u64::MAX - 1,
            206 => u64::MAX,
            207..=230 => u64::from(self.short()),
            _ => u64::from(self.short()) << 32 | u64::from(self.short()),
        }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
