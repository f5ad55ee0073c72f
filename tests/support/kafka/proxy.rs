//! A way to the broker on which answers can be lost, and which can be slow.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Passes on what clients say, and what the broker answers unless that is to be lost.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    loses: Arc<AtomicBool>,
    rate: Arc<AtomicU64>,
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Listens at one port for what goes to another one. Its threads end with the connections, or with the process.
    pub(super) fn start(to: u16, port: u16) -> Self {
        let proxy = Proxy { port, loses: Arc::default(), rate: Arc::default(), clients: Arc::default() };
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let accepts = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                // A broker that is away is one that hangs up.
                let (Ok(client), Ok(broker)) = (client, TcpStream::connect(("127.0.0.1", to))) else { continue };
                accepts.clients().push(client.try_clone().unwrap());
                let (never, at_once) = (Arc::default(), Arc::default());
                pass(client.try_clone().unwrap(), broker.try_clone().unwrap(), never, Arc::clone(&accepts.rate));
                pass(broker, client, Arc::clone(&accepts.loses), at_once);
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

    /// From now on, so many bytes a second pass to the broker on each connection.
    pub fn slow_down(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// All is well again, for those who connect anew.
    pub fn mend(&self) {
        self.clients().drain(..).for_each(|client| drop(client.shutdown(Shutdown::Both)));
        self.loses.store(false, Ordering::SeqCst);
        self.rate.store(0, Ordering::SeqCst);
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, loses: Arc<AtomicBool>, rate: Arc<AtomicU64>) {
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 14];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let rate = rate.load(Ordering::SeqCst);
            if rate > 0 {
                thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
            }
            if !loses.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
}
