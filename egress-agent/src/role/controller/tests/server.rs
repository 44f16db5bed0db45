//! An API server that takes what it is given, but for some.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// First lines of what it was asked.
type Asked = Arc<Mutex<Vec<String>>>;

/// Refuses what is sent to a path with one of these in it. A list whose path has `foreign` in it has one object that is nobody's.
pub(super) fn refusing(server: TcpListener, refused: &'static [&'static str], foreign: Option<&'static str>) -> Asked {
    let asked = Asked::default();
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = server.accept().await {
            tokio::spawn(serve(stream, refused, foreign, Arc::clone(&notes)));
        }
    });
    asked
}

/// Answers one connection until it ends.
async fn serve(mut stream: TcpStream, refused: &[&str], foreign: Option<&str>, asked: Asked) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
        let length: usize = head.lines().find_map(length).unwrap_or(0);
        while read.len() < end + length {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body: Vec<u8> = read.drain(..end + length).skip(end).collect();
        let line = head.lines().next().unwrap_or_default().to_owned();
        let refuse = !line.starts_with("GET") && refused.iter().any(|part| line.contains(part));
        let has = foreign.is_some_and(|part| line.contains(part));
        asked.lock().unwrap().push(line);
        let answer = if refuse {
            json!({"kind": "Status", "status": "Failure", "message": "no such thing", "reason": "Invalid", "code": 422})
        } else {
            let items = if has { json!([{"metadata": {"name": "x", "uid": "u-x"}}]) } else { json!([]) };
            let kind = "PartialObjectMetadataList";
            let list = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items});
            serde_json::from_slice::<Value>(&body).unwrap_or(list)
        };
        let (code, text) = (if refuse { "422 Unprocessable Entity" } else { "200 OK" }, answer.to_string());
        let head =
            format!("HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        if stream.write_all((head + &text).as_bytes()).await.is_err() {
            return;
        }
    }
}
