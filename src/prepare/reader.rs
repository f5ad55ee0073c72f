use crate::{repair, span};
use simd_json::{Buffers, Error, ErrorType, INPUT_PADDING, Node, Tape, fill_tape_padded};
use std::ops::Range;

/// Deepest nesting of a whole text: bounds the parser's stack, 24 bytes per level. An event below
/// [`crate::Limits::DEPTH_CEILING`] fits whatever envelope is around it.
const DEPTH_MAX: usize = 1_024;

/// Texts up to this size are parsed without allocating again; what a larger one needed is given back.
const RETAINED_BYTES: usize = 2 * 1024 * 1024;
/// As [`RETAINED_BYTES`], for the values on the tape (24 bytes each).
const RETAINED_NODES: usize = 512 * 1024;

/// Texts up to this size take little, whatever is in them.
pub(crate) const SHORT_BYTES: usize = 1 << 20;
/// What a value takes while its text is read: 24 bytes on the tape, two positions of 4 bytes, and those once more while
/// their list grows.
const VALUE_BYTES: usize = 40;
/// What texts of the usual kind take of that for each of their bytes, at most: a value in five.
const USUAL_BYTES: usize = 8;

/// The memory that reading a text takes beside copies of it, where that is unusually much for its size; else 0. Short
/// texts are not looked at.
///
/// No value stands but at the beginning or behind one of four characters, so that these count them, and more where they
/// stand in strings.
#[must_use]
pub fn parsing_bytes(text: &[u8]) -> usize {
    if text.len() <= SHORT_BYTES {
        return 0;
    }
    // In pieces whose count fits a byte: several are counted at once.
    let in_piece =
        |piece: &[u8]| piece.iter().map(|byte| u8::from(matches!(byte, b',' | b':' | b'[' | b'{'))).sum::<u8>();
    let values = 1 + text.chunks(240).map(|piece| usize::from(in_piece(piece))).sum::<usize>();
    let bytes = values.saturating_mul(VALUE_BYTES);
    if bytes > text.len().saturating_mul(USUAL_BYTES) { bytes } else { 0 }
}

/// Why a text cannot be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) detail: &'static str,
    pub(crate) offset: Option<usize>,
    pub(crate) too_deep: bool,
}

/// The parser with all its memory, reused from text to text.
pub(crate) struct Reader {
    buffers: Buffers,
    tape: Tape<'static>,
    /// The text and the padding the parser needs; unescaped in place.
    copy: Vec<u8>,
    /// As `copy`, for a text that had to be mended first.
    mended: Vec<u8>,
    /// Where half a surrogate pair was mended, ascending.
    halves: Vec<u32>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Reader {
            buffers: Buffers::with_max_depth(0, DEPTH_MAX),
            tape: Tape(Vec::new()),
            copy: Vec::new(),
            mended: Vec::new(),
            halves: Vec::new(),
        }
    }

    /// Parses `text` and hands it to `visit`.
    pub(crate) fn read<'a, R>(
        &'a mut self,
        text: &'a [u8],
        visit: impl FnOnce(&Doc<'_, 'a>) -> R,
    ) -> Result<R, Malformed> {
        let Reader { buffers, tape: kept, copy, mended, halves } = self;
        halves.clear();
        pad(copy, text);
        let mut base = copy.as_ptr() as usize;
        let mut tape: Tape<'a> = std::mem::replace(kept, Tape(Vec::new())).reset();
        let mut parsed = fill_tape_padded(copy, text.len(), buffers, &mut tape);
        if let Err(error) = &parsed
            && may_be_mended(error)
        {
            pad(mended, text);
            if repair::mend(&mut mended[..text.len()], buffers.structural_indexes(), halves) {
                base = mended.as_ptr() as usize;
                parsed = fill_tape_padded(mended, text.len(), buffers, &mut tape);
            }
        }
        let structurals = buffers.structural_indexes();
        let result = match parsed {
            Ok(()) => Ok(visit(&Doc { text, nodes: &tape.0, base, structurals, halves })),
            Err(error) => Err(malformed(&error, text)),
        };
        *kept = tape.reset();
        result
    }

    /// Gives back what an unusually large text needed.
    pub(crate) fn trim(&mut self) {
        let nodes = self.tape.0.capacity().max(self.buffers.structural_indexes().len());
        if self.copy.capacity() > RETAINED_BYTES + INPUT_PADDING || nodes > RETAINED_NODES {
            *self = Reader::new();
        }
        self.mended = Vec::new();
    }

    #[cfg(test)]
    pub(crate) fn retained_bytes(&self) -> usize {
        let texts = self.copy.capacity() + self.mended.capacity() + self.halves.capacity() * 4;
        texts + self.buffers.structural_indexes().len() * 4 + self.tape.0.capacity() * size_of::<Node<'_>>()
    }
}

