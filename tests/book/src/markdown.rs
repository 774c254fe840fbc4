//! The links of a document, and those that lead out of the book.

use std::ops::Range;
use std::path::Path;

use mdbook_markdown::pulldown_cmark::{Event, Tag};
use mdbook_markdown::{MarkdownOptions, new_cmark_parser};

/// The target of a link or an image.
#[derive(Debug)]
pub struct Link {
    pub target: String,
    /// The line of the document, from 1.
    pub line: usize,
    /// The bytes of the link in the document. For a link by reference, those of the definition.
    range: Range<usize>,
}

impl Link {
    /// The path and the anchor, if the target is in the repository.
    pub fn path(&self) -> Option<(&str, Option<&str>)> {
        let is_elsewhere = self.target.contains("://") || self.target.starts_with("mailto:");
        let (path, anchor) = self.target.split_once('#').map_or((&*self.target, None), |(path, at)| (path, Some(at)));
        (!is_elsewhere).then_some((path, anchor))
    }
}

/// Returns the links of a document as mdBook reads it.
pub fn links(text: &str) -> Vec<Link> {
    let line = |start: usize| text[..start].matches('\n').count() + 1;
    let parser = new_cmark_parser(text, &MarkdownOptions::default());
    let definitions: Vec<_> = parser
        .reference_definitions()
        .iter()
        .map(|(_, definition)| (definition.dest.to_string(), definition.span.clone()))
        .collect();
    let mut links: Vec<_> = parser
        .into_offset_iter()
        .filter_map(|(event, range)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some((dest_url.to_string(), range))
            }
            _ => None,
        })
        // A link by reference has its target elsewhere.
        .filter(|(target, range)| text[range.clone()].contains(&format!("({target}")))
        .chain(definitions)
        .map(|(target, range)| Link { target, line: line(range.start), range })
        .collect();
    links.sort_by_key(|link| link.range.start);
    links
}

/// Replaces the links that lead out of `docs` by links to the forge. Returns what is wrong with them.
pub fn link_to_forge(root: &Path, document: &str, text: &mut String, repository: &str) -> Vec<String> {
    let mut problems = Vec::new();
    // From the end, so that the ranges before stay what they are. An image within a link is before the target of the link.
    let mut links = links(text);
    links.sort_by_key(|link| link.range.end);
    for link in links.iter().rev() {
        let Some((path, anchor)) = link.path() else { continue };
        let file = resolve(document, path);
        if path.is_empty() || file.as_ref().is_some_and(|file| file == "docs" || file.starts_with("docs/")) {
            continue;
        }
        if file.as_ref().is_none_or(|file| !root.join(file).exists()) {
            problems.push(format!("{document}:{}: there is no `{path}` in the repository", link.line));
        }
        let file = file.unwrap_or_default();
        let kind = if root.join(&file).is_dir() { "tree" } else { "blob" };
        let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
        let own = &text[link.range.clone()];
        if let Some(at) = own.rfind(&link.target) {
            let start = link.range.start + at;
            text.replace_range(start..start + link.target.len(), &format!("{repository}/{kind}/main/{file}{anchor}"));
        }
    }
    problems
}

/// The path of a link from the root of the repository. `None` leads out of it.
pub fn resolve(document: &str, path: &str) -> Option<String> {
    let mut parts: Vec<_> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_book_lead_to_the_forge() {
        let mut text = "# A\n[a](../README.md#x) [`b`](b.md) [c][c] ![d](../docs/d.svg)\n\n\
                        ```text\n[no](../no)\n```\n[e](https://e.example) [f\n](../examples)\n\n[c]: ../Cargo.toml\n"
            .to_owned();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let problems = link_to_forge(&root, "docs/a.md", &mut text, "https://forge.example/rooms");
        assert_eq!(problems, [""; 0]);
        let expected = "# A\n[a](https://forge.example/rooms/blob/main/README.md#x) [`b`](b.md) [c][c] ![d](../docs/d.svg)\n\n\
                        ```text\n[no](../no)\n```\n[e](https://e.example) [f\n](https://forge.example/rooms/tree/main/examples)\n\n\
                        [c]: https://forge.example/rooms/blob/main/Cargo.toml\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_link_to_a_missing_file_is_named_with_its_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut text = "# A\n\n[a](../no.md) [b](../../out)\n".to_owned();
        let mut problems = link_to_forge(&root, "docs/a.md", &mut text, "https://forge.example/rooms");
        problems.sort();
        let expected = [
            "docs/a.md:3: there is no `../../out` in the repository",
            "docs/a.md:3: there is no `../no.md` in the repository",
        ];
        assert_eq!(problems, expected);
    }
}
