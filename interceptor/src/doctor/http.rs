//! One page in HTTP/1.0, over a connection that is there.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest answer that is read: metrics have some hundred lines.
const MAX_BYTES: u64 = 4 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Status code.
    pub(super) status: u16,
    /// Header fields as they came, names in lower case.
    headers: Vec<(String, String)>,
    /// The body; what is not UTF-8 in it is replaced.
    pub(super) body: String,
}

impl Page {
    /// The value of a header field; `name` in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Asks for a page. HTTP/1.0, because its answer ends with the connection.
///
/// # Errors
/// The connection failed, or what came is not HTTP.
pub(super) async fn get<S>(mut stream: S, host: &str, path: &str) -> io::Result<Page>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let read = stream.take(MAX_BYTES).read_to_end(&mut answer).await;
    // TLS servers that end without saying so (close_notify) are common, and the answer is there.
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer in HTTP"))
}

fn parse(answer: &[u8]) -> Option<Page> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut status_line = lines.next()?.strip_prefix("HTTP/1.")?.split(' ');
    let status = status_line.nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Some(Page {
        status,
        headers: headers.collect(),
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn a_page() {
        let (near, mut far) = tokio::io::duplex(1024);
        let serving = async {
            let mut request = [0; 36];
            far.read_exact(&mut request).await.unwrap();
            far.write_all(b"HTTP/1.0 200 OK\r\nDate: now\r\nX: a:b\r\n\r\nbody")
                .await
                .unwrap();
            drop(far);
            request
        };
        let (page, request) = tokio::join!(get(near, "a:1", "/version"), serving);
        assert_eq!(&request, b"GET /version HTTP/1.0\r\nHost: a:1\r\n\r\n");
        let page = page.unwrap();
        assert_eq!((page.status, page.body.as_str()), (200, "body"));
        assert_eq!(page.header("date"), Some("now"));
        assert_eq!(page.header("x"), Some("a:b"));
        assert_eq!(page.header("y"), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in any::<Vec<u8>>(), status in ".*", head in ".*") {
            let _ = parse(&answer);
            let _ = parse(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n").as_bytes());
        }
    }
}
