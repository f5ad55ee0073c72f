//! A way to the broker on which answers can be lost.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes on what clients say, and what the broker answers unless that is to be lost.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    loses: Arc<AtomicBool>,
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Listens at one port for what goes to another one. Its threads end with the connections, or with the process.
    pub(super) fn start(to: u16, port: u16) -> Self {
        let proxy = Proxy { port, loses: Arc::default(), clients: Arc::default() };
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let accepts = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                // A broker that is away is one that hangs up.
                let (Ok(client), Ok(broker)) = (client, TcpStream::connect(("127.0.0.1", to))) else { continue };
                accepts.clients().push(client.try_clone().unwrap());
                let never = Arc::default();
                pass(client.try_clone().unwrap(), broker.try_clone().unwrap(), never);
                pass(broker, client, Arc::clone(&accepts.loses));
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on, no answer arrives.
    pub fn lose_answers(&self) {
        self.loses.store(true, Ordering::SeqCst);
    }

    /// All is well again, for those who connect anew.
    pub fn mend(&self) {
        self.clients().drain(..).for_each(|client| drop(client.shutdown(Shutdown::Both)));
        self.loses.store(false, Ordering::SeqCst);
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, loses: Arc<AtomicBool>) {
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !loses.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
}
