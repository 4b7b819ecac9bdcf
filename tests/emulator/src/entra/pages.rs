//! The pages that people see: choosing a user, approving a device, being sent back.

use http::{HeaderValue, Response, StatusCode, header};

use super::directory::User;
use crate::http::Body;

/// What the pages look like.
const STYLE: &str = include_str!("pages.css");

/// A page on which a user is chosen; `fields` go back to `action` with the choice.
pub(super) fn choose_user(
    action: &str,
    app: &str,
    fields: &[(&str, &str)],
    users: &[User],
) -> Response<Body> {
    let mut choices = hidden(fields);
    for user in users {
        let (upn, name) = (escape(&user.upn), escape(user.name));
        choices.extend([
            "<button class=\"user\" name=\"username\" value=\"",
            &upn,
            "\"><b>",
            &name,
            "</b><span>",
            &upn,
            "</span></button>\n",
        ]);
    }
    page(
        StatusCode::OK,
        "Pick an account",
        &format!(
            "<p>Sign in to <b>{}</b></p>\n<form action=\"{}\">\n{choices}\
             <button name=\"decline\" value=\"1\">Cancel</button>\n</form>",
            escape(app),
            escape(action),
        ),
    )
}

/// The page on which a user code is entered and its sign-in approved.
pub(super) fn approve_device(user_code: &str, users: &[User]) -> Response<Body> {
    let mut options = String::new();
    for user in users {
        options.extend(["<option>", &escape(&user.upn), "</option>\n"]);
    }
    page(
        StatusCode::OK,
        "Enter code",
        &format!(
            "<form method=\"post\">\n<input name=\"user_code\" value=\"{}\">\n\
             <select name=\"username\">\n{options}</select>\n<button>Approve</button>\n\
             <button name=\"decline\" value=\"1\">Decline</button>\n</form>",
            escape(user_code),
        ),
    )
}

/// A page that only says something.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    page(status, title, &format!("<p>{}</p>", escape(text)))
}

/// A page that posts `fields` to `action` by itself.
pub(super) fn post_back(action: &str, fields: &[(&str, &str)]) -> Response<Body> {
    let hidden = hidden(fields);
    page(
        StatusCode::OK,
        "Working...",
        &format!(
            "<form method=\"post\" name=\"back\" action=\"{}\">\n{hidden}<button>Continue</button>\n\
             </form>\n<script>document.forms.back.submit();</script>",
            escape(action),
        ),
    )
}

fn hidden(fields: &[(&str, &str)]) -> String {
    let mut inputs = String::new();
    for (name, value) in fields {
        let (name, value) = (escape(name), escape(value));
        inputs.extend([
            "<input type=\"hidden\" name=\"",
            &name,
            "\" value=\"",
            &value,
            "\">\n",
        ]);
    }
    inputs
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Body> {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\"><style>\n{STYLE}</style></head>\n\
         <body><main>\n<small>arc-emulator</small>\n<h1>{title}</h1>\n{body}\n</main></body>\n</html>\n"
    );
    let mut response = Response::new(crate::http::full(html));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
