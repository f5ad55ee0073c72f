use crate::Limits;
use crate::reader::{Malformed, Reader};
use crate::validate::{Supplied, Validator};
use event::{Batch, FingerprintKey, RejectCode, Rejection, UnixMicros};
use std::ops::Range;

/// Turns bodies and messages into records. One per thread: it keeps its memory from call to call, and gives back what
/// an unusually large body needed.
pub struct Parser {
    pub(crate) reader: Reader,
    pub(crate) validator: Validator,
    /// Where each element of the present array stands.
    pub(crate) spans: Vec<Range<usize>>,
}

impl Parser {
    /// A parser that checks against `limits` and identifies events under `key`.
    #[must_use]
    pub fn new(limits: Limits, key: FingerprintKey) -> Self {
        Parser { reader: Reader::new(), validator: Validator::new(limits, key), spans: Vec::new() }
    }

    /// Replaces the limits from the next call on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.validator.limits = limits;
    }

    /// The limits that hold now.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.validator.limits
    }

    /// Reads a body that is one event and appends it to `out`.
    ///
    /// # Errors
    /// [`Rejection`] with all that is wrong with it; `out` is then as before.
    pub fn single(&mut self, body: &[u8], now: UnixMicros, out: &mut Batch) -> Result<(), Rejection> {
        let result = self.one(body, now, out);
        self.trim();
        result
    }

    pub(crate) fn one(&mut self, text: &[u8], now: UnixMicros, out: &mut Batch) -> Result<(), Rejection> {
        let Parser { reader, validator, .. } = self;
        let read = reader.read(text, |doc| validator.event(doc, 0, doc.root(), &Supplied::default(), now, out));
        read.unwrap_or_else(|malformed| Err(malformed.into()))
    }

    #[cfg(test)]
    pub(crate) fn retained_bytes(&self) -> usize {
        self.reader.retained_bytes() + self.spans.capacity() * size_of::<Range<usize>>()
    }

    /// Gives back what an unusually large body needed.
    pub(crate) fn trim(&mut self) {
        /// 1 MiB of ranges.
        const RETAINED_SPANS: usize = 64 * 1024;
        self.reader.trim();
        if self.spans.capacity() > RETAINED_SPANS {
            self.spans = Vec::new();
        }
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        let code = if malformed.too_deep { RejectCode::TooDeep } else { RejectCode::InvalidJson };
        let place = malformed.offset.map(|at| format!(", near byte {at}")).unwrap_or_default();
        Rejection::new(code, "", format!("{}{place}", malformed.detail))
    }
}
