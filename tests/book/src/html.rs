//! The links and the anchors of the rendered book.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer};

/// A page of the book.
#[derive(Debug, Default)]
pub struct Page {
    /// The values of `href` and `src`. mdBook writes each image twice.
    pub links: BTreeSet<String>,
    /// The values of `id`, and of `name` of links.
    pub anchors: BTreeSet<String>,
}

/// A link that leads nowhere.
#[derive(Debug, PartialEq)]
pub struct Broken {
    /// The path of the page in the book.
    pub page: String,
    pub link: String,
    pub reason: &'static str,
}

/// Returns the relative links of all pages that lead to no file or to no anchor.
pub fn broken_links(book: &Path) -> Result<Vec<Broken>> {
    let (mut pages, mut files) = (BTreeMap::new(), BTreeSet::new());
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(book.join(&folder)).with_context(|| format!("cannot list the book's `{folder}`"))?;
        for entry in entries {
            let entry = entry?;
            let path = format!("{folder}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push(path + "/");
                continue;
            }
            if path.ends_with(".html") {
                let text = fs::read_to_string(entry.path()).with_context(|| format!("cannot read {path}"))?;
                pages.insert(path.clone(), page(&text));
            }
            files.insert(path);
        }
    }
    let mut broken = Vec::new();
    for (path, page) in &pages {
        for link in &page.links {
            if let Some(reason) = is_broken(path, link, &pages, &files) {
                broken.push(Broken { page: path.clone(), link: link.clone(), reason });
            }
        }
    }
    Ok(broken)
}

fn is_broken(page: &str, link: &str, pages: &BTreeMap<String, Page>, files: &BTreeSet<String>) -> Option<&'static str> {
    // A scheme, or another host.
    if link.starts_with("//") || link.split(['/', '#', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = path.split('?').next().unwrap_or(path);
    let leads_to = if path.is_empty() { Some(page.to_owned()) } else { crate::markdown::resolve(page, path) };
    // The book can be served from any folder.
    if path.starts_with('/') {
        return Some("a path from the root of the server leads out of the book");
    }
    let Some(leads_to) = leads_to.filter(|file| files.contains(file)) else {
        return Some("there is no such file in the book");
    };
    let has_anchor = anchor.is_empty() || pages.get(&leads_to).is_some_and(|page| page.anchors.contains(anchor));
    (!has_anchor).then_some("the page has no such anchor")
}

/// Reads a page.
pub fn page(text: &str) -> Page {
    let tokenizer = Tokenizer::new(Sink::default(), Default::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(text));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

#[derive(Default)]
struct Sink(RefCell<Page>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let Token::TagToken(Tag { kind: TagKind::StartTag, name, attrs, .. }) = token else {
            return TokenSinkResult::Continue;
        };
        // The address of the whole book, which only the page for missing pages has.
        if &*name == "base" {
            return TokenSinkResult::Continue;
        }
        let mut page = self.0.borrow_mut();
        for attribute in attrs {
            let value = attribute.value.to_string();
            match &*attribute.name.local {
                "href" | "src" => drop(page.links.insert(value)),
                "id" => drop(page.anchors.insert(value)),
                "name" if &*name == "a" => drop(page.anchors.insert(value)),
                _ => {}
            }
        }
        match &*name {
            "script" => TokenSinkResult::RawData(html5ever::tokenizer::states::RawKind::ScriptData),
            "style" => TokenSinkResult::RawData(html5ever::tokenizer::states::RawKind::Rawtext),
            _ => TokenSinkResult::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_tags_only() {
        let page = page(
            "<p id=a>x <a href='b.html#c'>b</a> &lt;a href=no&gt;<!-- <a href=no> --><img src=\"d.svg\">\
                         <base href=no><script src=e.js>let a = '<a href=no>';</script><a name=f>",
        );
        assert_eq!(page.links, ["b.html#c", "d.svg", "e.js"].map(str::to_owned).into());
        assert_eq!(page.anchors, ["a", "f"].map(str::to_owned).into());
    }

    #[test]
    fn a_link_leads_to_a_file_and_an_anchor() {
        let page = |anchor: &str| Page { links: BTreeSet::new(), anchors: BTreeSet::from([anchor.to_owned()]) };
        let pages = BTreeMap::from([("a.html".to_owned(), page("x")), ("guide/b.html".to_owned(), page("y"))]);
        let files = ["a.html", "guide/b.html", "c.svg"].map(str::to_owned).into();
        for link in ["b.html", "#y", "../a.html#x", "../c.svg", "https://e.example/#z", "mailto:a@e.example"] {
            assert_eq!(is_broken("guide/b.html", link, &pages, &files), None, "{link}");
        }
        for link in ["a.html", "#x", "../a.html#y", "../../a.html", "c.svg", "/a.html", "../c.svg#x"] {
            assert!(is_broken("guide/b.html", link, &pages, &files).is_some(), "{link}");
        }
    }
}
