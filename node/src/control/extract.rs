//! From HTTP to checked values, and from errors to answers: every failure is JSON with a code, a sentence, and what to do.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use twocan_control::limits::MAX_BODY;
use twocan_control::{API_VERSION, Code, Error, VERSION_HEADER, Validate, validate};

/// What handlers return.
pub(super) type Answer<T> = Result<T, Failure>;

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Error::new(code, message))
    }

    pub(super) fn hint(self, hint: &str) -> Self {
        Self(self.0.hint(hint))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(&self.0)).into_response()
    }
}

/// A value as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// Done, and nothing to say.
pub(super) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// The body of a request, read as JSON whatever it calls itself, and checked. Nothing at all stands for `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
{
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| body_failure(&error))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let value: T = serde_json::from_slice(text).map_err(|error| {
            Failure::new(Code::Invalid, format!("the body does not fit here: {error}"))
                .hint("specs/openapi.json has the fields of every request")
        })?;
        value.validate()?;
        Ok(Self(value))
    }
}

fn body_failure(error: &BytesRejection) -> Failure {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Failure::new(Code::Limit, format!("the body has more than {MAX_BODY} bytes"))
    } else {
        Failure::new(Code::Invalid, "the body could not be read")
    }
}

/// A friend in the path.
pub(super) struct Friend(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Friend {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = segment(parts, state).await?;
        validate::friend(&text)?;
        Ok(Self(text))
    }
}

/// The id of a call in the path, or the beginning of one.
pub(super) struct Call(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = segment(parts, state).await?;
        validate::call_id(&text)?;
        Ok(Self(text))
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Answer<String> {
    let found: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
    match found {
        Ok(Path(text)) => Ok(text),
        Err(_) => Err(Failure::new(Code::Invalid, "the path is not UTF-8 after percent-decoding")),
    }
}

/// A whole answer for callers who never reach the router.
pub(super) fn plain_answer(error: &Error) -> String {
    let body = serde_json::to_string(error).unwrap_or_default();
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    format!(
        "HTTP/1.1 {} {}\r\n{VERSION_HEADER}: {API_VERSION}\r\ncontent-type: application/json\r\ncontent-length: \
         {}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
}
