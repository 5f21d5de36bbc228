//! Where in an object something stands.

use std::fmt;

/// Is the way from an object to one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Item(usize),
    Member(&'static str),
}

impl Field {
    /// Returns the way to a member of what this one leads to.
    #[must_use]
    pub(super) fn member(&self, name: &'static str) -> Self {
        self.with(Step::Member(name))
    }

    /// Returns the way to an item of what this one leads to.
    #[must_use]
    pub(super) fn item(&self, number: usize) -> Self {
        self.with(Step::Item(number))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend(&self.0);
        steps.push(step);
        Self(steps)
    }

    /// Returns the field as a JSON pointer (RFC 6901), which patches use; no member has a `/` or `~`
    /// in its name.
    pub fn pointer(&self) -> String {
        self.0
            .iter()
            .map(|step| match step {
                Step::Item(number) => format!("/{number}"),
                Step::Member(name) => format!("/{name}"),
            })
            .collect()
    }
}

impl fmt::Display for Field {
    /// Writes the field as `kubectl` does: `spec.containers[0].image`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(item) => write!(formatter, "[{item}]")?,
                Step::Member(name) if number == 0 => formatter.write_str(name)?,
                Step::Member(name) => write!(formatter, ".{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_for_people_and_for_patches() {
        let field = Field::default().member("spec").member("containers").item(2).member("image");
        assert_eq!(field.to_string(), "spec.containers[2].image");
        assert_eq!(field.pointer(), "/spec/containers/2/image");
        assert_eq!(Field::default().item(1).member("kind").to_string(), "[1].kind");
    }
}
