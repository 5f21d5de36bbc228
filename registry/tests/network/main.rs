//! Registries, as they should be and as they should not.

mod downloads;
mod parallel;
mod redirects;
mod referrers;
mod support;
mod uploads;
