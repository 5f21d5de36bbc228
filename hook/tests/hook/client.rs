//! A client that says exactly what it is told to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use libverity::digest::Digest;
use serde_json::{Value, json};

/// Is what a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request as it stands and reads the answer up to its end.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    // A server that refuses by the headers need not read the rest.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {answer:?}")))?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// Reads from a path.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, request.as_bytes()).unwrap()
}

/// Sends a notification with the right headers.
pub(crate) fn notify(address: SocketAddr, body: &Value) -> std::io::Result<Answer> {
    post(address, &format!("{AUTHORIZATION}{CONTENT_TYPE}"), body.to_string().as_bytes())
}

/// Sends a body with these headers.
pub(crate) fn post(address: SocketAddr, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut request = format!(
        "POST /notifications HTTP/1.1\r\nHost: hook\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    exchange(address, &request)
}

/// Writes the event of a push.
pub(crate) fn pushed(repository: &str, name: &str) -> Value {
    json!({
        "id": name,
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(name.as_bytes()),
            "repository": repository,
            "url": "http://attacker.example/v2/x/manifests/y",
        },
        "request": { "host": "attacker.example" },
    })
}

/// Writes a notification of these events.
pub(crate) fn envelope(events: &[Value]) -> Value {
    json!({ "events": events })
}

pub(crate) const TOKEN: &str = "the-token-of-the-tests";
pub(crate) const AUTHORIZATION: &str = "Authorization: Bearer the-token-of-the-tests\r\n";
pub(crate) const CONTENT_TYPE: &str =
    "Content-Type: application/vnd.docker.distribution.events.v1+json\r\n";
