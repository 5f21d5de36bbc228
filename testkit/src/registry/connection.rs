//! One connection: a request, its answer, and the next.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::error::Refusal;
use super::http::{Head, Wire};
use super::request_body::{RequestBody, Rest};
use super::response::Response;
use super::server::Server;

/// Serves a connection until either side ends it.
pub(super) fn serve(stream: TcpStream, server: &Server) {
    let Ok(end) = stream.try_clone() else { return };
    // An answer is one write or a few; none should wait for the next.
    let _ = stream.set_nodelay(true);
    let mut wire = Wire::new(stream);
    // What breaks a connection is the client's to notice.
    if matches!(converse(&mut wire, server), Ok(Next::Linger)) {
        linger(&mut wire, &end);
    }
    let _ = end.shutdown(Shutdown::Both);
}

/// Is what becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It takes another request.
    Request,
    /// It ends when the client has stopped sending.
    Linger,
}

fn converse<S: Read + Write>(wire: &mut Wire<S>, server: &Server) -> io::Result<Next> {
    loop {
        match wire.read_head() {
            Ok(Some(head)) => match exchange(wire, &head, server)? {
                Next::Request => {}
                Next::Linger => return Ok(Next::Linger),
            },
            Ok(None) => return Ok(Next::Linger),
            Err(error) => return refuse(wire, error),
        }
    }
}

/// Answers one request.
fn exchange<S: Read + Write>(wire: &mut Wire<S>, head: &Head, server: &Server) -> io::Result<Next> {
    let number = server.records.add(head);
    let announced = match Rest::announced(head) {
        Ok(announced) => announced,
        Err(error) => return refuse(wire, error),
    };
    let mut body = RequestBody::new(wire, announced);
    let answer = server.answer(head, &mut body);
    let received_bytes = body.received_bytes();
    let rest = body.rest();
    let response = match answer {
        Ok(response) => response,
        Err(Refusal::Answered(response)) => *response,
        Err(Refusal::Broken(error)) => {
            server.records.finish(number, received_bytes, None);
            return Err(error);
        }
    };
    server.records.finish(number, received_bytes, Some(response.status));
    let keep_alive = head.keep_alive && rest.is_small();
    wire.write_response(response, head.method == "HEAD", keep_alive)?;
    if !keep_alive {
        return Ok(Next::Linger);
    }
    RequestBody::new(wire, rest).discard()?;
    Ok(Next::Request)
}

/// Answers what cannot be understood, and is the last answer.
fn refuse<S: Read + Write>(wire: &mut Wire<S>, error: io::Error) -> io::Result<Next> {
    if error.kind() != io::ErrorKind::InvalidData {
        return Err(error);
    }
    let body = format!("{error}\n").into_bytes();
    wire.write_response(Response::new(400).body(body), false, false)?;
    Ok(Next::Linger)
}

/// Reads what is still arriving: a socket that is closed before would reset the connection, and the
/// client might lose the answer (RFC 9112, section 9.6).
fn linger<S: Read + Write>(wire: &mut Wire<S>, end: &TcpStream) {
    let ended = wire.flush().and_then(|()| end.shutdown(Shutdown::Write));
    if ended.and_then(|()| end.set_read_timeout(Some(LINGER))).is_ok() {
        let _ = io::copy(&mut wire.take(MOST_LINGER_BYTES), &mut io::sink());
    }
}

/// Is how long a client may be silent before its connection is closed.
const LINGER: Duration = Duration::from_secs(5);

const MOST_LINGER_BYTES: u64 = 64 << 20;
