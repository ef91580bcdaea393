//! Encodes commands for the server.

use crate::client::{Arg, Command};

/// The maximum length of a length header with its framing, or of a number.
const SMALL: usize = 24;

pub(super) fn pack(commands: &[Command<'_>]) -> Vec<u8> {
    let size = |argument: &Arg<'_>| match argument {
        Arg::Bytes(bytes) => bytes.len() + SMALL,
        Arg::Number(_) => 2 * SMALL,
    };
    let all = commands.iter().map(|command| command.arguments.iter().map(size).sum::<usize>() + 3 * SMALL);
    let mut packed = Vec::with_capacity(all.sum());
    for Command { name, arguments, .. } in commands {
        head(&mut packed, b'*', arguments.len() + 1);
        bulk(&mut packed, name.as_bytes());
        for argument in arguments {
            match argument {
                Arg::Bytes(bytes) => bulk(&mut packed, bytes),
                Arg::Number(number) => bulk(&mut packed, number.to_string().as_bytes()),
            }
        }
    }
    packed
}

fn bulk(packed: &mut Vec<u8>, bytes: &[u8]) {
    head(packed, b'$', bytes.len());
    packed.extend_from_slice(bytes);
    packed.extend_from_slice(b"\r\n");
}

fn head(packed: &mut Vec<u8>, kind: u8, mut number: usize) {
    // written from the last digit to the first
    let mut text = [0; 22];
    let mut begin = text.len();
    loop {
        begin -= 1;
        text[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    packed.push(kind);
    packed.extend_from_slice(&text[begin..]);
    packed.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_strings() {
        let get = Command { name: "GET", arguments: vec![Arg::from("a key")], key: "a key" };
        let long = "x".repeat(1_234);
        let arguments = vec![Arg::from(""), Arg::Number(-7), Arg::from(long.as_str())];
        let other = Command { name: "OTHER", arguments, key: "" };
        let packed = String::from_utf8(pack(&[get, other])).expect("it was text");
        let expected = format!(
            "*2\r\n$3\r\nGET\r\n$5\r\na key\r\n*4\r\n$5\r\nOTHER\r\n$0\r\n\r\n$2\r\n-7\r\n$1234\r\n{long}\r\n"
        );
        assert_eq!(packed, expected);
    }
}
