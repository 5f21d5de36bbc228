//! Registries that let in only who has the pod's secrets.

use base64ct::{Base64, Encoding as _};
use osguard_testkit::registry::{Answer, Fault, Registry};
use serde_json::{Value, json};

use crate::scene::{Scene, create, pod, refusal};

/// Answers as an API server does, for one object.
fn object(path: &str, object: &Value) -> Fault {
    Fault::new().always().path_contains(path).answer(Answer::status(200).json(object))
}

fn secret(registry: &str, user: &str, password: &str) -> Value {
    let login = Base64::encode_string(format!("{user}:{password}").as_bytes());
    let configuration = json!({ "auths": { registry: { "auth": login } } }).to_string();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "data": { ".dockerconfigjson": Base64::encode_string(configuration.as_bytes()) },
    })
}

#[test]
fn the_secrets_of_the_pod_and_of_its_service_account_are_used() {
    let registry = Registry::builder().basic("me", "secret").start().unwrap();
    let scene = Scene::new(&registry.host());
    let login = Base64::encode_string(b"me:secret");
    std::fs::create_dir(scene.directory.path().join(".docker")).unwrap();
    let file = json!({ "auths": { registry.host(): { "auth": login } } });
    scene.write(".docker/config.json", &file.to_string());
    let image = scene.image("team/app:v1");
    scene.push(&image, Some("alice.key"));
    std::fs::remove_dir_all(scene.directory.path().join(".docker")).unwrap();

    // What answers here is no registry: each path is scripted.
    let cluster = Registry::builder().tls(&scene.authority).unwrap().start().unwrap();
    let good = secret(&registry.host(), "me", "secret");
    let _ = cluster.fault(object("/api/v1/namespaces/shop/secrets/pull", &good));
    let bad = secret(&registry.host(), "me", "wrong");
    let _ = cluster.fault(object("/api/v1/namespaces/shop/secrets/old", &bad));
    let account = json!({ "kind": "ServiceAccount", "imagePullSecrets": [{ "name": "pull" }] });
    let _ = cluster.fault(object("/api/v1/namespaces/shop/serviceaccounts/builder", &account));
    let nobody = json!({ "kind": "ServiceAccount" });
    let _ = cluster.fault(object("/api/v1/namespaces/shop/serviceaccounts/default", &nobody));
    scene.write("token", "the-token\n");
    let authority = scene.authority.certificate();
    scene.configure(
        "",
        &format!(
            "[cluster]\nserver = \"{}\"\nca-file = {:?}\ntoken-file = \"token\"\n",
            cluster.url(),
            authority.to_str().unwrap()
        ),
    );
    let webhook = scene.webhook();
    let ask = |namespace: &str, change: Value| {
        let mut object = pod(&image);
        object["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        refusal(&webhook.validate(&create(namespace, &object)))
    };
    let refused = |answer: Option<String>| {
        let message = answer.unwrap();
        assert!(message.contains("the registry does not let osguard in"), "{message}");
    };
    refused(ask("shop", json!({})));
    refused(ask("shop", json!({ "imagePullSecrets": [{ "name": "old" }] })));
    refused(ask("shop", json!({ "imagePullSecrets": [{ "name": "none" }, { "name": "../x" }] })));
    assert_eq!(ask("shop", json!({ "imagePullSecrets": [{ "name": "pull" }] })), None);
    assert_eq!(ask("shop", json!({ "serviceAccountName": "builder" })), None);
    // Another namespace has no secret of that name, whatever the object says of itself.
    refused(ask("other", json!({ "imagePullSecrets": [{ "name": "pull" }] })));
    assert!(cluster.requests().iter().all(|request| {
        request.header("Authorization") == Some("Bearer the-token") && !request.path.contains("..")
    }));
}
