//! An axum extractor that runs a handler only for requests whose token is not stale.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use super::{
    gate::{FenceGate, Pass},
    header::{self, FenceRejection},
};
use crate::id::Token;

/// Handler argument that admits a request by its fencing token in `x-fence-token`, of the lock
/// named in `x-fence-name`, unless a greater token was seen. A greater token waits until the
/// handler is done. The router state must provide a [`FenceGate`].
///
/// ```
/// use axum::{Router, routing::put};
/// use tenure::fence::{Fenced, FenceGate};
///
/// async fn print(fenced: Fenced) -> String {
///     format!("printed under {}\n", fenced.token())
/// }
///
/// let app: Router = Router::new()
///     .route("/print", put(print))
///     .with_state(FenceGate::volatile());
/// # let _ = app;
/// ```
#[derive(Debug)]
pub struct Fenced {
    pass: Pass,
}

impl Fenced {
    /// The fencing token of the request.
    #[must_use]
    pub fn token(&self) -> Token {
        self.pass.token()
    }
}

impl<S> FromRequestParts<S> for Fenced
where
    S: Send + Sync,
    FenceGate: FromRef<S>,
{
    type Rejection = FenceRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let gate = FenceGate::from_ref(state);
        let pass = header::admit(&gate, None, &parts.headers).await?;
        Ok(Self { pass })
    }
}

impl IntoResponse for FenceRejection {
    fn into_response(self) -> Response {
        self.into_answer()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, routing::put};
    use tower::ServiceExt;

    use super::*;
    use crate::fence::header::{FENCE_NAME, FENCE_TOKEN};

    #[tokio::test]
    async fn a_handler_runs_only_under_a_token_that_is_not_stale() {
        let app: Router = Router::new()
            .route(
                "/",
                put(|fenced: Fenced| async move { fenced.token().to_string() }),
            )
            .with_state(FenceGate::volatile());
        for (token, status) in [("17", 200), ("23", 200), ("17", 412), ("x", 400)] {
            let request = Request::put("/")
                .header(FENCE_NAME, "printers/1")
                .header(FENCE_TOKEN, token)
                .body(Body::empty())
                .unwrap();
            let answer = app.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{token}");
        }
        let bare = Request::put("/").body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(bare).await.unwrap().status(), 428);
    }
}
