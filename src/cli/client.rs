//! The HTTP API as the command line sees it. Every call has a deadline, and no answer is trusted to be ours.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use ureq::{
    Agent,
    http::{Method, Request, StatusCode},
};

use super::{config::Config, fail::Failure};

/// For everything but probes.
pub(super) const WITHIN: Duration = Duration::from_secs(20);
/// A probe waits for a camera: up to 60 s (`connect_seconds`) for the first frame, and then for rates and a picture.
pub(super) const PROBE_WITHIN: Duration = Duration::from_secs(90);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A page of a thousand segments has half a megabyte.
const ANSWER_MAX: u64 = 64 << 20;

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody there.
    #[error("no service answers at {base}")]
    Unreachable { base: String, source: Box<ureq::Error> },
    /// Somebody there, who does not answer as we do.
    #[error("what answers at {base} is not watchkeeper")]
    Stranger { base: String },
    /// It said no, and why.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// The service's error body.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) field: Option<String>,
    hint: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Refusal,
}

impl ClientError {
    pub(super) fn is_unreachable(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// What to do next, in the words of the command line where the service's own are about HTTP.
    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => "start it with `watchkeeper serve`, or name another with --server",
            Self::Stranger { .. } => {
                "another program has the port: `watchkeeper doctor` tells more, --server names another service"
            }
            Self::Refused(refusal) => match &*refusal.code {
                "no_camera" => "`watchkeeper camera list` lists the cameras",
                "camera_held" => {
                    "`watchkeeper hold list` shows the holds, `watchkeeper hold remove` ends one"
                }
                "volume_there" => {
                    "only a volume that is away because of its identity can be accepted; `watchkeeper volume list` tells \
                     how they are"
                }
                "no_hold" => "`watchkeeper hold list` lists the holds",
                "camera_exists" => "choose another id, or change the camera with `watchkeeper camera set`",
                "no_footage" => "`watchkeeper coverage` tells when there is footage, and why there is none",
                "not_running" => "`watchkeeper camera show` says why the camera is not connected",
                "not_event_capable" => "`watchkeeper camera set ID --record-mode event` has it take triggers",
                "disabled" => "`watchkeeper camera set ID --enable` has it recorded",
                "internal" => "the service's log says what; please report it",
                "database_away" | "volume_away" => "`watchkeeper doctor` says what is wrong",
                "bad_host" => {
                    "name the service by an address that it knows: see `allowed_hosts` in its configuration"
                }
                _ => return refusal.hint.clone(),
            },
        };
        Some(hint.to_owned())
    }

    /// The same with fields called otherwise: on the command line they are options.
    pub(super) fn with_names(self, name: impl Fn(&str) -> Option<String>) -> Self {
        let Self::Refused(mut refusal) = self else { return self };
        if let Some(option) = refusal.field.as_deref().and_then(&name) {
            let field = refusal.field.as_deref().unwrap_or_default();
            let rest = refusal.message.strip_prefix(field).and_then(|rest| rest.strip_prefix(':'));
            refusal.message = format!("{option}: {}", rest.unwrap_or(&refusal.message).trim_start());
        }
        Self::Refused(refusal)
    }
}

/// A way to one service.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    base: String,
}

impl Client {
    /// The service of this configuration, or the one that was named.
    pub(super) fn new(server: Option<&str>, config: &Config) -> Result<Self, Failure> {
        let base = match server {
            Some(named) => checked(named)?,
            None => format!("http://{}", config.listen),
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The service is on this host or named by its address; a proxy of the environment leads elsewhere.
            .proxy(None)
            .user_agent(concat!("watchkeeper/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_global(Some(WITHIN))
            .build();
        Ok(Self { agent: agent.into(), base })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::GET, path, None, WITHIN)
    }

    pub(super) fn post(&self, path: &str, body: &Value, within: Duration) -> Result<Value, ClientError> {
        self.json(Method::POST, path, Some(body), within)
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(Method::PATCH, path, Some(body), WITHIN)
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, path, None, WITHIN).map(|_| ())
    }

    /// An answer that is no JSON.
    pub(super) fn text(&self, path: &str) -> Result<String, ClientError> {
        self.done(Method::GET, path, None, WITHIN)
    }

    /// The body of an answer, as it comes. Has no deadline as a whole.
    pub(super) fn stream(&self, path: &str) -> Result<impl std::io::Read + Send + use<>, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let answer =
            request.config().timeout_global(None).build().call().map_err(|error| self.away(error))?;
        let status = answer.status();
        let mut body = answer.into_body();
        if status.is_success() {
            return Ok(body.into_reader());
        }
        let text = body.with_config().limit(ANSWER_MAX).lossy_utf8(true).read_to_string();
        Err(self.refusal(&text.map_err(|error| self.away(error))?))
    }

    /// `/readyz`, whose 503 is an answer and no failure.
    pub(super) fn readiness(&self) -> Result<Value, ClientError> {
        let (_, text) = self.call(Method::GET, "/readyz", None, WITHIN)?;
        self.parsed(&text)
    }

    fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, ClientError> {
        self.parsed(&self.done(method, path, body, within)?)
    }

