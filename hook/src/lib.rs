//! x
pub mod allow_list;
pub mod backoff;
pub mod notification;
pub mod queue;
pub mod repository;
pub mod sign;
pub mod token;
