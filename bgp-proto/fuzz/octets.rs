//! The octets of a fuzz input, taken one after the other.

/// What is left of the input; zeros when it is used up.
#[derive(Debug)]
pub(crate) struct Octets<'a>(pub(crate) &'a [u8]);

impl Octets<'_> {
    pub(crate) fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.next() & 1 != 0
    }

    pub(crate) fn take(&mut self, n: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}