    fn parsed(&self, text: &str) -> Result<Value, ClientError> {
        serde_json::from_str(text).map_err(|_| ClientError::Stranger { base: self.base.clone() })
    }

    fn done(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<String, ClientError> {
        let (status, text) = self.call(method, path, body, within)?;
        if status.is_success() {
            return Ok(text);
        }
        Err(self.refusal(&text))
    }

    fn refusal(&self, text: &str) -> ClientError {
        match serde_json::from_str::<ErrorBody>(text) {
            Ok(body) => ClientError::Refused(body.error),
            Err(_) => ClientError::Stranger { base: self.base.clone() },
        }
    }

    fn away(&self, error: ureq::Error) -> ClientError {
        match error {
            // Bytes came, and they were no HTTP.
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => {
                ClientError::Stranger { base: self.base.clone() }
            }
            source => ClientError::Unreachable { base: self.base.clone(), source: source.into() },
        }
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<(StatusCode, String), ClientError> {
        let away = |error| self.away(error);
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                let request = request.map_err(|error| away(error.into()))?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(within)).build())
            }
            None => {
                let request = request.body(()).map_err(|error| away(error.into()))?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(within)).build())
            }
        };
        let mut answer = answer.map_err(away)?;
        let text = answer.body_mut().with_config().limit(ANSWER_MAX).lossy_utf8(true).read_to_string();
        Ok((answer.status(), text.map_err(away)?))
    }
}

/// `--server` as a base of URLs.
fn checked(named: &str) -> Result<String, Failure> {
    let wrong =
        |why: &str| Failure::usage(format!("--server: {why}")).hint("write it like http://127.0.0.1:8080");
    let url = url::Url::parse(named).map_err(|_| wrong("is no URL"))?;
    if url.scheme() != "http" {
        return Err(wrong("the scheme is not http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("takes no user name and password: the service has no accounts"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a part after `?` or `#`"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// `path?key=value&…`, of those that have a value.
pub(super) fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let given = query.iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
    for (n, (key, value)) in given.enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        out.push_str(&format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::fail::told;
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    /// A service that gives one canned answer, and then what it was asked.
    pub(in crate::cli) fn canned(status: &'static str, body: &'static str) -> (Client, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let n = stream.read(&mut buffer).unwrap();
                asked.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&asked).into_owned();
                let length =
                    text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let body_at = text.find("\r\n\r\n").map(|at| at + 4);
                if n == 0 || body_at.is_some_and(|at| asked.len() >= at + length.unwrap_or(0)) {
                    break;
                }
            }
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (Client::new(Some(&base), &Config::default()).unwrap(), served)
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_command_line() {
        let body = r#"{"error":{"code":"bad_field","message":"main_url: has no host","field":"main_url","hint":"h"}}"#;
        let (client, served) = canned("400 Bad Request", body);
        let error = client.post("/api/v1/cameras", &serde_json::json!({"id": "a"}), WITHIN).unwrap_err();
        let error = error.with_names(|field| (field == "main_url").then(|| "--url".to_owned()));
        let (lines, code) = told(&error.into());
        assert_eq!(lines, ["watchkeeper: --url: has no host", "hint: h"]);
        assert_eq!(code, 1);
        let asked = served.join().unwrap();
        assert!(
            asked.starts_with("POST /api/v1/cameras HTTP/1.1\r\n") && asked.ends_with(r#"{"id":"a"}"#),
            "{asked}"
        );
    }

    #[test]
    fn nobody_there_and_somebody_else_there_are_3() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(Some(&format!("http://{port}/")), &Config::default()).unwrap();
        let (lines, code) = told(&client.get("/x").unwrap_err().into());
        assert_eq!(code, 3);
        assert!(lines[1].starts_with("hint: start it with `watchkeeper serve`"), "{lines:?}");
        for (status, body) in [("200 OK", "<html>"), ("404 Not Found", "nothing"), ("302 Found", "")] {
            let (client, _served) = canned(status, body);
            let error = client.get("/x").unwrap_err();
            assert!(matches!(error, ClientError::Stranger { .. }), "{error:?}");
            assert_eq!(told(&error.into()).1, 3);
        }
    }

    #[test]
    fn readiness_is_an_answer_also_when_it_is_bad() {
        let (client, _served) = canned("503 Service Unavailable", r#"{"ready":false,"checks":[]}"#);
        assert_eq!(client.readiness().unwrap()["ready"], false);
    }

    #[test]
    fn only_plain_http_is_a_server() {
        assert_eq!(checked("http://h:1/").unwrap(), "http://h:1");
        assert_eq!(checked("http://h/watch/").unwrap(), "http://h/watch");
        for bad in ["https://h", "h:8080", "127.0.0.1:8080", "http://u:p@h", "http://h/?a", "http://h/#a", ""]
        {
            let error = checked(bad).unwrap_err();
            assert_eq!(told(&error.into()).1, 2, "{bad}");
        }
    }

    #[test]
    fn values_are_encoded() {
        let query = [("a", None), ("b", Some("x&y=+".to_owned())), ("c", Some("1".to_owned()))];
        assert_eq!(with_query("/p", &query), "/p?b=x%26y%3D%2B&c=1");
        assert_eq!(with_query("/p", &[]), "/p");
    }
}
