//! `Content-Encoding`: gzip, zstd and br, up to the limit of a body and no further.

use super::answer::{Answer, problem};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use std::io::Read;

/// The largest window a zstd frame may ask for, as a power of two: what a decoder allocates before it gives anything
/// out. The largest that any level of the reference encoder uses unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How much smaller packed events mostly are: the first guess at the room for a body.
const TYPICAL_RATIO: usize = 4;
/// What is read at least before more room is made.
const PIECE_BYTES: usize = 4 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
    Brotli,
}

/// Why a body cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpack {
    /// It would be larger than allowed.
    TooLarge,
    /// It is damaged or packed in another way.
    Broken,
}

/// How the body is packed, if it is, or a 415 that says what is taken.
pub(super) fn codec(headers: &HeaderMap) -> Result<Option<Codec>, Box<Answer>> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().unwrap_or("not text").trim().to_ascii_lowercase();
    match (name.as_str(), values.next()) {
        ("" | "identity", None) => Ok(None),
        ("gzip" | "x-gzip", None) => Ok(Some(Codec::Gzip)),
        ("zstd", None) => Ok(Some(Codec::Zstd)),
        ("br", None) => Ok(Some(Codec::Brotli)),
        _ => Err(Box::new(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content encoding must be one of gzip, zstd, br and only one",
        ))),
    }
}

/// Unpacks at most `max` bytes: a bomb is cut off there, whatever it claims.
pub(super) fn unpack(codec: Codec, packed: &[u8], max: usize) -> Result<Bytes, Unpack> {
    let mut out = Vec::with_capacity(packed.len().saturating_mul(TYPICAL_RATIO).min(max + 1));
    let mut take = |reader: &mut dyn Read| fill(&mut out, reader, max + 1);
    let read = match codec {
        Codec::Gzip => take(&mut flate2::read::MultiGzDecoder::new(packed)),
        Codec::Zstd => match zstd::stream::read::Decoder::with_buffer(packed) {
            Ok(mut decoder) => decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).and_then(|()| take(&mut decoder)),
            Err(error) => Err(error),
        },
        Codec::Brotli => {
            let mut decoder = brotli_decompressor::Decompressor::new(packed, 4096);
            take(&mut decoder).and_then(|()| nothing_behind(&mut decoder))
        }
    };
    match read {
        Err(_) => Err(Unpack::Broken),
        Ok(()) if out.len() > max => Err(Unpack::TooLarge),
        Ok(()) => Ok(out.into()),
    }
}

/// Sees that nothing follows a stream that was read to its end, which the other decoders do by themselves.
fn nothing_behind(decoder: &mut brotli_decompressor::Decompressor<&[u8]>) -> std::io::Result<()> {
    // What it has taken and not used it tells when it is asked once more; it may also not have ended.
    match decoder.read(&mut [0])? {
        0 if !decoder.get_ref().is_empty() => Err(std::io::ErrorKind::InvalidData.into()),
        _ => Ok(()),
    }
}

/// Reads up to `max` bytes; the buffer doubles as it fills but never holds room for more than that.
fn fill(out: &mut Vec<u8>, reader: &mut dyn Read, max: usize) -> std::io::Result<()> {
    loop {
        let room = (out.capacity() - out.len()).max(PIECE_BYTES).min(max - out.len());
        if room == 0 || (&mut *reader).take(room as u64).read_to_end(out)? < room {
            return Ok(());
        }
        out.reserve_exact(out.len().min(max - out.len()));
    }
}