fn pad(copy: &mut Vec<u8>, text: &[u8]) {
    copy.clear();
    copy.reserve(text.len() + INPUT_PADDING);
    copy.extend_from_slice(text);
    copy.resize(text.len() + INPUT_PADDING, b' ');
}

fn may_be_mended(error: &Error) -> bool {
    matches!(error.error(), ErrorType::InvalidNumber | ErrorType::InvalidUnicodeCodepoint | ErrorType::InvalidUtf8)
        && error.character().is_some()
}

#[cold]
fn malformed(error: &Error, text: &[u8]) -> Malformed {
    const ESCAPE: &str = "is not JSON: not an escape sequence";
    let too_deep = matches!(error.error(), ErrorType::DepthLimitExceeded);
    let detail = match error.error() {
        _ if text.is_empty() => "is empty",
        _ if text.starts_with(b"\xef\xbb\xbf") => "starts with a byte order mark, which JSON text does not have",
        ErrorType::DepthLimitExceeded => "is nested deeper than 1024 levels",
        ErrorType::InputTooLarge => "is 4 GiB or larger",
        ErrorType::InvalidUtf8 if error.character().is_none() => "is not UTF-8",
        ErrorType::InvalidNumber => "is not JSON: not a number",
        ErrorType::InvalidEscape | ErrorType::InvalidUnicodeCodepoint | ErrorType::InvalidUtf8 => ESCAPE,
        ErrorType::Eof => "is not JSON: nothing but white space",
        ErrorType::TrailingData => "is not JSON: something follows the value",
        _ => "is not JSON",
    };
    // What the first pass finds has no place, and a bad escape only one within its string.
    let placed = error.character().is_some() && detail != ESCAPE;
    let offset = placed.then(|| error.index());
    Malformed { detail, offset, too_deep }
}

/// A parsed text: the parser's tape beside the bytes it was made from.
pub(crate) struct Doc<'t, 'a> {
    pub(crate) text: &'t [u8],
    /// Depth-first; a key and its value follow each other.
    pub(crate) nodes: &'t [Node<'a>],
    /// Address of the copy that the nodes' strings point into.
    base: usize,
    /// Positions of all structural characters, opening quotes and scalars in `text`, ascending.
    structurals: &'t [u32],
    /// Positions of escapes that are half of a surrogate pair, ascending.
    halves: &'t [u32],
}

/// What is wrong with a text that [`Doc::has_half`].
pub(crate) const HALF_PAIR: &str = "has a \\u escape that is half of a surrogate pair";

/// One member of an object.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) key: &'a str,
    /// Index of the value's node.
    pub(crate) value: usize,
    /// Where the next key starts, if there is one.
    next: Option<&'a str>,
}

