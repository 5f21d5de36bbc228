//! A port with a thread for each connection.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::connection;
use super::lock;
use super::server::Server;
use crate::error::{Error, Result};

/// Is a free port of the loopback device, taken.
#[derive(Debug)]
pub(super) struct Socket {
    socket: TcpListener,
    pub(super) address: SocketAddr,
}

/// Is a port that is listened on; dropped, it cuts all its connections and waits for their threads.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    ends: Arc<Ends>,
    acceptor: Option<JoinHandle<()>>,
}

/// Is what it takes to end the connections.
#[derive(Debug, Default)]
struct Ends {
    ended: AtomicBool,
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl Socket {
    pub(super) fn bind() -> Result<Self> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| Ok(Self { address: socket.local_addr()?, socket }))
            .map_err(Error::io(Path::new("127.0.0.1:0")))
    }

    pub(super) fn listen(self, server: Arc<Server>) -> Listener {
        let ends = Arc::new(Ends::default());
        let Self { socket, address } = self;
        let acceptor = {
            let ends = Arc::clone(&ends);
            thread::spawn(move || accept(&socket, address.port(), &server, &ends))
        };
        Listener { address, ends, acceptor: Some(acceptor) }
    }
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ends.ended.store(true, Ordering::SeqCst);
        self.ends.cut();
        // One more connection wakes the acceptor, which then sees that it is the last.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(acceptor) = self.acceptor.take()
            && woken
        {
            // A panic has been told of by the thread itself.
            let _ = acceptor.join();
        }
    }
}

impl Ends {
    fn cut(&self) {
        for stream in lock(&self.open).values() {
            // Those that the client has cut already cannot be cut again.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Serves connections until the listener ends.
fn accept(socket: &TcpListener, port: u16, server: &Server, ends: &Ends) {
    thread::scope(|scope| {
        for (number, stream) in (0..).zip(socket.incoming()) {
            if ends.ended.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else { continue };
            let Ok(end) = stream.try_clone() else { continue };
            lock(&ends.open).insert(number, end);
            scope.spawn(move || {
                connection::serve(stream, port, server);
                lock(&ends.open).remove(&number);
            });
        }
        // What was accepted after the first cut.
        ends.cut();
    });
}
