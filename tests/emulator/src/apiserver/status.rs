//! The apiserver's errors: `v1` `Status` objects with the wording of the real one.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::resources::Resource;
use crate::http::{Body, json as json_answer};

/// A failed request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
}

/// The outcome of a step of a request.
pub(super) type Result<T> = std::result::Result<T, Status>;

impl Status {
    /// A status without details.
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: json!({}),
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = json!({ "name": name, "kind": resource.plural });
        if !resource.group.is_empty() {
            self.details["group"] = json!(resource.group);
        }
        self
    }

    /// The request carries no valid credentials.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// The request makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Nothing is served at this path.
    pub(super) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// There is no such object.
    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(resource, name)
    }

    /// An object of this name is there already.
    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(resource, name)
    }

    /// The object has changed since the caller read it.
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The object is not as the caller supposes.
    pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(resource, name)
    }

    /// Other managers own fields that an apply wants to change.
    pub(super) fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        let mut status = Self::new(StatusCode::CONFLICT, "Conflict", message);
        status.details = json!({ "causes": causes });
        status
    }

    /// The caller may not do this.
    pub(super) fn forbidden(message: String, resource: Option<&Resource>, name: &str) -> Self {
        let status = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        match resource {
            Some(resource) => status.about(resource, name),
            None => status,
        }
    }

    /// The object breaks the rules of its kind.
    pub(super) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let kind = if resource.group.is_empty() {
            resource.kind.to_owned()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let listed = match causes {
            [one] => one.to_string(),
            many => format!(
                "[{}]",
                many.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        let message = format!("{kind} \"{name}\" is invalid: {listed}");
        let mut status =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(resource, name);
        status.details["kind"] = json!(resource.kind);
        status.details["causes"] = causes.iter().map(Cause::detail).collect();
        status
    }

    /// A patch that does not decode, without an object to blame.
    pub(super) fn invalid_patch(patch: &str, why: &str) -> Self {
        let message = format!(" \"\" is invalid: patch: Invalid value: {patch:?}: {why}");
        let mut status = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        status.details = json!({ "causes": [{
            "reason": "FieldValueInvalid",
            "message": format!("Invalid value: {patch:?}: {why}"),
            "field": "patch",
        }] });
        status
    }

    /// The patch is fine as such, but does not fit the object.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// The events after this version are gone.
    pub(super) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(
            StatusCode::GONE,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
        )
    }

    /// The body's media type is not read here.
    pub(super) fn unsupported_media_type(offered: &str, read: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {read}; got {offered}"
            ),
        )
    }

    /// The verb is not served here.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// Something of the server itself failed.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// The status as an object.
    pub(super) fn object(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code.as_u16(),
        })
    }

    /// The status as an answer.
    pub(super) fn answer(&self) -> Response<Body> {
        json_answer(self.code, &self.object())
    }

    /// What went wrong, in words.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    pub(super) fn code(&self) -> StatusCode {
        self.code
    }
}

/// One broken rule of an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cause {
    /// The path of the field, dotted.
    pub(super) field: String,
    /// What the rule says, from "Invalid value" on.
    pub(super) message: String,
    /// The rule's kind, as in `FieldValueInvalid`.
    pub(super) reason: &'static str,
}

impl Cause {
    /// `value` is not allowed in `field`.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            field: field.into(),
            message: format!("Invalid value: {value}: {why}"),
            reason: "FieldValueInvalid",
        }
    }

    /// `field` is missing.
    pub(super) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self {
            field: field.into(),
            message,
            reason: "FieldValueRequired",
        }
    }

    /// `field` may not be changed so.
    pub(super) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self {
            field: field.into(),
            message: format!("Forbidden: {why}"),
            reason: "FieldValueForbidden",
        }
    }

    fn detail(&self) -> Value {
        json!({ "reason": self.reason, "message": self.message, "field": self.field })
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
