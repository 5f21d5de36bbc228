//! A server that speaks TLS with certificates of its own, and a PKI for it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    Stream, SupportedProtocolVersion,
};

/// Is a certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Is a certificate with its private key, both in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(parameters, key).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn server(&self, host: &str) -> Identity {
        self.issue(host, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn client(&self, name: &str) -> Identity {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn anchors(&self) -> Arc<RootCertStore> {
        let mut anchors = RootCertStore::empty();
        anchors.add(self.issuer.der().clone()).unwrap();
        Arc::new(anchors)
    }
}

/// Is one request, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) authorization: Option<String>,
    pub(crate) client_certificate: Option<CertificateDer<'static>>,
}

/// Serves HTTPS on a port of 127.0.0.1 as long as the test runs: asks everybody for Basic
/// authentication, and then has nothing.
pub(crate) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that asks for no client certificate.
    pub(crate) fn start(identity: &Identity) -> Self {
        Self::start_with(identity, None, rustls::ALL_VERSIONS)
    }

    /// Starts a server that turns away everybody without a certificate by `clients`.
    pub(crate) fn start_for(identity: &Identity, clients: &Authority) -> Self {
        Self::start_with(identity, Some(clients), rustls::ALL_VERSIONS)
    }

    pub(crate) fn start_with(
        identity: &Identity,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => config.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(authority.anchors(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = Arc::new(config.with_single_cert(chain, key).unwrap());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let (config, log) = (Arc::clone(&config), Arc::clone(&log));
                // Who does not believe the server hangs up; the client tells why.
                std::thread::spawn(move || serve(tcp, config, &log).ok());
            }
        });
        Self { port, requests }
    }

    /// Returns the server that another process has started.
    pub(crate) fn at(registry: &str) -> Self {
        let port = registry.rsplit_once(':').unwrap().1.parse().unwrap();
        Self { port, requests: Arc::default() }
    }

    /// Returns `127.0.0.1` with the port.
    pub(crate) fn registry(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the requests since it was asked last.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Sends a request, and returns the version of TLS by which it was answered.
    pub(crate) fn try_with(&self, config: ClientConfig) -> Result<ProtocolVersion, String> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut tcp);
        stream.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        Ok(connection.protocol_version().unwrap())
    }
}

fn serve(
    mut tcp: TcpStream,
    config: Arc<ServerConfig>,
    log: &Mutex<Vec<Request>>,
) -> Result<(), Box<dyn std::error::Error>> {
    tcp.set_read_timeout(Some(TIME_LIMIT))?;
    let mut connection = ServerConnection::new(config)?;
    let mut stream = Stream::new(&mut connection, &mut tcp);
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.extend(byte);
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&bytes)?;
    let authorization = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("authorization"))
        .map(|header| String::from_utf8_lossy(header.value).into_owned());
    let answer = match (&authorization, request.path) {
        (None, _) => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"",
        (Some(_), Some("/v2/")) => "200 OK",
        (Some(_), _) => "404 Not Found",
    };
    let client_certificate = stream.conn.peer_certificates().map(|chain| chain[0].clone());
    log.lock().unwrap().push(Request {
        authorization,
        client_certificate: client_certificate.map(CertificateDer::into_owned),
    });
    stream.write_all(
        format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}

/// Ends what would hang.
const TIME_LIMIT: Duration = Duration::from_secs(60);
