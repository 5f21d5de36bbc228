//! Where descriptions of nodes come from.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libverity::digest::Digest;
use tokio::sync::Mutex;

use super::{Nodes, directory};
use crate::cluster::Cluster;

/// Are nodes, or why nothing is known of them: then no image starts.
pub type ObservedNodes = Result<Arc<Nodes>, Arc<str>>;

/// Says where descriptions come from.
#[derive(Debug)]
pub enum NodeSource {
    /// From annotations of the cluster's nodes.
    Cluster {
        /// The cluster.
        cluster: Arc<Cluster>,
        /// The name of the annotation.
        annotation: String,
        /// What was read last, and until when that counts.
        last: Mutex<Option<(ObservedNodes, Instant)>>,
    },
    /// From files that were read together with the policy.
    Directory(ObservedNodes),
}

impl NodeSource {
    /// Reads the files of a directory. What cannot be read is no error: it is the reason for which no image starts until it
    /// can be.
    pub fn directory(path: &Path) -> Self {
        Self::Directory(match directory::read(path) {
            Ok(nodes) => Ok(Arc::new(Nodes::new(nodes))),
            Err(error) => Err(unknown(&format!("{}: {error}", path.display()))),
        })
    }

    /// Reads annotations, when somebody asks for the nodes.
    pub fn cluster(cluster: Arc<Cluster>, annotation: String) -> Self {
        Self::Cluster { cluster, annotation, last: Mutex::default() }
    }

    /// Tells it from others, with what is in its files.
    pub fn id(&self) -> Digest {
        match self {
            Self::Cluster { annotation, .. } => Digest::of(annotation.as_bytes()),
            Self::Directory(Ok(nodes)) => nodes.id,
            Self::Directory(Err(reason)) => Digest::of(reason.as_bytes()),
        }
    }

    /// Returns why files cannot be read.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Directory(Err(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Returns the nodes, as they were a few seconds ago at the earliest.
    pub async fn nodes(&self) -> ObservedNodes {
        match self {
            Self::Directory(nodes) => nodes.clone(),
            Self::Cluster { cluster, annotation, last } => {
                // Whoever comes meanwhile waits for the same answer.
                let mut last = last.lock().await;
                if let Some((nodes, until)) = &*last
                    && *until > Instant::now()
                {
                    return nodes.clone();
                }
                let read = cluster.nodes(annotation, directory::MAX_NODES).await;
                let (nodes, kept) = match read {
                    Ok(nodes) => (Ok(Arc::new(Nodes::new(nodes))), KEPT),
                    Err(reason) => {
                        tracing::warn!(reason, "cannot read what nodes say of themselves");
                        (Err(unknown(&reason)), KEPT_AFTER_FAILURE)
                    }
                };
                *last = Some((nodes.clone(), Instant::now() + kept));
                nodes
            }
        }
    }
}

fn unknown(reason: &str) -> Arc<str> {
    format!("what the nodes say of themselves cannot be read: {reason}").into()
}

/// How long nodes are known. A node that came since is not asked about, and its kernel has the last word.
const KEPT: Duration = Duration::from_secs(10);

const KEPT_AFTER_FAILURE: Duration = Duration::from_secs(1);
