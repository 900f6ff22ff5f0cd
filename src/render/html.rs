//! The frame of a page that people open in a browser: one file, no script, nothing from the network.
//!
//! `maud` escapes whatever is put in, so an object's name can't become markup; should that ever fail, the
//! page also forbids the browser to run or to load anything.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::sanitise;

const STYLE: &str = include_str!("html.css");
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// A page.
pub(crate) struct Page<'p> {
    /// What a browser's tab says, behind Plimsoll's name.
    pub(crate) title: &'p str,
    /// Its heading.
    pub(crate) heading: &'p str,
    /// Style sheet of its own, beside that of all pages.
    pub(crate) style: &'p str,
    /// What stands below the heading.
    pub(crate) lead: Markup,
    /// What it says.
    pub(crate) body: Markup,
    /// How it came about.
    pub(crate) foot: Markup,
}

impl Page<'_> {
    pub(crate) fn render(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "Plimsoll: " (self.title) }
                    style { (PreEscaped(STYLE)) (PreEscaped(self.style)) }
                }
                body {
                    header {
                        svg.mark viewBox="0 0 40 40" aria-hidden="true" {
                            circle cx="20" cy="20" r="13" fill="none" stroke="currentColor" stroke-width="3.5" {}
                            line x1="1" x2="39" y1="20" y2="20" stroke="currentColor" stroke-width="3.5" {}
                        }
                        div { h1 { (self.heading) } p.lead { (self.lead) } }
                    }
                    main { (self.body) }
                    footer { (self.foot) }
                }
            }
        };
        page.into_string()
    }
}

/// Text that may be broken where its parts end.
pub(crate) fn breakable(text: &str) -> Markup {
    html! { @for part in sanitise(text).split_inclusive(['/', ':', '@']) { (part) wbr; } }
}
