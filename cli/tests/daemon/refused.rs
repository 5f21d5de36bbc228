//! What is unpacked, committed or mounted by nobody.

use libverity::digest::Digest;
use osguard_containerd_api::types::Mount;
use tonic::Code;

use crate::daemon::{Daemon, until};
use crate::layers::Layer;

#[tokio::test]
async fn unsigned_layers_are_refused_where_signatures_are_required() {
    let daemon = Daemon::start("require").await;
    let layer = Layer::new("unsigned");
    let unpack = daemon.begin("default", &layer, None).await;
    let refused = daemon.apply(layer.descriptor(), unpack.mounts.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for part in [
        "registry.example/team/app",
        &layer.digest.to_string(),
        "there is no signature",
        &layer.root_hash,
    ] {
        assert!(refused.message().contains(part), "{part} in {refused}");
    }
    let refused = daemon.commit(&unpack.name, &unpack.key).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("no layer was unpacked"), "{refused}");

    // Brought to the machine, a signature counts at once, and the layer is not converted again.
    let directory = daemon.path("signatures").join(&layer.root_hash);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("1.p7s"), b"signature").unwrap();
    daemon.apply(layer.descriptor(), unpack.mounts).await.unwrap();
    daemon.commit(&unpack.name, &unpack.key).await.unwrap();
    assert_eq!(daemon.content.reads(), 1);
}

#[tokio::test]
async fn signatures_of_other_root_hashes_are_of_no_use() {
    let daemon = Daemon::start("require").await;
    let other = "cd".repeat(32);
    let layer = Layer::new("signed").signed_over(&other);
    let refused = daemon.unpack("default", &layer, None).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&other) && refused.message().contains(&layer.root_hash));
    daemon.unpack("k8s.io", &Layer::new("signed").signed(), None).await.unwrap();
}

#[tokio::test]
async fn modes_are_those_of_the_repository() {
    let config = format!(
        "[signatures]\nmode = \"require\"\ncheck-at-unpack = false\nrepositories = [{{ pattern = \
         \"registry.example/team/*\", mode = \"prefer\" }}]\n{}",
        crate::daemon::REST
    );
    let daemon = Daemon::start_with(&config).await;
    let layer = Layer::new("unsigned");
    daemon.unpack("default", &layer, None).await.unwrap();
    // The same layer from elsewhere is another matter.
    daemon.content.put("other", &layer.digest.to_string(), &layer.blob, &["other.example/app"]);
    let mounts = daemon.prepare("other/1/extract-1", "").await.unwrap();
    let refused = daemon.apply(layer.descriptor(), mounts).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn another_differ_leads_to_nothing() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("walked");
    let unpack = daemon.begin("default", &layer, None).await;
    // Whatever another differ has done, it has told us nothing.
    let refused = daemon.commit(&unpack.name, &unpack.key).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let foreign =
        Mount { r#type: "bind".to_owned(), source: "/tmp".to_owned(), ..Mount::default() };
    for mounts in [vec![foreign.clone()], vec![], [unpack.mounts, vec![foreign]].concat()] {
        let refused = daemon.apply(layer.descriptor(), mounts).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::Unimplemented,
            "another snapshotter's, and so another differ's"
        );
    }
    assert_eq!(daemon.content.reads(), 0);
}

#[tokio::test]
async fn another_layer_than_the_chain_says_is_not_committed() {
    let daemon = Daemon::start("prefer").await;
    let (announced, other) = (Layer::new("announced"), Layer::new("other"));
    let unpack = daemon.begin("default", &announced, None).await;
    daemon.content.put("default", &other.digest.to_string(), &other.blob, &[]);
    daemon.apply(other.descriptor(), unpack.mounts.clone()).await.unwrap();
    let refused = daemon.commit(&unpack.name, &unpack.key).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let message = refused.message();
    assert!(
        message.contains(&announced.diff_id.to_string())
            && message.contains(&other.diff_id.to_string())
    );
    daemon.apply(announced.descriptor(), unpack.mounts).await.unwrap();
    daemon.commit(&unpack.name, &unpack.key).await.unwrap();
}

#[tokio::test]
async fn damaged_blobs_leave_nothing() {
    let daemon = Daemon::start("prefer").await;
    let layer = Layer::new("whole");
    let digest = layer.digest.to_string();
    let mounts = daemon.prepare("default/1/extract-1", "").await.unwrap();
    let mut flipped = layer.blob.clone();
    flipped[30] ^= 1;
    let longer = [&layer.blob[..], b"x"].concat();
    let cases: [(&[u8], Code); 5] = [
        (&flipped, Code::DataLoss),
        (&layer.blob[..layer.blob.len() - 1], Code::DataLoss),
        (&longer, Code::DataLoss),
        (b"", Code::DataLoss),
        (b"no archive", Code::DataLoss),
    ];
    for (blob, code) in cases {
        daemon.content.put("default", &digest, blob, &[]);
        let refused = daemon.apply(layer.descriptor(), mounts.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert_eq!(daemon.files("root/layers"), [] as [&str; 0]);
    }
    let noise = vec![0x55; 4096];
    let mut descriptor = layer.descriptor();
    descriptor.digest = Digest::of(&noise).to_string();
    descriptor.size = noise.len() as i64;
    daemon.content.put("default", &descriptor.digest, &noise, &[]);
    let refused = daemon.apply(descriptor.clone(), mounts.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    for (field, value) in [("digest", "sha512:00"), ("digest", "../../etc/passwd"), ("digest", "")]
    {
        descriptor.digest = value.to_owned();
        let refused = daemon.apply(descriptor.clone(), mounts.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field} {value}");
    }
    let mut descriptor = layer.descriptor();
    descriptor.media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".to_owned();
    let refused = daemon.apply(descriptor.clone(), mounts.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    descriptor.size = -1;
    let refused = daemon.apply(descriptor, mounts.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    daemon.content.put("default", &digest, &layer.blob, &[]);
    daemon.apply(layer.descriptor(), mounts).await.unwrap();
}

#[tokio::test]
async fn containers_on_unsigned_layers_are_refused_and_leave_nothing() {
    let mut daemon = Daemon::start("prefer").await;
    let layer = Layer::new("unsigned");
    let committed = daemon.unpack("default", &layer, None).await.unwrap();
    // The mode counts that is in force when the container starts.
    let config = daemon.path("node.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"prefer\"", "\"require\"")).unwrap();
    daemon.kill_and_restart().await;
    for key in ["default/5/c1", "default/6/c1"] {
        let refused = daemon.prepare(key, &committed.name).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("there is no signature"), "{refused}");
        assert_eq!(daemon.stat(key).await.unwrap_err().code(), Code::NotFound);
    }
    let refused = daemon.view("default/7/v1", &committed.name).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    until(|| daemon.files("root/snapshots").is_empty()).await;
    daemon.remove(&committed.name).await.unwrap();
}

#[tokio::test]
async fn layers_that_were_refused_are_kept_for_a_while() {
    let config = format!(
        "[signatures]\nmode = \"require\"\ncheck-at-unpack = false\n{}\n[limits]\nkeep-unused-seconds = 1\n",
        crate::daemon::REST
    );
    let daemon = Daemon::start_with(&config).await;
    // More than once: whoever waits for one of them must not forget those that come meanwhile.
    for round in 0..2 {
        for name in ["one", "two", "three"] {
            let layer = Layer::new(&format!("{name} {round}"));
            daemon.unpack("default", &layer, None).await.err().unwrap();
        }
        assert!(!daemon.files("root/layers").is_empty());
        until(|| daemon.files("root/layers").is_empty()).await;
    }
}
