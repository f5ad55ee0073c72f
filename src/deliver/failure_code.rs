/// What made a sink fail: the word that its reason begins with. The names are documented: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// The sink holds what this log has not sent.
    Diverged,
    /// Another producer has our place.
    Fenced,
    /// What the sink says of its own place is gone, or older than what was confirmed.
    WatermarkLost,
    /// What the sink says of its own place cannot be read by this release.
    WatermarkUnreadable,
    /// The server says no to us, whatever the event.
    DestinationRefuses,
    /// A setting of the sink's client cannot work.
    Misconfigured,
    /// What the log keeps of the sink's place cannot be read by this release.
    PlaceUnreadable,
    /// A stored block is not what was written, or is missing.
    LogDamaged,
    /// The log no longer has what the sink lacks.
    LogTrimmed,
    /// The log cannot be written, so the sink's place cannot be kept.
    LogClosed,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [FailureCode; 10] = [
        FailureCode::Diverged,
        FailureCode::Fenced,
        FailureCode::WatermarkLost,
        FailureCode::WatermarkUnreadable,
        FailureCode::DestinationRefuses,
        FailureCode::Misconfigured,
        FailureCode::PlaceUnreadable,
        FailureCode::LogDamaged,
        FailureCode::LogTrimmed,
        FailureCode::LogClosed,
    ];

    /// The code as operators see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureCode::Diverged => "diverged",
            FailureCode::Fenced => "fenced",
            FailureCode::WatermarkLost => "watermark_lost",
            FailureCode::WatermarkUnreadable => "watermark_unreadable",
            FailureCode::DestinationRefuses => "destination_refuses",
            FailureCode::Misconfigured => "misconfigured",
            FailureCode::PlaceUnreadable => "place_unreadable",
            FailureCode::LogDamaged => "log_damaged",
            FailureCode::LogTrimmed => "log_trimmed",
            FailureCode::LogClosed => "log_closed",
        }
    }
}
