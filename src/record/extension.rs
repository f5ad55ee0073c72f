use crate::{Corrupt, Fields};

/// What a segment's extension can hold. Stored: never change or reuse a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SegmentTag {
    /// The owner of the events, UTF-8.
    Tenant = 1,
    /// W3C `traceparent` of the request.
    Traceparent = 2,
}

/// What a record's extension can hold. Stored: never change or reuse a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordTag {
    /// The event id that an envelope supplied, as the content of a JSON string.
    EventId = 1,
    /// The timestamp that an envelope supplied, as the content of a JSON string.
    Timestamp = 2,
}

/// A list of tagged values; an unknown tag is skipped.
#[derive(Debug, Clone, Copy)]
pub struct Extension<'a>(&'a [u8]);

impl<'a> Extension<'a> {
    /// Checks that the values lie within the bytes.
    ///
    /// # Errors
    /// [`Corrupt::Short`] when one does not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut fields = Fields::new(bytes, "extension");
        while !fields.rest.is_empty() {
            fields.u8()?;
            let len = fields.u16()?;
            fields.take(usize::from(len))?;
        }
        Ok(Extension(bytes))
    }

    /// The value under `tag`.
    #[must_use]
    pub fn get(&self, tag: u8) -> Option<&'a [u8]> {
        let mut fields = Fields::new(self.0, "extension");
        while !fields.rest.is_empty() {
            let found = fields.u8().ok()?;
            let len = fields.u16().ok()?;
            let value = fields.take(usize::from(len)).ok()?;
            if found == tag {
                return Some(value);
            }
        }
        None
    }

    /// Appends one value to `out`.
    ///
    /// # Panics
    /// When the value is longer than 65,535 bytes: callers bound what they store here.
    pub fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
        assert!(value.len() <= usize::from(u16::MAX), "extension value of {} bytes", value.len());
        out.push(tag);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(value);
    }
}
