//! Requests of the API server and their answers: `AdmissionReview` of `admission.k8s.io/v1`.

mod request;
mod response;
mod reviewer;

pub use self::request::{Operation, Request, Review, ReviewError};
pub use self::response::{Patch, Response, ReviewAnswer};
pub use self::reviewer::Reviewer;
