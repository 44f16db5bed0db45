//! Kernel versions as Debian writes them.

/// `6.1.0-56` or `6.12.117+deb12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    numbers: Vec<u32>,
    /// As it is written.
    pub(crate) text: String,
}

impl Version {
    /// Whether it is of this series: `6.1` or `6.12`.
    pub(crate) fn is_of(&self, series: &str) -> bool {
        self.text.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A version, if this is one of three numbers or more: names of series (`6.12`) and of whole flavours are none.
pub(crate) fn parse(text: &str) -> Option<Version> {
    let numbers: Vec<u32> =
        text.split(['.', '-', '+']).filter_map(|part| part.trim_start_matches("deb").parse().ok()).collect();
    (numbers.len() >= 3 && text.starts_with(|c: char| c.is_ascii_digit()))
        .then(|| Version { numbers, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn versions_are_compared_by_numbers() {
        assert!(parse("6.1.0-9") < parse("6.1.0-56"));
        assert!(parse("6.9.1+deb13") < parse("6.12.1+deb12"));
        assert!(parse("6.12.90+deb12") < parse("6.12.90+deb12.1"));
        assert_eq!(parse("6.12"), None);
        assert_eq!(parse("rt"), None);
        assert!(parse("6.1.0-56").is_some_and(|it| it.is_of("6.1") && !it.is_of("6.12")));
        assert!(!parse("6.12.117+deb12").is_some_and(|it| it.is_of("6.1")));
    }
}
