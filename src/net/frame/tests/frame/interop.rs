//! Against tungstenite, an implementation of its own, as the client over a loopback socket.

use frame::{Decoder, Event, Limits, handshake, put_close, put_ping, put_pong, put_text, put_text_with};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::thread::JoinHandle;
use std::time::Duration;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, Message, WebSocket};

const LIMIT: usize = 1 << 20;

/// Reads the request's head, answers it, and returns what was read behind it.
fn accept(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut read = [0; 512];
        let n = stream.read(&mut read).unwrap();
        assert_ne!(n, 0, "the request is complete");
        request.extend_from_slice(&read[..n]);
    };
    let rest = request.split_off(end);
    let request = String::from_utf8(request).unwrap();
    let (line, headers) = request.split_once("\r\n").unwrap();
    let headers = headers.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.as_bytes()));
    let accept = handshake(line.split(' ').next().unwrap(), line.ends_with("HTTP/1.1"), headers).unwrap();
    let accept = std::str::from_utf8(&accept).unwrap();
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
    write!(stream, "{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").unwrap();
    rest
}

/// Echoes text behind a "t" and binary as its length in text; pings after each read.
fn serve(mut stream: TcpStream) {
    let mut decoder = Decoder::new(Limits { message_bytes_max: LIMIT });
    let mut buffer = vec![0; 64 << 10];
    let rest = accept(&mut stream);
    let mut n = rest.len();
    buffer[..n].copy_from_slice(&rest);
    let mut closed = false;
    loop {
        let mut out = Vec::new();
        let fed = decoder.feed(&mut buffer[..n], |event| {
            match event {
                Event::Text(text) => put_text_with(&mut out, |out| {
                    out.push(b't');
                    out.extend_from_slice(text);
                }),
                Event::Binary(bytes) => put_text(&mut out, bytes.len().to_string().as_bytes()),
                Event::Ping(payload) => put_pong(&mut out, payload),
                Event::Pong(payload) => assert_eq!(payload, b"are you there"),
                Event::Close { code, reason } => {
                    put_close(&mut out, code, reason);
                    closed = true;
                }
            }
            ControlFlow::Continue(())
        });
        if let Err(violation) = fed {
            put_close(&mut out, Some(violation.close_code()), &violation.to_string());
            closed = true;
        }
        if !closed {
            put_ping(&mut out, b"are you there");
        }
        stream.write_all(&out).unwrap();
        if closed {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // To the end, or what was not read would reset the connection under the client's feet.
            while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
            return;
        }
        n = stream.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "the client says goodbye first");
    }
}

fn connect() -> (WebSocket<TcpStream>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    let stream = TcpStream::connect(address).unwrap();
    // A deadlock should fail, not hang.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (socket, _) = tungstenite::client(format!("ws://{address}/events/stream"), stream).unwrap();
    (socket, server)
}

/// The server drains until the client is gone; only then is it done.
fn hang_up(socket: WebSocket<TcpStream>, server: JoinHandle<()>) {
    drop(socket);
    server.join().unwrap();
}

/// The next message that is not the server's own ping.
fn next(socket: &mut WebSocket<TcpStream>) -> Message {
    loop {
        match socket.read().unwrap() {
            Message::Ping(payload) => assert_eq!(&payload[..], b"are you there"),
            message => return message,
        }
    }
}

fn fragment(opcode: Data, payload: &[u8], fin: bool) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(opcode), fin))
}

#[test]
fn messages_of_each_length_are_echoed_and_the_connection_closes_in_order() {
    let (mut socket, server) = connect();
    for len in [0, 1, 100, 124, 125, 126, 127, 1_000, 65_534, 65_535, 65_536, 100_000, LIMIT / 2] {
        let text: String = "aé☃𝄞".chars().cycle().take(len / 4).collect();
        socket.send(Message::text(text.clone())).unwrap();
        assert_eq!(next(&mut socket), Message::text(format!("t{text}")));
        socket.send(Message::binary(vec![0xff; len])).unwrap();
        assert_eq!(next(&mut socket), Message::text(len.to_string()));
    }
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.close(Some(goodbye.clone())).unwrap();
    assert_eq!(next(&mut socket), Message::Close(Some(goodbye)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    hang_up(socket, server);
}

#[test]
fn a_batch_written_at_once_is_answered_in_order() {
    let (mut socket, server) = connect();
    for i in 0..2_000 {
        socket.write(Message::text(format!("{{\"n\":{i}}}"))).unwrap();
    }
    socket.flush().unwrap();
    for i in 0..2_000 {
        assert_eq!(next(&mut socket), Message::text(format!("t{{\"n\":{i}}}")));
    }
    socket.close(None).unwrap();
    assert_eq!(next(&mut socket), Message::Close(None));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    hang_up(socket, server);
}

#[test]
fn fragments_with_pings_between_are_put_together() {
    let (mut socket, server) = connect();
    socket.send(fragment(Data::Text, "snow ☃".as_bytes().split_last().unwrap().1, false)).unwrap();
    socket.send(Message::Ping(b"between"[..].into())).unwrap();
    assert_eq!(next(&mut socket), Message::Pong(b"between"[..].into()));
    socket.send(fragment(Data::Continue, &[0x83, b'!'], true)).unwrap();
    assert_eq!(next(&mut socket), Message::text("tsnow ☃!"));
    socket.close(None).unwrap();
    assert_eq!(next(&mut socket), Message::Close(None));
    hang_up(socket, server);
}

#[test]
fn a_message_that_is_too_big_is_answered_with_1009() {
    let (mut socket, server) = connect();
    socket.send(fragment(Data::Binary, &[0; 1000], false)).unwrap();
    socket.send(fragment(Data::Continue, &vec![0; LIMIT], true)).unwrap();
    let Message::Close(Some(close)) = next(&mut socket) else { panic!("a close is due") };
    assert_eq!(close.code, CloseCode::Size);
    assert_eq!(close.reason, "message is larger than 1048576 bytes");
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    hang_up(socket, server);
}

#[test]
fn a_broken_protocol_is_answered_with_1002_after_what_was_good() {
    let (mut socket, server) = connect();
    socket.write(Message::text("good")).unwrap();
    socket.write(fragment(Data::Continue, b"of nothing", true)).unwrap();
    socket.flush().unwrap();
    assert_eq!(next(&mut socket), Message::text("tgood"));
    let Message::Close(Some(close)) = next(&mut socket) else { panic!("a close is due") };
    assert_eq!((close.code, &*close.reason), (CloseCode::Protocol, "continuation without a message to continue"));
    hang_up(socket, server);
}
