//! What hyper answers by itself, to a head that it cannot read, is not sent: it has no body, and no id to find it by in a log.
//! It is held back here, and `connection` answers in its place.

use httparse::{Header, Status};
use hyper::StatusCode;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than such an answer has.
const CANNED_BYTES_MAX: usize = 160;
/// The headers that it has: when the connection ends, that there is no body, the date.
const CANNED_HEADERS: usize = 3;
/// How any of them begins.
const BEGINNING: &[u8] = b"HTTP/1.";
/// How every head ends.
const END: &[u8] = b"\r\n\r\n";

/// A stream that takes hyper's own last words, and does not pass them on.
#[derive(Debug)]
pub(super) struct OwnWords<S> {
    stream: S,
    /// Of what was written last only a part was taken: what comes next begins in its middle.
    is_cut: bool,
    held_back: Option<StatusCode>,
}

impl<S> OwnWords<S> {
    pub(super) fn new(stream: S) -> Self {
        OwnWords { stream, is_cut: false, held_back: None }
    }

    /// The stream, and the status of what was held back.
    pub(super) fn into_parts(self) -> (S, Option<StatusCode>) {
        (self.stream, self.held_back)
    }
}

/// Where at the end of `bytes` hyper's own answer begins, and its status; `is_cut` where `bytes` go on with something.
///
/// It begins where a message does: nothing that stands within a line, be it a client's id, is taken for one. It has no
/// header but its own, so no id, which every answer of ours has; and a body of ours does not end like a head.
fn canned(bytes: &[u8], is_cut: bool) -> Option<(usize, StatusCode)> {
    if !bytes.ends_with(END) {
        return None;
    }
    let from = bytes.len().saturating_sub(CANNED_BYTES_MAX);
    let begins = from + bytes[from..].windows(BEGINNING.len()).rposition(|window| window == BEGINNING)?;
    let before = &bytes[..begins];
    let is_message = match before {
        [] => !is_cut,
        // Of the head before it only the last bytes may be left.
        _ => before.ends_with(END) || is_cut && END.ends_with(before),
    };
    let mut headers = [httparse::EMPTY_HEADER; CANNED_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let whole =
        matches!(answer.parse(&bytes[begins..]), Ok(Status::Complete(length)) if begins + length == bytes.len());
    let status = StatusCode::from_u16(answer.code?).ok()?;
    let is_canned = is_message && whole && status.is_client_error() && has_its_own_alone(answer.headers);
    is_canned.then_some((begins, status))
}

/// Whether there are the headers of hyper's own answer, and no others.
fn has_its_own_alone(headers: &[Header<'_>]) -> bool {
    let is = |header: &Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    headers.iter().all(|header| ["connection", "content-length", "date"].iter().any(|name| is(header, name)))
        && headers.iter().any(|header| is(header, "content-length") && header.value == b"0")
}

impl<S: AsyncWrite + Unpin> OwnWords<S> {
    /// Writes to the stream.
    fn pass_on(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = written {
            self.is_cut = taken < bytes.len();
        }
        written
    }
}

/// Whether the first `taken` bytes of the slices end within one of them.
fn is_within(slices: &[io::IoSlice<'_>], mut taken: usize) -> bool {
    for slice in slices {
        if taken < slice.len() {
            return taken > 0;
        }
        taken -= slice.len();
    }
    false
}

impl<S: AsyncRead + Unpin> AsyncRead for OwnWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OwnWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match canned(bytes, self.is_cut) {
            Some((0, status)) => {
                self.held_back = Some(status);
                Poll::Ready(Ok(bytes.len()))
            }
            // What stands before it is an answer that goes out; then this is asked again for the rest.
            Some((begins, _)) => self.pass_on(context, &bytes[..begins]),
            None => self.pass_on(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = bytes.iter().filter(|slice| !slice.is_empty());
        let Some(first) = slices.next() else { return Poll::Ready(Ok(0)) };
        // All of such a head is in one slice, and nothing comes behind it.
        let ends_canned = match slices.next_back() {
            Some(last) => canned(last, false).is_some(),
            None => canned(first, self.is_cut).is_some(),
        };
        if ends_canned {
            return self.poll_write(context, first);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        if let Poll::Ready(Ok(taken)) = written {
            self.is_cut = is_within(bytes, taken);
        }
        written
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

    /// What a client may have its answer look like from the middle of a line on.
    const TRICKED: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-type: a/b\r\nx-request-id: HTTP/1.1 404 x\r\n\
        content-length: 0\r\ndate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n";

    #[tokio::test]
    async fn nothing_within_a_line_is_taken_for_it() {
        for behind in [b"".as_slice(), TRICKED, OURS] {
            let all = [behind, TRICKED].concat();
            let mut stream = OwnWords::new(Vec::new());
            stream.write_all(&all).await.unwrap();
            stream.write_all(CANNED).await.unwrap();
            assert_eq!(stream.into_parts(), (all, Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
        }
    }

    #[tokio::test]
    async fn nor_is_what_is_left_of_a_line_that_was_cut() {
        let cut = TRICKED.windows(BEGINNING.len()).rposition(|window| window == BEGINNING).unwrap();
        for vectored in [true, false] {
            let (ours, mut theirs) = tokio::io::duplex(cut);
            let mut stream = OwnWords::new(ours);
            let (mut written, mut read) = (0, Vec::new());
            while written < TRICKED.len() {
                let (from, rest) = (written, &TRICKED[written..]);
                written += match vectored {
                    true => stream.write_vectored(&[io::IoSlice::new(rest)]).await.unwrap(),
                    false => stream.write(rest).await.unwrap(),
                };
                read.resize(written, 0);
                theirs.read_exact(&mut read[from..]).await.unwrap();
            }
            assert_eq!(stream.into_parts().1, None);
            assert_eq!(read, TRICKED);
        }
        // But behind what is left of a head it is found.
        for left in 1..=END.len() {
            let (ours, theirs) = tokio::io::duplex(OURS.len() - left);
            let mut stream = OwnWords::new(ours);
            let all = [OURS, CANNED].concat();
            let (mut reading, mut read) = (theirs, vec![0; OURS.len()]);
            let (written, got) = tokio::join!(stream.write_all(&all), reading.read_exact(&mut read));
            written.and(got.map(drop)).unwrap();
            assert_eq!((read.as_slice(), stream.into_parts().1.is_some()), (OURS, true), "{left}");
        }
        let slices = [io::IoSlice::new(b"ab"), io::IoSlice::new(b""), io::IoSlice::new(b"cd")];
        assert_eq!([0, 1, 2, 3, 4].map(|taken| is_within(&slices, taken)), [false, true, false, true, false]);
    }

    #[tokio::test]
    async fn a_head_with_any_other_header_is_not_it() {
        for (from, to) in [("h: 0", "h: 7"), ("date", "allow"), ("431", "503"), ("date", "a: b\r\ndate")] {
            let other = String::from_utf8(CANNED.to_vec()).unwrap().replacen(from, to, 1);
            assert_eq!(canned(other.as_bytes(), false), None, "{other}");
        }
        assert_eq!(canned(CANNED, true), None);
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
