//! A client of the Container Runtime Interface: what kubelet asks of containerd, one call at a time.
//!
//! Pods share the network of the machine, so that no CNI plugin is needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use osguard_containerd_api::cri::image_service_client::ImageServiceClient;
use osguard_containerd_api::cri::runtime_service_client::RuntimeServiceClient;
use osguard_containerd_api::cri::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    ListContainersRequest, ListImagesRequest, ListPodSandboxRequest, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PullImageRequest,
    RemoveContainerRequest, RemoveImageRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest, VersionRequest,
};
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

/// Is a connection to a container runtime.
#[derive(Clone, Debug)]
pub struct CriClient {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// Says why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The socket could not be reached.
    #[error("{socket}: {source}", socket = socket.display())]
    Connection {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The runtime refused; this is the text that kubelet shows in the events of a pod.
    #[error("{code:?}: {message}", code = .0.code(), message = .0.message())]
    Refused(#[from] Status),
}

type Result<T> = std::result::Result<T, CriError>;

impl CriClient {
    /// Connects to the runtime that listens on `socket`.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The connector knows where to go; a URI has to be there all the same.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|source| CriError::Connection { socket: socket.to_owned(), source })?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
        })
    }

    /// Returns the program that makes these calls on a command line, for a virtual machine.
    pub fn program() -> crate::Result<PathBuf> {
        crate::binary::built("osguard-cri")
    }

    /// Returns the name and the version of the runtime.
    pub async fn version(&mut self) -> Result<String> {
        let version = self.runtime.version(VersionRequest::default()).await?.into_inner();
        Ok(format!("{} {}", version.runtime_name, version.runtime_version))
    }

    /// Pulls an image and returns its identifier.
    pub async fn pull(&mut self, image: &str) -> Result<String> {
        let request = PullImageRequest { image: Some(spec(image)), ..Default::default() };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    /// Returns the tags of all images.
    pub async fn images(&mut self) -> Result<Vec<String>> {
        let images = self.images.list_images(ListImagesRequest::default()).await?.into_inner();
        Ok(images.images.into_iter().flat_map(|image| image.repo_tags).collect())
    }

    /// Removes an image; one that is not there is no error.
    pub async fn remove_image(&mut self, image: &str) -> Result<()> {
        self.images.remove_image(RemoveImageRequest { image: Some(spec(image)) }).await?;
        Ok(())
    }

    /// Starts a pod without containers and returns its identifier; `handler` names a runtime of the configuration, or is
    /// empty.
    pub async fn run_pod(&mut self, name: &str, handler: &str) -> Result<String> {
        let request =
            RunPodSandboxRequest { config: Some(pod(name)), runtime_handler: handler.to_owned() };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// Stops a pod and all that is in it, then removes it.
    pub async fn remove_pod(&mut self, id: &str) -> Result<()> {
        let pod_sandbox_id = id.to_owned();
        self.runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id }).await?;
        let pod_sandbox_id = id.to_owned();
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await?;
        Ok(())
    }

    /// Returns the identifiers of all pods.
    pub async fn pods(&mut self) -> Result<Vec<String>> {
        let pods = self.runtime.list_pod_sandbox(ListPodSandboxRequest {}).await?.into_inner();
        Ok(pods.items.into_iter().map(|pod| pod.id).collect())
    }

    /// Creates a container in a pod, by the name that the pod was started under, and returns its identifier.
    pub async fn create(&mut self, pod_id: &str, new: &NewContainer<'_>) -> Result<String> {
        let security_context =
            LinuxContainerSecurityContext { namespace_options: Some(network_of_the_machine()) };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: new.name.to_owned(), attempt: 0 }),
            image: Some(spec(new.image)),
            command: new.command.to_vec(),
            log_path: format!("{}.log", new.name),
            linux: Some(LinuxContainerConfig { security_context: Some(security_context) }),
            ..Default::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod(new.pod_name)),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    /// Starts a container.
    pub async fn start(&mut self, id: &str) -> Result<()> {
        let container_id = id.to_owned();
        self.runtime.start_container(StartContainerRequest { container_id }).await?;
        Ok(())
    }

    /// Waits until a container has ended, and returns its exit code, or `None` if it runs longer than `limit`.
    pub async fn wait(&mut self, id: &str, limit: Duration) -> Result<Option<i32>> {
        let ended = async {
            loop {
                let request = ContainerStatusRequest { container_id: id.to_owned() };
                let status = self.runtime.container_status(request).await?.into_inner().status;
                let status = status.unwrap_or_default();
                if status.state() == ContainerState::ContainerExited {
                    return Ok(status.exit_code);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(limit, ended).await.ok().transpose()
    }

    /// Runs a command in a container, to its end.
    pub async fn exec(&mut self, id: &str, command: &[String]) -> Result<ExecSyncResponse> {
        let request =
            ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: 0 };
        Ok(self.runtime.exec_sync(request).await?.into_inner())
    }

    /// Kills a container and removes it.
    pub async fn remove(&mut self, id: &str) -> Result<()> {
        let container_id = id.to_owned();
        self.runtime.stop_container(StopContainerRequest { container_id, timeout: 0 }).await?;
        let container_id = id.to_owned();
        self.runtime.remove_container(RemoveContainerRequest { container_id }).await?;
        Ok(())
    }

    /// Returns identifier, name and state of all containers.
    pub async fn containers(&mut self) -> Result<Vec<String>> {
        let all = self.runtime.list_containers(ListContainersRequest {}).await?.into_inner();
        let line = |container: osguard_containerd_api::cri::Container| {
            let state = container.state().as_str_name();
            format!("{} {} {state}", container.id, container.metadata.unwrap_or_default().name)
        };
        Ok(all.containers.into_iter().map(line).collect())
    }
}

/// Describes a container that is to be created.
#[derive(Clone, Copy, Debug)]
pub struct NewContainer<'a> {
    /// The name under which its pod was started.
    pub pod_name: &'a str,
    /// Its own name; its output goes to `/var/log/pods/POD/NAME.log`.
    pub name: &'a str,
    /// Its image, which has to be there.
    pub image: &'a str,
    /// What it runs; empty for what the image says.
    pub command: &'a [String],
}

fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..Default::default() }
}

fn pod(name: &str) -> PodSandboxConfig {
    let security_context =
        LinuxSandboxSecurityContext { namespace_options: Some(network_of_the_machine()) };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: name.to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: String::new(),
        log_directory: format!("/var/log/pods/{name}"),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(security_context),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn network_of_the_machine() -> NamespaceOption {
    NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() }
}
