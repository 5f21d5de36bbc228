//! An address that stays while hooks come and go behind it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Takes connections and hands them on to whoever is behind it at the time; while nobody is, they
/// break. It listens for as long as the process runs.
pub(crate) struct Forwarder {
    address: SocketAddr,
    behind: Arc<Mutex<Option<SocketAddr>>>,
}

impl Forwarder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&behind);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let target = *shared.lock().unwrap();
                if let Some(Ok(target)) = target.map(TcpStream::connect) {
                    forward(&connection, &target);
                    forward(&target, &connection);
                }
            }
        });
        Self { address, behind }
    }

    /// Returns where notifications are to be sent.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/notifications", self.address)
    }

    /// Sets who is behind it.
    pub(crate) fn lead_to(&self, address: SocketAddr) {
        *self.behind.lock().unwrap() = Some(address);
    }
}

fn forward(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        // A connection that breaks on one side breaks on the other.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
