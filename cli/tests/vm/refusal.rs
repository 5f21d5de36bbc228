//! What is refused before anything is mounted, and what fails when it is read.
