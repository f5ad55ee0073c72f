//! What hyper answers by itself, to a head that it cannot read, is not sent: it has no body, and no id to find it by in a log.
//! It is held back here, and `connection` answers in its place.

use httparse::Status;
use hyper::StatusCode;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than such an answer has.
const CANNED_BYTES_MAX: usize = 160;
/// How any of them begins.
const BEGINNING: &[u8] = b"HTTP/1.";
/// How every head ends.
const END: &[u8] = b"\r\n\r\n";

/// A stream that takes hyper's own last words, and does not pass them on.
#[derive(Debug)]
pub(super) struct OwnWords<S> {
    stream: S,
    held_back: Option<StatusCode>,
}

impl<S> OwnWords<S> {
    pub(super) fn new(stream: S) -> Self {
        OwnWords { stream, held_back: None }
    }

    /// The stream, and the status of what was held back.
    pub(super) fn into_parts(self) -> (S, Option<StatusCode>) {
        (self.stream, self.held_back)
    }
}

/// Where at the end of `bytes` hyper's own answer begins, and its status. Such a head says that there is no body and has no
/// id, which every answer of ours has; a body of ours does not end like a head.
fn canned(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    if !bytes.ends_with(END) {
        return None;
    }
    let from = bytes.len().saturating_sub(CANNED_BYTES_MAX);
    let begins = from + bytes[from..].windows(BEGINNING.len()).rposition(|window| window == BEGINNING)?;
    let mut headers = [httparse::EMPTY_HEADER; 4];
    let mut answer = httparse::Response::new(&mut headers);
    let whole =
        matches!(answer.parse(&bytes[begins..]), Ok(Status::Complete(length)) if begins + length == bytes.len());
    let has = |wanted: &str| answer.headers.iter().any(|header| header.name.eq_ignore_ascii_case(wanted));
    let status = StatusCode::from_u16(answer.code?).ok()?;
    let is_canned = whole && status.is_client_error() && has("content-length") && !has("x-request-id");
    is_canned.then_some((begins, status))
}

impl<S: AsyncRead + Unpin> AsyncRead for OwnWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OwnWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match canned(bytes) {
            Some((0, status)) => {
                self.held_back = Some(status);
                Poll::Ready(Ok(bytes.len()))
            }
            // What stands before it is an answer that goes out; then this is asked again for the rest.
            Some((begins, _)) => Pin::new(&mut self.stream).poll_write(context, &bytes[..begins]),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bytes.iter().rfind(|slice| !slice.is_empty()) {
            // All of such a head is in one slice, and nothing comes behind it.
            Some(last) if canned(last).is_some() => {
                let first = bytes.iter().find(|slice| !slice.is_empty()).unwrap_or(last);
                self.poll_write(context, first)
            }
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const CANNED: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
        date: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n";
    const OURS: &[u8] = b"HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn hypers_own_answer_is_held_back_and_ours_is_not() {
        let mut stream = OwnWords::new(Vec::new());
        stream.write_all(&[OURS, CANNED].concat()).await.unwrap();
        assert_eq!(stream.into_parts(), (OURS.to_vec(), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
        let mut stream = OwnWords::new(Vec::new());
        stream.write_all(OURS).await.unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert_eq!(stream.into_parts().1, None);
    }

    #[tokio::test]
    async fn it_is_found_behind_other_slices() {
        let mut stream = OwnWords::new(Vec::new());
        let slices = [io::IoSlice::new(OURS), io::IoSlice::new(CANNED), io::IoSlice::new(b"")];
        let written = stream.write_vectored(&slices).await.unwrap();
        assert_eq!(written, OURS.len());
        let written = stream.write_vectored(&slices[1..]).await.unwrap();
        assert_eq!(written, CANNED.len());
        assert_eq!(stream.into_parts(), (OURS.to_vec(), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
    }
}
