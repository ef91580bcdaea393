//! A minimal client for Redis' protocol, for administration.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Sends one command on a separate connection, and returns the answer as text: one part of a list on a line, errors
/// with `-`.
pub(super) fn ask(port: u16, command: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = format!("*{}\r\n", command.len());
    command.iter().for_each(|part| request.push_str(&format!("${}\r\n{part}\r\n", part.len())));
    stream.write_all(request.as_bytes())?;
    read(&mut BufReader::new(stream))
}

fn read(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let Some(kind) = line.chars().next() else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
    let rest = &line[1..];
    let length = || rest.parse::<i64>().map_err(std::io::Error::other);
    match kind {
        '$' => {
            let Ok(length) = usize::try_from(length()?) else { return Ok(String::new()) };
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(length);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        '*' => {
            let parts: Result<Vec<String>> = (0..length()?.max(0)).map(|_| read(stream)).collect();
            Ok(parts?.join("\n"))
        }
        '-' => Ok(line.to_owned()),
        _ => Ok(rest.to_owned()),
    }
}
