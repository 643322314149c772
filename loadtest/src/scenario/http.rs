//! Just enough of an HTTP client for control and telemetry addresses.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// The status is not 200, or the body is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        anyhow::ensure!(self.status == 200, "status {}: {}", self.status, self.body);
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }
}

/// `GET path`.
///
/// # Errors
/// No whole answer within ten seconds.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    exchange(
        address,
        &format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n"),
    )
    .with_context(|| format!("GET http://{address}{path}"))
}

/// `POST path` with a JSON body.
///
/// # Errors
/// No whole answer within ten seconds.
pub fn post(address: SocketAddr, path: &str, body: &serde_json::Value) -> Result<Response> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json");
    exchange(
        address,
        &format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"),
    )
    .with_context(|| format!("POST http://{address}{path}"))
}

/// HTTP/1.0, so that the answer ends with the connection and is never chunked.
fn exchange(address: SocketAddr, request: &str) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the header")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    Ok(Response {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_post_is_sent_whole_and_its_answer_is_read() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let mut stream = server.accept().unwrap().0;
            let mut request = String::new();
            let mut buffer = [0; 512];
            while !request.ends_with("{\"refuse\":true}") {
                let read = stream.read(&mut buffer).unwrap();
                request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            stream
                .write_all(b"HTTP/1.0 200 OK\r\nserver: x\r\n\r\n[1]")
                .unwrap();
            request
        });
        let answer = post(address, "/faults", &serde_json::json!({"refuse": true})).unwrap();
        assert_eq!(answer.json().unwrap(), serde_json::json!([1]));
        assert!(
            serving
                .join()
                .unwrap()
                .starts_with("POST /faults HTTP/1.0\r\n")
        );
    }
}