impl<'a> Doc<'_, 'a> {
    /// Where the text's one value stands.
    pub(crate) fn root(&self) -> Range<usize> {
        span::trimmed(self.text)
    }

    /// Whether an escape in `span` is half of a surrogate pair, and so no character.
    #[inline]
    pub(crate) fn has_half(&self, span: &Range<usize>) -> bool {
        // By halving: a hostile text can have a million of them in as many events.
        let first = self.halves.partition_point(|at| (*at as usize) < span.start);
        self.halves.get(first).is_some_and(|at| (*at as usize) < span.end)
    }

    /// How many nodes the value at `node` takes.
    #[inline]
    pub(crate) fn width(&self, node: usize) -> usize {
        match self.nodes[node] {
            Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
            Node::String(_) | Node::Static(_) => 1,
        }
    }

    /// The members of the object at `node`, in order; none when it is not an object.
    #[inline]
    pub(crate) fn fields(&self, node: usize) -> Fields<'_, 'a> {
        let left = match self.nodes[node] {
            Node::Object { len, .. } => len,
            _ => 0,
        };
        Fields { doc: self, at: node + 1, left }
    }

    /// The string at `node`, unescaped.
    #[inline]
    pub(crate) fn string(&self, node: usize) -> Option<&'a str> {
        match self.nodes[node] {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// Where the content of `string`, which is one of this text's strings, starts.
    #[inline]
    fn start_of(&self, string: &str) -> usize {
        let at = string.as_ptr() as usize - self.base;
        debug_assert_eq!(self.text[at - 1], b'"', "a string's content follows its quote");
        at
    }

    /// The content of `string` as it was written, without the quotes.
    #[inline]
    pub(crate) fn written(&self, string: &str) -> Range<usize> {
        let start = self.start_of(string);
        start..span::string_end(self.text, start, string.len())
    }

    /// Where the value of `field` stands, `parent_end` being the end of its object.
    pub(crate) fn field_span(&self, field: &Field<'_>, parent_end: usize) -> Range<usize> {
        let colon = span::skip_space(self.text, self.written(field.key).end + 1);
        let start = span::skip_space(self.text, colon + 1);
        let anchor = field.next.map_or(parent_end - 1, |key| self.start_of(key) - 1);
        start..span::end_before(self.text, anchor)
    }

    /// Where each element of the array at `node` stands, `span` being its own place.
    pub(crate) fn element_spans(&self, node: usize, span: Range<usize>, out: &mut Vec<Range<usize>>) {
        out.clear();
        let Node::Array { len, count } = self.nodes[node] else {
            return;
        };
        let mut at = node + 1;
        let mut start = 0;
        while at <= node + count {
            let Some(key) = self.first_key(at) else {
                return self.scan_elements(span, len, out);
            };
            let next = span::object_start(self.text, self.start_of(key) - 1);
            if at > node + 1 {
                out.push(start..span::end_before(self.text, next));
            }
            start = next;
            at += self.width(at);
        }
        if len > 0 {
            out.push(start..span::end_before(self.text, span.end - 1));
        }
    }

    #[inline]
    fn first_key(&self, node: usize) -> Option<&'a str> {
        match self.nodes[node] {
            Node::Object { len: 1.., .. } => self.string(node + 1),
            _ => None,
        }
    }

    /// As [`Doc::element_spans`], for elements of any kind: by the brackets and commas.
    #[cold]
    pub(crate) fn scan_elements(&self, span: Range<usize>, len: usize, out: &mut Vec<Range<usize>>) {
        out.clear();
        if len == 0 {
            return;
        }
        let first = self.structurals.partition_point(|at| (*at as usize) <= span.start);
        let mut depth = 0;
        let mut start = span::skip_space(self.text, span.start + 1);
        for at in self.structurals[first..].iter().map(|at| *at as usize).take_while(|at| *at < span.end) {
            match self.text[at] {
                b'{' | b'[' => depth += 1,
                b',' if depth == 0 => {
                    out.push(start..span::end_before(self.text, at));
                    start = span::skip_space(self.text, at + 1);
                }
                b'}' | b']' if depth > 0 => depth -= 1,
                _ => {}
            }
        }
        out.push(start..span::end_before(self.text, span.end - 1));
        debug_assert_eq!(out.len(), len, "every element has a span");
    }
}

/// Walks the members of one object.
pub(crate) struct Fields<'t, 'a> {
    doc: &'t Doc<'t, 'a>,
    at: usize,
    left: usize,
}

impl<'a> Iterator for Fields<'_, 'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        self.left = self.left.checked_sub(1)?;
        let key = self.doc.string(self.at)?;
        let value = self.at + 1;
        self.at = value + self.doc.width(value);
        let next = if self.left > 0 { self.doc.string(self.at) } else { None };
        Some(Field { key, value, next })
    }
}
