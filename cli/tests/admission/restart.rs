//! Two replicas that are replaced one after the other while requests go on.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use osguard_testkit::registry::Registry;

use crate::client::Client;
use crate::scene::{Scene, create, pod, refusal};
use crate::webhook::{Webhook, until};

#[test]
fn replicas_are_replaced_and_no_request_is_lost() {
    let registry = Registry::start().unwrap();
    let scene = Scene::new(&registry.host());
    let digest = scene.push(&scene.image("team/app:v1"), Some("alice.key"));
    let review = create("shop", &pod(&scene.image(&format!("team/app@{digest}")))).to_string();
    let start = || scene.webhook_with(&["--drain", "1"]);
    let proxy = Proxy::start();
    let mut replicas = vec![start(), start()];
    proxy.lead_to(&replicas);

    let (stop, count) = (AtomicBool::new(false), Mutex::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    let connected = match &mut client {
                        Some(client) => client,
                        None => client.insert(connect(&proxy, &scene)),
                    };
                    let answer = connected.post("/validate?timeout=10s", review.as_bytes());
                    let answer = answer.expect("no request is lost");
                    assert_eq!(refusal(&answer.response()), None);
                    *count.lock().unwrap() += 1;
                    if answer.is_last {
                        client = None;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        for number in 0..2 {
            let before = *count.lock().unwrap();
            until("requests go on", || *count.lock().unwrap() > before + 50);
            let newer = start();
            until("the newer one is ready", || newer.get("/readyz").status == 200);
            let older = std::mem::replace(&mut replicas[number], newer);
            // As in a cluster: the address is taken out when the process is told to end already.
            older.terminate();
            std::thread::sleep(Duration::from_millis(200));
            proxy.lead_to(&replicas);
            assert!(older.wait().success());
        }
        let before = *count.lock().unwrap();
        until("requests go on", || *count.lock().unwrap() > before + 50);
        stop.store(true, Ordering::Relaxed);
    });
}

fn connect(proxy: &Proxy, scene: &Scene) -> Client {
    Client::connect(proxy.address, &scene.authority.certificate()).unwrap()
}

/// Takes connections and hands them on to one of those behind it, in turn.
struct Proxy {
    address: SocketAddr,
    behind: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(Vec::<SocketAddr>::new()));
        let shared = Arc::clone(&behind);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let mut behind = shared.lock().unwrap();
                behind.rotate_left(1);
                let target = behind.first().map(TcpStream::connect);
                drop(behind);
                if let Some(Ok(target)) = target {
                    forward(&connection, &target);
                    forward(&target, &connection);
                }
            }
        });
        Self { address, behind }
    }

    fn lead_to(&self, replicas: &[Webhook]) {
        *self.behind.lock().unwrap() = replicas.iter().map(|replica| replica.address).collect();
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
