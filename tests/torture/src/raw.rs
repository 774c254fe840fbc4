//! A connection on which the suite writes what no client library would.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::worker::PATIENCE;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// One frame of a client, masked as the protocol requires.
pub(crate) fn frame(opcode: u8, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, fin, payload.len() as u64);
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a masked frame, without the mask. It may announce any length.
pub(crate) fn header(opcode: u8, fin: bool, length: u64) -> Vec<u8> {
    let first = if fin { 0x80 | opcode } else { opcode };
    match length {
        0..126 => vec![first, 0x80 | length as u8],
        126..65_536 => [&[first, 0xfe][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 0xff][..], &length.to_be_bytes()].concat(),
    }
}

/// The text of an upgrade.
pub(crate) fn upgrade(address: &str, path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The first line of a response, and what follows.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Raw {
    pub(crate) async fn open(address: &str) -> Result<Raw> {
        let stream = TcpStream::connect(address).await.context("workerd cannot be reached")?;
        stream.set_nodelay(true)?;
        Ok(Raw { stream, buffer: Vec::new() })
    }

    /// Opens a WebSocket.
    pub(crate) async fn socket(address: &str, path: &str, headers: &str) -> Result<Raw> {
        let mut raw = Raw::open(address).await?;
        raw.write(upgrade(address, path, headers).as_bytes()).await?;
        let head = raw.head().await?;
        ensure!(head.status == 101, "{path} was answered with {}", head.text);
        Ok(raw)
    }

    /// Writes bytes. Returns whether the other side still took them.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<bool> {
        let writing = timeout(PATIENCE, self.stream.write_all(bytes)).await.context("a write hangs")?;
        Ok(writing.is_ok())
    }

    /// Reads the head of a response, which is empty if the connection ends before.
    pub(crate) async fn head(&mut self) -> Result<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<_> = self.buffer.drain(..end + 4).collect();
                let text = String::from_utf8_lossy(&head).into_owned();
                let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
                return Ok(Head { status, text });
            }
            if !self.more(PATIENCE).await? {
                return Ok(Head { status: 0, text: String::new() });
            }
        }
    }

    /// The next frame of the server: its opcode and its payload; `None` at the end of the connection.
    pub(crate) async fn receive(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(Some(frame));
            }
            if !self.more(PATIENCE).await? {
                return Ok(None);
            }
        }
    }

    /// Reads on until a close frame or the end, and returns the code: 1005 without one, 1006 without a frame.
    pub(crate) async fn closed(&mut self) -> Result<u16> {
        while let Some((opcode, payload)) = self.receive().await? {
            if opcode == CLOSE {
                return Ok(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)));
            }
        }
        Ok(1006)
    }

    /// Closes the connection in order, so that the room keeps no place for its peer.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.write(&frame(CLOSE, true, &1000_u16.to_be_bytes())).await?;
        let code = self.closed().await?;
        ensure!(code == 1000, "a close with 1000 was answered with {code}");
        Ok(())
    }

    fn parse(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        let Some(&[first, second]) = self.buffer.first_chunk() else { return Ok(None) };
        let (start, length) = match second & 0x7f {
            126 => match self.buffer.get(2..4).and_then(|bytes| bytes.first_chunk()) {
                Some(bytes) => (4, usize::from(u16::from_be_bytes(*bytes))),
                None => return Ok(None),
            },
            127 => match self.buffer.get(2..10).and_then(|bytes| bytes.first_chunk()) {
                Some(bytes) => (10, u64::from_be_bytes(*bytes) as usize),
                None => return Ok(None),
            },
            length => (2, usize::from(length)),
        };
        ensure!(second & 0x80 == 0, "the server masks its frames");
        if self.buffer.len() < start + length {
            return Ok(None);
        }
        let frame: Vec<_> = self.buffer.drain(..start + length).collect();
        Ok(Some((first & 0x0f, frame[start..].to_vec())))
    }

    /// Reads what there is. Returns false at the end of the connection.
    async fn more(&mut self, patience: Duration) -> Result<bool> {
        let mut bytes = [0; 16_384];
        match timeout(patience, self.stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => Ok(false),
            Ok(Ok(count)) => {
                self.buffer.extend(&bytes[..count]);
                Ok(true)
            }
            Err(_) => bail!("nothing arrives, and the connection stays open"),
        }
    }
}
