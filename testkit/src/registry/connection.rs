//! One connection: a request, its answer, and the next.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::error::Refusal;
use super::fault::Script;
use super::http::{Head, Wire};
use super::request_body::{RequestBody, Rest};
use super::response::{Ending, Response};
use super::server::Server;

/// Serves a connection until either side ends it.
pub(super) fn serve(stream: TcpStream, port: u16, server: &Server) {
    let Ok(end) = stream.try_clone() else { return };
    // An answer is one write or a few; none should wait for the next.
    let _ = stream.set_nodelay(true);
    match &server.settings.tls {
        None => serve_over(Wire::new(stream, port), &end, server),
        Some(config) => match ServerConnection::new(Arc::clone(config)) {
            Ok(connection) => {
                serve_over(Wire::new(StreamOwned::new(connection, stream), port), &end, server)
            }
            Err(error) => panic!("no TLS: {error}"),
        },
    }
    let _ = end.shutdown(Shutdown::Both);
}

/// Carries a connection.
trait Carrier: Read + Write {
    /// Says that nothing more will be written.
    fn say_goodbye(&mut self) -> io::Result<()>;
}

impl Carrier for TcpStream {
    fn say_goodbye(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Carrier for StreamOwned<ServerConnection, TcpStream> {
    /// Says it, for otherwise what was sent might have been cut short by anyone.
    fn say_goodbye(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

fn serve_over<S: Carrier>(mut wire: Wire<S>, end: &TcpStream, server: &Server) {
    // What breaks a connection is the client's to notice.
    match converse(&mut wire, server) {
        Ok(Next::Linger) => linger(&mut wire, end),
        // Until the client gives up.
        Ok(Next::Stall) => drop(io::copy(&mut wire, &mut io::sink())),
        Ok(Next::Cut | Next::Request) | Err(_) => {}
    }
}

/// Is what becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It ends at once.
    Cut,
    /// It ends when the client has stopped sending.
    Linger,
    /// It takes another request.
    Request,
    /// It stays open, and silent.
    Stall,
}

fn converse<S: Read + Write>(wire: &mut Wire<S>, server: &Server) -> io::Result<Next> {
    loop {
        match wire.read_head() {
            Ok(Some(head)) => match exchange(wire, &head, server)? {
                Next::Request => {}
                end => return Ok(end),
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
    let script = server.faults.script(head).unwrap_or_default();
    server.stopping.pass_within(script.delay);
    if let Some(gate) = &script.hold {
        gate.pass();
    }
    let mut body = RequestBody::new(wire, announced).cut_after(script.cut_upload_after);
    let answer = answer(&script, head, &mut body, server);
    let received_bytes = body.received_bytes();
    let rest = body.rest();
    let response = match answer {
        Ok(response) => response,
        Err(Refusal::Answered(response)) => *response,
        Err(Refusal::Broken(error)) => {
            server.records.finish(number, received_bytes, None);
            return refuse(wire, error);
        }
    };
    if let Some(gate) = &script.hold_answer {
        gate.pass();
    }
    let response = script.spoil(head, response);
    server.records.finish(number, received_bytes, Some(response.status));
    let head_only = head.method == "HEAD";
    let framed = head_only || response.is_framed();
    let keep_alive = head.keep_alive && rest.is_small() && framed;
    match wire.write_response(response, head_only, keep_alive)? {
        Ending::Cut { .. } | Ending::NoAnswer => Ok(Next::Cut),
        Ending::Stall { .. } => Ok(Next::Stall),
        Ending::Whole if keep_alive => {
            RequestBody::new(wire, rest).discard()?;
            Ok(Next::Request)
        }
        Ending::Whole => Ok(Next::Linger),
    }
}

/// Does what is asked for, or what a fault does instead.
fn answer(
    script: &Script,
    head: &Head,
    body: &mut RequestBody<'_>,
    server: &Server,
) -> Result<Response, Refusal> {
    let Some(answer) = &script.answer else {
        return server.answer(&script.rewritten(head), body);
    };
    if !script.before_body {
        body.discard().map_err(Refusal::Broken)?;
    }
    Ok(answer.response(head, script.count))
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
fn linger<S: Carrier>(wire: &mut Wire<S>, end: &TcpStream) {
    let ended = wire.carrier().say_goodbye().and_then(|()| end.shutdown(Shutdown::Write));
    if ended.and_then(|()| end.set_read_timeout(Some(LINGER))).is_ok() {
        let _ = io::copy(&mut wire.take(MOST_LINGER_BYTES), &mut io::sink());
    }
}

/// Is how long a client may be silent before its connection is closed.
const LINGER: Duration = Duration::from_secs(5);

const MOST_LINGER_BYTES: u64 = 64 << 20;
