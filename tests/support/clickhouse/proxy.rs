//! A way to the server on which answers can be lost: what was asked is done, and nobody hears of it.

use super::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Passes on what clients say, and what the server answers unless that is to be lost.
pub struct Proxy {
    port: u16,
    loses: Arc<AtomicBool>,
}

impl Proxy {
    /// Its threads end with the connections, or with the process.
    pub fn to(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), loses: Arc::default() };
        let (to, loses) = (server.port, Arc::clone(&proxy.loses));
        thread::spawn(move || {
            for client in listener.incoming() {
                // A server that is away is one that hangs up.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", to))) else { continue };
                pass(client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::default());
                pass(server, client, Arc::clone(&loses));
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
}

fn pass(mut from: TcpStream, mut to: TcpStream, loses: Arc<AtomicBool>) {
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if loses.load(Ordering::SeqCst) || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // It may be gone already.
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
}
