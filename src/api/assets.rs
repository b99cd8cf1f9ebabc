//! The dashboard's files, embedded. `src/dashboard` is one flat folder of static files; there is no build step.

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use include_dir::{Dir, include_dir};

use super::error::ApiError;

// The macro is not told of new or removed files; the test below is, and its remedy is to touch this file.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/dashboard");

/// What the dashboard may do. Its pictures and videos are ours; `data:` and `blob:` are what it makes of them.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self'; \
                      script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'self'";

/// `/`
pub(super) async fn index() -> Response {
    file("index.html")
}

/// `/assets/{file}`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    file(&name)
}

/// `/favicon.ico`, which browsers ask for on their own.
pub(super) async fn favicon() -> Response {
    if FILES.contains("mark.svg") { file("mark.svg") } else { StatusCode::NO_CONTENT.into_response() }
}

fn file(name: &str) -> Response {
    // Looked up in a list made at build time, so that no name can leave the folder.
    let Some((file, kind)) = FILES.get_file(name).zip(media_type(name)) else {
        return ApiError::not_found().into_response();
    };
    let mut response = file.contents().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// Only what a dashboard consists of is served; anything else in the folder is not.
fn media_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_embedded_is_what_is_there() {
        let there: BTreeSet<String> =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
        let embedded: BTreeSet<String> =
            FILES.files().map(|file| file.path().to_str().unwrap().to_owned()).collect();
        assert_eq!(embedded, there, "touch src/api/assets.rs to embed the folder anew");
        for name in there.iter().filter(|name| !name.starts_with('.')) {
            assert!(media_type(name).is_some(), "{name} has no media type, so it would not be served");
        }
    }

    #[tokio::test]
    async fn nothing_but_the_folder_is_served() {
        for name in ["../api/mod.rs", "..", "/etc/passwd", "", ".keep", "index.html/", "INDEX.HTML"] {
            assert_eq!(file(name).status(), StatusCode::NOT_FOUND, "{name}");
        }
    }
}
