use super::span::SpanId;
use std::fmt::Write as _;

/// The name of the header that carries a trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Length of version 00.
const LEN: usize = 55;

/// A W3C trace context: who a request belongs to. Kept as it stands in the header, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext([u8; LEN]);

impl TraceContext {
    /// The header's value, if it is one: lower-case hexadecimal, no id zero.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text: &[u8; LEN] = value.try_into().ok()?;
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|byte| *byte != b'0');
        let is_version = &text[..2] == b"00" && text[2] == b'-';
        let has_dashes = text[35] == b'-' && text[52] == b'-';
        let whole = is_version && has_dashes && is_id(&text[3..35]) && is_id(&text[36..52]) && is_hex(&text[53..]);
        whole.then_some(TraceContext(*text))
    }

    /// A context with these ids that says "sampled".
    #[must_use]
    pub fn sampled(trace: u128, span: SpanId) -> Self {
        let mut text = String::with_capacity(LEN);
        // Writing into memory never fails.
        write!(text, "00-{trace:032x}-{span}-01").ok();
        let mut bytes = [b'0'; LEN];
        bytes.copy_from_slice(text.as_bytes());
        TraceContext(bytes)
    }

    /// As it stands in the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The trace's id.
    #[must_use]
    pub fn trace(&self) -> u128 {
        u128::from_str_radix(&self.as_str()[3..35], 16).unwrap_or_default()
    }

    /// The id of the span that is the parent of what comes.
    #[must_use]
    pub fn span(&self) -> SpanId {
        SpanId(u64::from_str_radix(&self.as_str()[36..52], 16).unwrap_or_default())
    }

    /// Whether its sender keeps the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        matches!(self.0[LEN - 1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_a_context_is_taken_apart_and_put_together() {
        let context = TraceContext::parse(SENT.as_bytes()).unwrap();
        assert_eq!(context.as_str(), SENT);
        assert!(context.is_sampled());
        assert_eq!(TraceContext::sampled(context.trace(), context.span()), context);
        let unsampled = SENT.replace("-01", "-00");
        assert!(!TraceContext::parse(unsampled.as_bytes()).unwrap().is_sampled());
    }

    #[test]
    fn what_is_no_context_is_none() {
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
            "-------------------------------------------------------",
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
