//! What is wrong or worth knowing, and where.

use std::fmt;

use serde::Serialize;

/// Where an object was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// File name; empty: the API server.
    pub source: String,
    /// Number of the YAML document in it, from 1.
    pub document: Option<usize>,
    /// Index in the `items` of a List, from 0.
    pub item: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(document) = self.document {
            write!(f, ", document {document}")?;
        }
        if let Some(item) = self.item {
            write!(f, ", items[{item}]")?;
        }
        Ok(())
    }
}

/// One mistake or warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where the object stands; none if it is about a flag or about everything.
    pub origin: Option<Origin>,
    /// Kind and name, such as `Subnet ovn-default`.
    pub object: Option<String>,
    /// Path of the field, such as `spec.policies[0].ipBlocks[1]`, or a flag.
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.as_ref().map(ToString::to_string).filter(|origin| !origin.is_empty());
        let place: Vec<&str> = [&origin, &self.object, &self.field].into_iter().flatten().map(String::as_str).collect();
        if place.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", place.join(", "), self.reason) }
    }
}

/// Every mistake that was found; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecErrors(pub Vec<Problem>);

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// The object that a message is about.
#[derive(Clone, Debug)]
pub(crate) struct At {
    origin: Option<Origin>,
    object: Option<String>,
}

impl At {
    /// An object of a file.
    pub(crate) fn object(origin: &Origin, kind: &str, name: &str) -> Self {
        Self { origin: Some(origin.clone()), object: Some(format!("{kind} {name}")) }
    }

    /// A document whose object is not known.
    pub(crate) fn origin(origin: &Origin) -> Self {
        Self { origin: Some(origin.clone()), object: None }
    }

    /// No object: a flag, or all files.
    pub(crate) const fn nothing() -> Self {
        Self { origin: None, object: None }
    }

    fn problem(&self, field: &str, reason: String) -> Problem {
        let field = (!field.is_empty()).then(|| field.to_owned());
        Problem { origin: self.origin.clone(), object: self.object.clone(), field, reason }
    }
}

/// Collects messages, so that all mistakes are told at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) errors: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    /// What only an API server would refuse.
    pub(crate) refused: Vec<Problem>,
}

impl Report {
    /// A mistake; `field` may be empty.
    pub(crate) fn error(&mut self, at: &At, field: &str, reason: impl Into<String>) {
        self.errors.push(at.problem(field, reason.into()));
    }

    /// Something worth knowing; `field` may be empty.
    pub(crate) fn warn(&mut self, at: &At, field: &str, reason: impl Into<String>) {
        self.warnings.push(at.problem(field, reason.into()));
    }

    /// What the API server refuses, and a gateway that reads files may not mind.
    pub(crate) fn refuse(&mut self, at: &At, field: &str, reason: impl Into<String>) {
        self.refused.push(at.problem(field, reason.into()));
    }

    /// `value`, unless there was a mistake.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), SpecErrors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok((value, self.warnings)),
            _ => Err(SpecErrors(self.errors)),
        }
    }
}
