//! Signs what is pushed to a registry, as the registry tells of it.
