//! Redis commands as bytes, answers counted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{Mutex, oneshot};

use crate::{Outcome, Target};

/// Who waits for how many answers.
type Waiting = Rc<RefCell<VecDeque<(usize, oneshot::Sender<usize>)>>>;

/// One connection; requests on it are pipelined.
#[derive(Clone)]
pub(crate) struct Connection {
    out: Rc<Mutex<tokio::net::tcp::OwnedWriteHalf>>,
    waiting: Waiting,
}

pub(crate) async fn connect(address: &str) -> Outcome<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (from, out) = stream.into_split();
    let waiting = Waiting::default();
    tokio::task::spawn_local(read(from, waiting.clone()));
    Ok(Connection { out: Rc::new(Mutex::new(out)), waiting })
}

impl Target for Connection {
    async fn send(&self, request: Bytes) -> Result<usize, String> {
        let (done, answer) = oneshot::channel();
        let commands = commands(&request);
        let mut out = self.out.lock().await;
        self.waiting.borrow_mut().push_back((commands, done));
        out.write_all(&request).await.map_err(|error| error.kind().to_string())?;
        drop(out);
        answer.await.map_err(|_| "the connection ended".to_owned())
    }
}

/// Commands in a request: each is an array of texts.
fn commands(mut request: &[u8]) -> usize {
    let mut count = 0;
    while let Some(length) = answer_length(request) {
        request = &request[length..];
        count += 1;
    }
    count
}

async fn read(mut from: OwnedReadHalf, waiting: Waiting) {
    let (mut bytes, mut answered, mut length) = (BytesMut::with_capacity(1 << 20), 0, 0);
    loop {
        while let Some(one) = answer_length(&bytes) {
            bytes.advance(one);
            (answered, length) = (answered + 1, length + one);
            let mut waiting = waiting.borrow_mut();
            if waiting.front().is_some_and(|(wanted, _)| *wanted == answered)
                && let Some((_, done)) = waiting.pop_front()
            {
                let _ = done.send(length);
                (answered, length) = (0, 0);
            }
        }
        match from.read_buf(&mut bytes).await {
            Ok(read) if read > 0 => {}
            _ => return waiting.borrow_mut().clear(),
        }
    }
}

/// Bytes of the first whole answer: an array of texts, a text, or a line.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => {
            let end = line + usize::try_from(number()?).map_or(0, |length| length + 2);
            (bytes.len() >= end).then_some(end)
        }
        b'*' => {
            let mut end = line;
            for _ in 0..number()?.max(0) {
                end += answer_length(&bytes[end..])?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}
