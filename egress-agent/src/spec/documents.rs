//! Splits a file into YAML documents and reads each on its own, so that one broken document does not hide the others.

use serde_json::Value;

/// One YAML document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// From 1.
    pub(super) number: usize,
    /// Line of the file that `text` begins at, from 0.
    first_line: u64,
    text: &'a str,
}

/// The documents of a file. What stands before the first `---` counts if it is more than comments and directives.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut starts = vec![(0, 0)];
    let mut offset = 0;
    for (line, content) in text.split_inclusive('\n').enumerate() {
        if is_marker(content) {
            starts.push((offset, line as u64));
        }
        offset += content.len();
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|(offset, _)| *offset).chain([text.len()]).collect();
    let mut chunks: Vec<(u64, &str)> = starts
        .into_iter()
        .zip(ends)
        .map(|((start, line), end)| (line, text.get(start..end).unwrap_or_default()))
        .collect();
    if chunks.first().is_some_and(|(_, text)| is_preamble(text)) {
        chunks.remove(0);
    }
    chunks.into_iter().zip(1..).map(|((first_line, text), number)| Document { number, first_line, text }).collect()
}

/// YAML 1.2 §9.1.2: `---` at the start of a line, then white space or nothing.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn is_preamble(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with(['#', '%']))
}

impl Document<'_> {
    /// The value, none if the document is empty.
    pub(super) fn value(&self) -> Result<Option<Value>, String> {
        // The defaults stop at some hundred Pods; a dump of a cluster is larger.
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! {
                max_events: 50_000_000,
                max_nodes: 25_000_000,
                max_total_scalar_bytes: 1 << 30,
            },
        };
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| self.reason(&error))
    }

    /// The parser counts lines from the start of the document; people count from the start of the file.
    fn reason(&self, error: &serde_saphyr::Error) -> String {
        let text = error.to_string();
        let Some(location) = error.location() else { return text };
        let (line, column) = (location.line(), location.column());
        let text = text.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(&text);
        let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or(text);
        format!("line {}, column {column}: {text}", self.first_line + line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn numbers(text: &str) -> Vec<(usize, Option<Value>)> {
        documents(text).iter().map(|d| (d.number, d.value().unwrap())).collect()
    }

    #[test]
    fn counts_documents_as_people_do() {
        let a = json!({"a": 1});
        for (text, want) in [
            ("a: 1\n", vec![(1, Some(a.clone()))]),
            ("---\na: 1\n", vec![(1, Some(a.clone()))]),
            ("# licence\n%YAML 1.2\n--- # first\na: 1\n", vec![(1, Some(a.clone()))]),
            ("\u{feff}---\r\na: 1\r\n", vec![(1, Some(a.clone()))]),
            ("a: 1\n---\n# nothing\n---\na: 1\n", vec![(1, Some(a.clone())), (2, None), (3, Some(a.clone()))]),
            ("a: 1\n---", vec![(1, Some(a.clone())), (2, None)]),
            ("{\n\t\"a\": 1\n}", vec![(1, Some(a))]),
            ("a: ---b\n", vec![(1, Some(json!({"a": "---b"})))]),
            ("a: |\n  x\n  ---\n  y\n", vec![(1, Some(json!({"a": "x\n---\ny\n"})))]),
            ("", vec![]),
        ] {
            assert_eq!(numbers(text), want, "{text:?}");
        }
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let docs = documents("a: 1\n---\nb: [1\nc: 2\n---\nd: 1\nd: 2\n");
        assert_eq!(docs[1].value().unwrap_err(), "line 4, column 2: illegal placement of ':' indicator");
        assert_eq!(docs[2].value().unwrap_err(), "line 7, column 1: duplicate mapping key: d");
    }

    #[test]
    fn booleans_are_those_of_kubectl() {
        assert_eq!(numbers("a: [yes, off, y, 'n', true]")[0].1, Some(json!({"a": [true, false, true, "n", true]})));
    }

    #[test]
    fn a_large_list_is_read() {
        let items = "  - {a: 1, b: 2, c: 3}\n".repeat(40_000);
        let value = documents(&format!("items:\n{items}"))[0].value().unwrap().unwrap();
        assert_eq!(value["items"].as_array().unwrap().len(), 40_000);
    }
}
