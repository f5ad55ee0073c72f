//! A way to the server on which answers can be lost: what was asked is done, and nobody hears of it. It can also be busy,
//! as a server is that has too many queries: what is asked is not done, and it says so.

use super::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes on what clients say, and what the server answers unless that is to be lost.
pub struct Proxy {
    port: u16,
    loses: Arc<AtomicBool>,
    is_busy: Arc<Mutex<Option<Holds>>>,
}

/// Whether something holds at this moment.
type Holds = Box<dyn Fn() -> bool + Send>;

/// What a server answers that has too many queries.
const BUSY: &str = "Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)";

impl Proxy {
    /// Its threads end with the connections, or with the process.
    pub fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy =
            Proxy { port: listener.local_addr().unwrap().port(), loses: Arc::default(), is_busy: Arc::default() };
        let (to, loses, is_busy) = (server.port, Arc::clone(&proxy.loses), Arc::clone(&proxy.is_busy));
        thread::spawn(move || {
            for client in listener.incoming() {
                // A server that is away is one that hangs up.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", to))) else { continue };
                let is_busy = Arc::clone(&is_busy);
                let says = client.try_clone().unwrap();
                pass(client.try_clone().unwrap(), server.try_clone().unwrap(), move |bytes| {
                    let is_busy = is_busy.lock().unwrap();
                    let refuses = bytes.starts_with(b"POST ") && is_busy.as_ref().is_some_and(|is_busy| is_busy());
                    !refuses || refuse(&says)
                });
                let loses = Arc::clone(&loses);
                pass(server, client, move |_| !loses.load(Ordering::SeqCst));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on, the server's answers arrive, or the connection is cut instead.
    pub fn lose_answers(&self, loses: bool) {
        self.loses.store(loses, Ordering::SeqCst);
    }

    /// From now on, whatever is asked while this holds is not done.
    pub fn is_busy(&self, holds: impl Fn() -> bool + Send + 'static) {
        *self.is_busy.lock().unwrap() = Some(Box::new(holds));
    }
}

/// Says that it is busy; false, for the request goes no further.
fn refuse(mut client: &TcpStream) -> bool {
    let head = "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nX-ClickHouse-Exception-Code: 202";
    // The client may be gone.
    write!(client, "{head}\r\nContent-Length: {}\r\n\r\n{BUSY}", BUSY.len()).ok();
    false
}

/// Passes bytes on as long as they may.
fn pass(mut from: TcpStream, mut to: TcpStream, mut may: impl FnMut(&[u8]) -> bool + Send + 'static) {
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !may(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // It may be gone already.
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
}
