//! Decides whether an image may start, and serves that decision to Kubernetes.
