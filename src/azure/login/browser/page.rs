//! The pages that the browser ends on. They need nothing but themselves.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::error::Error;

const STYLE: &str = include_str!("page.css");
const CHECK: &str = r#"<circle cx="24" cy="24" r="21"/><path d="m15 24.5 6.5 6.5L33.5 18"/>"#;
const CROSS: &str = r#"<circle cx="24" cy="24" r="21"/><path d="m17 17 14 14m0-14L17 31"/>"#;
const CLOSE: &str = "You can close this tab";

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    is_good: bool,
    title: &'static str,
    /// HTML.
    body: String,
    footer: String,
}

impl Page {
    /// It worked, for `name`.
    pub(super) fn success(name: Option<&str>) -> Self {
        let name = name.map_or_else(
            || "arcproxy reaches your clusters as you.".to_owned(),
            |name| format!("arcproxy reaches your clusters as <b>{}</b>.", escape(name)),
        );
        Self {
            is_good: true,
            title: "You are signed in",
            body: format!("<p>{name}</p>"),
            footer: format!("{CLOSE} and go back to the terminal."),
        }
    }

    /// It did not work, as the terminal says too.
    pub(super) fn failure(error: &Error) -> Self {
        let causes = error.causes().iter().fold(String::new(), |all, cause| {
            format!("{all}<p class=\"why\">{}</p>", escape(cause))
        });
        let (what, hint) = (
            escape(&sentence(error.what())),
            escape(&sentence(error.hint())),
        );
        Self {
            is_good: false,
            title: "The sign-in did not work",
            body: format!("<p>{what}</p>{causes}<p>{hint}</p>"),
            footer: format!("{CLOSE}; the terminal says the same."),
        }
    }

    /// What came belongs to no sign-in that is awaited.
    pub(super) fn stray() -> Self {
        Self {
            is_good: false,
            title: "This is another sign-in",
            body: "<p>arcproxy does not wait for what this page brought. Use the page that it \
                   opened last, or start it again.</p>"
                .to_owned(),
            footer: format!("{CLOSE}."),
        }
    }

    /// The whole document.
    pub(super) fn html(&self) -> String {
        let Self {
            is_good,
            title,
            body,
            footer,
        } = self;
        let (class, sign) = if *is_good {
            ("good", CHECK)
        } else {
            ("bad", CROSS)
        };
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title} · arcproxy</title><link rel=\"icon\" href=\"data:,\">\
             <style>{STYLE}</style></head>\n<body><main class=\"{class}\">\
             <svg viewBox=\"0 0 48 48\" aria-hidden=\"true\">{sign}</svg>\
             <h1>{title}</h1>{body}<footer>{footer}</footer></main></body></html>\n"
        )
    }

    /// The policy that every page is shown under: its own style and nothing else.
    pub(super) fn policy() -> String {
        let style = BASE64_STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        )
    }
}

/// `text` as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!(
        "{}{}{stop}",
        first.into_iter().flatten().collect::<String>(),
        rest.as_str()
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn what_others_say_is_shown_as_text() {
        let error = Error::new(Code::SignInRefused, "login.example refused the sign-in")
            .because("<script>alert(1)</script> & \"more\"");
        let html = Page::failure(&error).html();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"));
        assert!(
            html.contains("Login.example refused the sign-in."),
            "{html}"
        );
        assert!(Page::success(Some("<b>")).html().contains("&lt;b&gt;"));
    }

    #[test]
    fn every_page_says_that_it_can_be_closed_and_loads_nothing() {
        let error = Error::new(Code::SignInRefused, "refused");
        for page in [Page::success(None), Page::failure(&error), Page::stray()] {
            let html = page.html();
            assert!(html.contains("You can close this tab"), "{html}");
            for loads in ["src=", "url(", "@import", "http://", "https://"] {
                assert!(!html.contains(loads), "{loads} is in {html}");
            }
        }
    }
}
